"""Which files of a folder hold the weights, and the shapes in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PureWindowsPath
from typing import Any, TypeAlias

from csm_chat.checkpoint.sizes import read_json
from csm_chat.errors import CheckpointError

Shape: TypeAlias = tuple[int, ...]

INDEX = ".safetensors.index.json"
# Files by which weights are found, best first, in a folder as in a repository. sesame/csm-1b holds
# the same weights three times, and its shards alone include the codec, so that no second repository
# is needed. A safetensors file tells its tensors' shapes by its header; a ckpt.pt has to be opened
# by torch.
_ENTRIES = (
    f"transformers{INDEX}",
    f"*{INDEX}",
    "model.safetensors",
    "ckpt.safetensors",
    "ckpt.pt",
)


def entries(names: Iterable[str]) -> list[str]:
    """Of the names of files, those by which weights are found, best first."""
    here = sorted(name for name in names if "/" not in name)
    ranked = (name for pattern in _ENTRIES for name in here if fnmatchcase(name, pattern))
    return [*dict.fromkeys(ranked)]


def find_weights(folder: Path) -> tuple[Path, ...]:
    """The files that hold the weights: one file, or the shards of an index.

    The best of `entries` that is whole. Raises CheckpointError.
    """
    problem: CheckpointError | None = None
    for name in entries(path.name for path in folder.glob("*") if path.is_file()):
        if not name.endswith(INDEX):
            return (folder / name,)
        try:
            return shards(folder / name)
        except CheckpointError as error:
            problem = problem or error
    raise problem or CheckpointError(
        f"{folder}: no weights here; put model.safetensors, shards with their "
        "*.safetensors.index.json, ckpt.safetensors or ckpt.pt there"
    )


def locate(
    folder: Path, pickled_shapes: Callable[[Path], Mapping[str, Shape]]
) -> tuple[dict[str, Path], dict[str, Shape]]:
    """The file and the shape of each tensor of the weights.

    `pickled_shapes` reads those of a file that is no safetensors. Raises CheckpointError.
    """
    homes: dict[str, Path] = {}
    found: dict[str, Shape] = {}
    for path in find_weights(folder):
        read = safetensors_shapes if path.suffix == ".safetensors" else pickled_shapes
        shapes = read(path)
        homes |= dict.fromkeys(shapes, path)
        found |= shapes
    return homes, found


def shards(index: Path, prefix: str = "") -> tuple[Path, ...]:
    """The files that an index names for tensors of that prefix. Raises CheckpointError."""
    homes = weight_map(index)
    names = {home for tensor, home in homes.items() if tensor.startswith(prefix)}
    files = tuple(index.parent / name for name in sorted(names))
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file}: missing, but {index.name} names it; download it again")
    return files


def weight_map(index: Path) -> dict[str, str]:
    """The file of each tensor, as an index has it. Raises CheckpointError."""
    homes = read_json(index).get("weight_map")
    if not isinstance(homes, dict) or not homes:
        raise CheckpointError(f"{index}: has no weight_map; download the file again")
    for name in set(map(str, homes.values())):
        if name == ".." or {Path(name).name, PureWindowsPath(name).name} != {name}:
            raise CheckpointError(
                f"{index}: names {name[:80]!r}, which is not a file beside it; download it again"
            )
    return {str(tensor): str(file) for tensor, file in homes.items()}


def safetensors_shapes(path: Path) -> dict[str, Shape]:
    """Names and shapes of a safetensors file, from its header alone. Raises CheckpointError."""
    return {name: tuple(found.get_shape()) for name, found in _header(path).items()}


def safetensors_dtypes(path: Path) -> dict[str, str]:
    """Names and dtypes ("F32", "BF16", "F8_E4M3") as in `safetensors_shapes`."""
    return {name: found.get_dtype() for name, found in _header(path).items()}


def _header(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="np")  # type: ignore[no-untyped-call]  # the library's
        return {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """The error for a weights file that its reader refuses."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return CheckpointError(f"{path}: cannot be read ({reason}); download the file again")

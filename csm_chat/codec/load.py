"""Loads the codec of a checkpoint folder: Mimi, or the one its config names.

Whether config and weights go together is told by the files' headers, before a framework is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from csm_chat.checkpoint.codec_files import (
    SPECTRAL_WEIGHTS,
    Found,
    file_names,
    find_mimi,
    is_spectral,
)
from csm_chat.checkpoint.files import Shape, safetensors_shapes
from csm_chat.checkpoint.sizes import read_json
from csm_chat.codec.config import mimi_config
from csm_chat.codec.sizes import MimiSizes, sizes_of, tensor_shapes
from csm_chat.codec.spectral import shapes as spectral_shapes
from csm_chat.codec.spectral import sizes as spectral_sizes
from csm_chat.errors import CheckpointError
from csm_chat.types import Codec


@dataclass(frozen=True, slots=True, eq=False)
class StoredMimi:
    """A Mimi in files whose shapes are those that its config says."""

    sizes: MimiSizes
    names: dict[str, tuple[str, ...]]  # in the files, by moshi's
    found: Found


def load_codec(folder: Path, codebooks: int, device: str = "cpu") -> Codec:
    """The folder's codec, in float32, to speak in `codebooks`. Raises CheckpointError.

    A spectral one computes on the cpu wherever the model does: a frame takes it milliseconds.
    """
    if is_spectral(folder):
        from csm_chat.codec.spectral.codec import load_spectral

        return load_spectral(folder, codebooks)
    from csm_chat.codec.mimi import load_codec as load_mimi

    return load_mimi(folder, codebooks, device)


def check_codec(folder: Path, codebooks: int) -> None:
    """Raise CheckpointError where `load_codec` would for shapes. Loads nothing."""
    if is_spectral(folder):
        stored_spectral(folder, codebooks)
    else:
        stored_mimi(folder, codebooks)


def stored_mimi(folder: Path, codebooks: int) -> StoredMimi:
    """The Mimi in a folder. Raises CheckpointError."""
    config_path = folder / "config.json"
    fields = read_json(config_path) if config_path.is_file() else {}
    found = find_mimi(folder, fields)
    sizes = sizes_of(mimi_config(folder, fields))
    _check_codebooks(folder, codebooks, 2, sizes.codebooks)
    try:
        return StoredMimi(sizes, file_names(tensor_shapes(sizes), found), found)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def stored_spectral(folder: Path, codebooks: int) -> spectral_sizes.Sizes:
    """The sizes of the spectral codec in a folder. Raises CheckpointError."""
    sizes = spectral_sizes.read_sizes(folder)
    _check_codebooks(folder, codebooks, spectral_sizes.FIRST_HEARD, sizes.codebooks)
    found = safetensors_shapes(folder / SPECTRAL_WEIGHTS)
    if problem := _problem(spectral_shapes.tensor_shapes(sizes), found):
        raise CheckpointError(
            f"{folder}: the codec's {problem}; take the codec's config and weights together"
        )
    return sizes


def _check_codebooks(folder: Path, codebooks: int, fewest: int, most: int) -> None:
    if not fewest <= codebooks <= most:
        raise CheckpointError(
            f"{folder}: the model speaks in {codebooks} codebooks, the codec has {most}; "
            "take both from one checkpoint"
        )


def _problem(expected: dict[str, Shape], found: dict[str, Shape]) -> str:
    for name in sorted(expected.keys() | found.keys()):
        wanted, there = (list(x[name]) if name in x else "none" for x in (expected, found))
        if wanted != there:
            return f"tensor {name}: expected {wanted}, found {there}"
    return ""

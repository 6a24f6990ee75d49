"""From a checkpoint folder to a torch engine, tensor by tensor. Knows files and memory only."""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csm_chat.backends import weights
from csm_chat.backends.sizes import CsmSizes, read_sizes
from csm_chat.backends.torch_device import choose_device, choose_dtype
from csm_chat.backends.torch_engine import TorchEngine
from csm_chat.backends.torch_model import Csm, slots
from csm_chat.backends.weights import Shape, Source
from csm_chat.errors import CheckpointError

log = logging.getLogger(__name__)

_MAPPED_BYTES = 32 << 20


def load_engine(
    folder: Path,
    device: str,
    dtype: str,
    quantize: str = "none",
    cache: Path | None = None,
    notify: Callable[[str], None] = log.debug,
) -> TorchEngine:
    """An engine from a folder with config.json and weights. Raises CheckpointError, UsageError.

    `quantize` is none, int8 or int4, these on a cpu and in float32 only. Packed weights are kept
    below `cache`, nowhere if that is None; `notify` gets a line when one is made.
    """
    device = choose_device(device)
    dtype = choose_dtype(dtype, device)
    sizes = read_sizes(folder)
    sources, homes = _sources(folder, sizes)
    if quantize != "none":
        assert (device, dtype) == ("cpu", "float32"), (device, dtype)
        return TorchEngine(
            _quantised(folder, sizes, sources, homes, quantize, cache, notify), sizes
        )
    model = _empty_model(sizes, torch.device(device), getattr(torch, dtype))
    with torch.no_grad():
        _fill(slots(model), sources, homes)
    log.debug("%s: %d tensors on %s in %s", folder, len(sources), device, dtype)
    return TorchEngine(model, sizes)


def _sources(folder: Path, sizes: CsmSizes) -> tuple[tuple[Source, ...], dict[str, Path]]:
    """What the folder's tensors are, and the file that each is in."""
    homes: dict[str, Path] = {}
    found: dict[str, Shape] = {}
    for path in weights.find_weights(folder):
        shapes = _shapes(path)
        homes |= dict.fromkeys(shapes, path)
        found |= shapes
    return weights.plan(sizes, found, folder), homes


def _quantised(
    folder: Path,
    sizes: CsmSizes,
    sources: Sequence[Source],
    homes: Mapping[str, Path],
    mode: str,
    cache: Path | None,
    notify: Callable[[str], None],
) -> Csm:
    from csm_chat.backends.torch_quantised_files import folder_for, open_folder
    from csm_chat.backends.torch_quantised_load import packer, parts_of, quantised_model

    def read(source: Source, start: int, end: int) -> Tensor:
        # opened anew: a mapped page that was read counts as memory in use until its file is closed
        rows = _open(homes[source.name])(source.name)[start:end]
        return _halves_first(rows, source.interleaved_heads)

    part = packer(sources, read, mode)
    if cache is not None:
        files = (folder / "config.json", *sorted(set(homes.values())))
        part = open_folder(folder_for(cache, files, mode), parts_of(sources), part, mode, notify)
    with torch.no_grad():
        return quantised_model(sizes, part, mode)


def _empty_model(sizes: CsmSizes, device: torch.device, dtype: torch.dtype) -> Csm:
    with torch.device("meta"):
        model = Csm(sizes).to(dtype)
    model.to_empty(device=device)
    return model.requires_grad_(False).eval()


def _fill(
    slots: Mapping[str, Tensor], sources: Iterable[Source], homes: Mapping[str, Path]
) -> None:
    """Copy and cast each tensor.

    A mapped page that was read counts as memory in use until its file is closed: files are opened
    anew every `_MAPPED_BYTES`, and the largest tensors come first, while little else is there.
    """
    opened: dict[Path, Callable[[str], Tensor]] = {}
    n_bytes = 0
    for source in sorted(sources, key=lambda source: -slots[source.part].numel()):
        path = homes[source.name]
        if path not in opened:
            opened[path] = _open(path)
        n_bytes += _copy(opened[path](source.name), slots[source.part], source.interleaved_heads)
        if n_bytes >= _MAPPED_BYTES:
            opened.clear()
            n_bytes = 0


def _copy(tensor: Tensor, slot: Tensor, interleaved_heads: int) -> int:
    """Copy into the slot; returns the bytes read."""
    slot.copy_(_halves_first(tensor, interleaved_heads))
    return tensor.nbytes


def _halves_first(tensor: Tensor, interleaved_heads: int) -> Tensor:
    """Where RoPE pairs neighbours, each head's rows in the order 0, 2, 4 ... 1, 3, 5 ..."""
    if not interleaved_heads:
        return tensor
    pairs = tensor.view(interleaved_heads, -1, 2, tensor.shape[-1])
    return pairs.transpose(1, 2).flatten(0, 2)


def _shapes(path: Path) -> dict[str, Shape]:
    if path.suffix == ".safetensors":
        return weights.safetensors_shapes(path)
    return {name: tuple(tensor.shape) for name, tensor in pickled(path).items()}


def _open(path: Path) -> Callable[[str], Tensor]:
    """A reader of tensors by name, mapped. The file stays open as long as the reader lives."""
    if path.suffix != ".safetensors":
        return pickled(path).__getitem__
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")  # type: ignore[no-untyped-call]  # the library's
        get: Callable[[str], Tensor] = file.get_tensor
    except (SafetensorError, OSError) as error:
        raise weights.unreadable(path, error) from error
    return get


def pickled(path: Path) -> dict[str, Tensor]:
    """Tensors of a file made by torch.save, mapped; a ckpt.pt may hold them under "model"."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise weights.unreadable(path, error) from error
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a table of tensors")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}

"""From a checkpoint folder to an MLX engine, tensor by tensor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from csm_chat.checkpoint import weights
from csm_chat.checkpoint.adapters.adapter import Adapter
from csm_chat.checkpoint.files import Shape, locate, safetensors_dtypes, unreadable
from csm_chat.checkpoint.sizes import read_sizes
from csm_chat.checkpoint.weights import Source, halves_first
from csm_chat.engine.mlx.device import mlx_device
from csm_chat.engine.mlx.engine import MlxEngine
from csm_chat.engine.mlx.model import Csm
from csm_chat.engine.mlx.quantised.files import beside, packed_forms, without_packing
from csm_chat.engine.mlx.quantised.packing import (
    Changed,
    Form,
    Matrix,
    Packed,
    Plain,
    form_of,
    pack,
)
from csm_chat.engine.options import LoadOptions
from csm_chat.notices import Listener

log = logging.getLogger(__name__)

Read = Callable[[str], mx.array]  # a tensor by its name; each is read once


def load_engine(folder: Path, options: LoadOptions, _: Listener) -> MlxEngine:
    """See `choice.load_engine`. Weights are packed anew each time, which takes seconds: none kept.

    What the folder holds packed stays so, whatever the options say.
    """
    device, number = mlx_device(options.device), getattr(mx, options.dtype)
    sizes = read_sizes(folder)
    homes, found = locate(folder, _shapes)
    forms = packed_forms(folder, found)
    sources = weights.plan(sizes, without_packing(found, forms), folder)

    def model(adapter: Adapter | None) -> Csm:
        read = _Files(homes).read
        with mx.stream(device):
            checkpoint = Checkpoint(sources, read, forms, options.quantize, number, adapter)
            made = Csm(sizes, checkpoint)
        mx.clear_cache()
        return made

    log.debug("%s: %d tensors on %s in %s", folder, len(sources), options.device, options.dtype)
    is_compiled = options.graphs and options.device == "metal"
    return MlxEngine(model, sizes, device, number, compiled=is_compiled)


class Checkpoint:
    """The `Weights` of a model: each tensor is read, put in order and packed by itself."""

    def __init__(
        self,
        sources: Iterable[Source],
        read: Read,
        forms: Mapping[str, Form],
        mode: str,
        dtype: mx.Dtype,
        adapter: Adapter | None,
    ) -> None:
        self._sources = {source.part: source for source in sources}
        self._read, self._forms, self._mode, self._dtype = read, forms, mode, dtype
        self._whole = {} if adapter is None else adapter.whole
        self._low_rank = {} if adapter is None else adapter.low_rank

    def matrix(self, part: str) -> Matrix:
        source = self._sources[part]
        is_packed = source.name in self._forms and part not in self._whole
        change = self._low_rank.get(part)
        if not is_packed and not form_of(part, self._mode):
            weight = self._tensor(part)
            if change is not None:
                weight = weight.astype(mx.float32) + mx.array(change.up) @ mx.array(change.down)
            return self._put(part, weight)
        matrix = self._packed(source) if is_packed else self._put(part, self._tensor(part))
        if change is None:
            return matrix
        halves = (mx.array(each).astype(self._dtype) for each in (change.up, change.down))
        return Changed(matrix, *halves)

    def heads(self, part: str) -> list[Matrix]:
        return [self._put(part, head.T) for head in self._tensor(part)]

    def vector(self, part: str) -> mx.array:
        vector = self._tensor(part).astype(self._dtype)
        mx.eval(vector)
        return vector

    def _tensor(self, part: str) -> mx.array:
        """A part as the adapter has it whole, or as the checkpoint does."""
        if part in self._whole:
            return mx.array(self._whole[part])
        source = self._sources[part]
        return halves_first(self._read(source.name), source.interleaved_heads)

    def _put(self, part: str, weight: mx.array) -> Matrix:
        """Cast and pack, now: read and cast copies go before the next tensor is read."""
        weight = mx.contiguous(weight.astype(self._dtype))
        form = form_of(part, self._mode)
        matrix = pack(weight, form) if form else Plain(weight)
        mx.eval(matrix.arrays())
        mx.clear_cache()
        return matrix

    def _packed(self, source: Source) -> Matrix:
        arrays = [self._read(name) for name in (source.name, *beside(source.name))]
        codes, *shifts = (halves_first(each, source.interleaved_heads) for each in arrays)
        matrix = Packed(
            self._forms[source.name], codes, *(each.astype(self._dtype) for each in shifts)
        )
        mx.eval(matrix.arrays())
        return matrix


def _shapes(path: Path) -> dict[str, Shape]:
    from csm_chat.engine.torch.load import pickled_shapes

    return pickled_shapes(path)


class _Files:
    """Tensors by name out of several files. Nothing of a tensor is kept that was given out."""

    def __init__(self, homes: Mapping[str, Path]) -> None:
        self._homes = homes
        self._opened: dict[Path, dict[str, Any]] = {}

    def read(self, name: str) -> mx.array:
        path = self._homes[name]
        if path not in self._opened:
            self._opened[path] = _open(path)
        tensor = self._opened[path].pop(name)
        if isinstance(tensor, mx.array):
            return tensor
        return mx.array(tensor.float().numpy())


def _open(path: Path) -> dict[str, Any]:
    """Tensors of a file: MLX' own, read when they are computed with, or torch's of a pickle."""
    if path.suffix != ".safetensors":
        from csm_chat.engine.torch.load import pickled

        return {**pickled(path)}
    try:
        arrays = mx.load(str(path), format="safetensors")
    except RuntimeError as error:
        raise unreadable(path, error) from error
    assert isinstance(arrays, dict), path
    # MLX has no such dtype and hands out the bytes
    narrow = (name for name, dtype in safetensors_dtypes(path).items() if dtype == "F8_E4M3")
    return arrays | {name: mx.from_fp8(arrays[name], mx.float32) for name in narrow}

"""Modules of a CSM on packed weights, in the places of the plain ones. Knows no file.

CPU, float32 activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from csm_chat.checkpoint.sizes import StackSizes
from csm_chat.engine.torch.cache import Cache, Span
from csm_chat.engine.torch.model import Csm
from csm_chat.engine.torch.quantised.graph import Graph, PackedLayer, count_info, tensor_info
from csm_chat.engine.torch.quantised.packing import Change, Packed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_PIECE_ROWS = 128  # of a prompt, between two looks at whether to go on
_KEPT_ROWS = 2  # steps of up to so many rows keep their bindings: those of every frame


class Product(nn.Module):
    """A packed matrix to multiply rows with."""

    def __init__(self, matrix: Packed) -> None:
        super().__init__()
        graph = Graph()
        graph.product("x", "y", matrix)
        self._n_out = len(matrix.codes)
        self._session = graph.session(
            [tensor_info("x", "rows", matrix.n_in)], [tensor_info("y", "rows", self._n_out)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
        (y,) = self._session.run(None, {"x": x.numpy()})
        return torch.from_numpy(y)


class Heads(nn.Module):
    """As `DepthHeads`: one head for each codebook after the first."""

    def __init__(self, heads: Sequence[Product]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, head: int, x: Tensor) -> Tensor:
        logits: Tensor = self.heads[head](x)
        return logits


class Table(nn.Module):
    """As `nn.Embedding`: rows of 8 bits with a scale each. Nothing but the rows asked for is read.

    `weight`, the scales, (rows, 1), tells the device and format of what comes out.
    """

    def __init__(self, codes: Tensor, scales: Tensor, change: Change | None = None) -> None:
        super().__init__()
        self._codes, self.weight, self._change = codes, scales, change

    def forward(self, ids: Tensor) -> Tensor:
        rows = self._codes[ids].float() * self.weight[ids]
        change = self._change
        return rows if change is None else rows + change.up[ids] @ change.down


class QuantisedCsm(Csm):
    """A CSM of the modules below, by the names of those they stand for."""

    batches = False  # its sessions are bound to one take's cache

    def __init__(self, audio_vocab: int, modules: Mapping[str, nn.Module]) -> None:
        # not Csm's own: it would make the matrices that this has in other form
        nn.Module.__init__(self)
        self.audio_vocab = audio_vocab
        for name, module in modules.items():
            self.add_module(name, module)


class QuantisedStack(nn.Module):
    """As `Stack`, in sessions of consecutive layers. The last one ends with the norm.

    The first begins with the projection, if there is one.
    """

    def __init__(
        self,
        sizes: StackSizes,
        rows: int,
        layers: Iterator[PackedLayer],
        norm: Tensor,
        layers_a_session: int,
        projection: Packed | None = None,
    ) -> None:
        super().__init__()
        self._parts: list[_Layers] = []
        for start in range(0, sizes.layers, layers_a_session):
            end = min(start + layers_a_session, sizes.layers)
            taken = [next(layers) for _ in range(start, end)]
            self._parts.append(
                _Layers(
                    sizes,
                    rows,
                    taken,
                    start,
                    projection if start == 0 else None,
                    norm if end == sizes.layers else None,
                )
            )

    def forward(self, x: Tensor, cache: Cache, span: Span, between: Callable[[], None]) -> Tensor:
        """(S, width in) to (S, width). `between` is called before each session's piece."""
        start = span.visible - len(x)
        for part in self._parts:
            pieces, end = [], start
            for piece in torch.split(x, _PIECE_ROWS):
                between()
                end += len(piece)
                pieces.append(part(piece, cache, end))
            x = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return x


class _Layers:
    """A session of layers and what it is bound to."""

    def __init__(
        self,
        sizes: StackSizes,
        rows: int,
        layers: Sequence[PackedLayer],
        first: int,
        projection: Packed | None,
        norm: Tensor | None,
    ) -> None:
        graph, x = Graph(), "x"
        self._width, width_in = sizes.width, sizes.width
        if projection is not None:
            x, width_in = graph.product(x, "projected", projection), projection.n_in
        self._caches: list[tuple[str, int]] = []
        for i, layer in enumerate(layers, first):
            x = graph.layer(x, f"layer{i}", layer, sizes)
            self._caches.append((f"layer{i}", i))
        if norm is not None:
            x = graph.norm(x, "norm", norm, sizes.norm_eps)
        self._y = x
        shape = (1, sizes.kv_heads, rows, sizes.head_width)
        names = [f"{name}.{part}" for name, _ in self._caches for part in ("keys", "values")]
        tables = [tensor_info(name, rows, sizes.head_width // 2) for name in ("cos", "sin")]
        self._session = graph.session(
            [
                tensor_info("x", 1, "n", width_in),
                *(count_info("last"), count_info("total"), *tables),
                *(tensor_info(name, *shape) for name in names),
            ],
            [
                tensor_info(x, 1, "n", sizes.width),
                *(tensor_info(f"{name}.out", *shape) for name in names),
            ],
        )
        self._kept: dict[int, _Binding] = {}

    def __call__(self, x: Tensor, cache: Cache, end: int) -> Tensor:
        """Rows (n, width) of the places before `end`; their keys and values go to the cache."""
        n = len(x)
        binding = self._kept.get(n)
        if binding is None or binding.cache is not cache:
            outputs = {self._y: torch.empty(1, n, self._width)}
            binding = _Binding(
                self._session, self._caches, torch.empty(1, *x.shape), outputs, cache
            )
            if n <= _KEPT_ROWS:
                self._kept[n] = binding
        return binding.run(x, end)


class _Binding:
    """A session's inputs and outputs, all memory of torch: caches are written in place."""

    def __init__(
        self,
        session: InferenceSession,
        caches: Sequence[tuple[str, int]],
        x: Tensor,
        outputs: Mapping[str, Tensor],
        cache: Cache,
    ) -> None:
        self.cache = cache
        self._session, self._io = session, session.io_binding()
        self._x = x
        ((y, self._out),) = outputs.items()
        self._last, self._total = (torch.empty(1, dtype=torch.int32) for _ in range(2))
        self._cos, self._sin = cache.half_tables()
        tensors = {"x": self._x, "last": self._last, "total": self._total}
        tensors |= {"cos": self._cos, "sin": self._sin}
        for name, i in caches:
            tensors |= {
                f"{name}.keys": cache.keys[i],
                f"{name}.values": cache.values[i],
            }
        for name, tensor in tensors.items():
            self._io.bind_input(name, *_place(tensor))
            if name.startswith("layer"):
                self._io.bind_output(f"{name}.out", *_place(tensor))
        self._io.bind_output(y, *_place(self._out))

    def run(self, x: Tensor, end: int) -> Tensor:
        self._x[0] = x
        self._last[0], self._total[0] = end - 1, end
        self._session.run_with_iobinding(self._io)
        return self._out[0].clone()


def _place(tensor: Tensor) -> tuple[object, ...]:
    kind = np.float32 if tensor.dtype == torch.float32 else np.int32
    return "cpu", 0, kind, tuple(tensor.shape), tensor.data_ptr()

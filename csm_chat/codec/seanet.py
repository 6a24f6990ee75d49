"""SEANet on rows of channels, streamed: convolutions as products of matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from csm_chat.codec.products import product_with
from csm_chat.codec.sizes import Conv, Elu, Layer, Residual

# what each layer keeps of a stream: the rows its next call needs
Past: TypeAlias = dict[object, Tensor]
Step: TypeAlias = Callable[[Tensor, Past], Tensor]

# for more rows, of fewer channels, a product for each tap beats copying all windows
_FEW_WINDOWS = 256
_NARROW = 256


class Taps:
    """A causal convolution with stride 1: rows (n, in) to (n, out).

    `weight` is (out, taps, in), its last tap for the row itself.
    """

    def __init__(self, weight: Tensor, bias: Tensor, n_rows: int, dilation: int = 1) -> None:
        """Calls have `n_rows`, or more."""
        self._out, self._n_taps, self._in = weight.shape
        self._dilation = dilation
        self._n_kept = (self._n_taps - 1) * dilation
        self._matrix = product_with(weight.reshape(self._out, -1), n_rows)
        narrow = self._n_taps > 1 and 1 < self._in <= _NARROW
        self._by_tap = list(weight.permute(1, 2, 0).contiguous()) if narrow else []
        self._bias = bias

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        return self.product(self.rows(x, past), past)

    def rows(self, x: Tensor, past: Past) -> Tensor:
        """The rows kept, then those of x, copied."""
        if not self._n_kept:
            return x
        before = past.get(self)
        if before is None:
            before = x.new_zeros(self._n_kept, self._in)
        return torch.cat((before, x))

    def product(self, rows: Tensor, past: Past) -> Tensor:
        """What `rows` gives; their end is kept for the next call."""
        n = len(rows) - self._n_kept
        if self._n_kept:
            # not a view, which would keep all rows
            past[self] = rows[n:].clone()
        if n <= _FEW_WINDOWS or not self._by_tap:
            return self._matrix(self._windows(rows, n), self._bias).contiguous()
        y = torch.addmm(self._bias, rows[:n], self._by_tap[0])
        for i, weight in enumerate(self._by_tap[1:], 1):
            y.addmm_(rows[i * self._dilation :][:n], weight)
        return y

    def _windows(self, rows: Tensor, n: int) -> Tensor:
        """What each output sees: (n, taps * in)."""
        steps = (self._in, self._dilation * self._in, 1)
        return rows.as_strided((n, self._n_taps, self._in), steps).reshape(n, -1)


class StridedConv:
    """A causal convolution with a kernel two strides long: (n * stride, in) to (n, out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """`weight` is (out, in, taps)."""
        out, channels, taps = weight.shape
        self.stride = taps // 2
        self._width = self.stride * channels  # of the rows of one stride side by side
        halves = weight.permute(2, 1, 0).reshape(2, self._width, out)
        self._before, self._now = halves.contiguous()
        self._bias = torch.zeros_like(halves[0, 0]) if bias is None else bias

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        blocks = x.view(-1, self._width)
        y = torch.addmm(self._bias, blocks, self._now)
        if self in past:
            y[:1].addmm_(past[self], self._before)
        y[1:].addmm_(blocks[:-1], self._before)
        past[self] = blocks[-1:].clone()
        return y


class TransposedConv:
    """A transposed convolution with a kernel two strides long: (n, in) to (n * stride, out).

    Each row and the one before it make the rows of one stride.
    """

    def __init__(self, weight: Tensor, bias: Tensor, n_rows: int) -> None:
        """`weight` is (in, out, taps)."""
        channels, self._out, taps = weight.shape
        stride = taps // 2
        halves = weight.view(channels, self._out, 2, stride).flip(2)
        rows = halves.permute(3, 1, 2, 0).reshape(stride * self._out, 2, channels)
        self._taps = Taps(rows, bias.repeat(stride), n_rows)

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        return self._taps(x, past).view(-1, self._out)


class ResidualBlock:
    """x, or what its shortcut makes of it, + narrow(elu(wide(elu(x)))); may change x."""

    def __init__(self, wide: Taps, narrow: Taps, shortcut: Taps | None = None) -> None:
        self._wide, self._narrow, self._shortcut = wide, narrow, shortcut

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        rows = self._wide.rows(x, past)
        F.elu_(rows[len(rows) - len(x) :])
        y = F.elu_(self._wide.product(rows, past))
        if self._shortcut:
            x = self._shortcut(x, past)
        return x.add_(self._narrow(y, past))


def _elu(x: Tensor, past: Past) -> Tensor:
    return F.elu_(x)


def steps_of(
    net: str, layers: Sequence[Layer], tensors: Mapping[str, Tensor], n_rows: int
) -> list[Step]:
    """The layers of the net "encoder" or "decoder", whose calls have `n_rows`, or more."""
    steps = []
    for i, layer in enumerate(layers):
        steps.append(_step(f"{net}.model.{i}.", layer, tensors, n_rows))
        if isinstance(layer, Conv):
            n_rows = n_rows * layer.stride if layer.is_transposed else n_rows // layer.stride
    return steps


def _step(prefix: str, layer: Layer, tensors: Mapping[str, Tensor], n_rows: int) -> Step:
    match layer:
        case Elu():
            return _elu
        case Residual():
            return ResidualBlock(
                *(
                    _taps(prefix + name, tensors, n_rows, conv.dilation)
                    for name, conv in layer.convs.items()
                )
            )
        case Conv(stride=1, is_transposed=False):
            return _taps(prefix + layer.name, tensors, n_rows, layer.dilation)
    weight, bias = (tensors[f"{prefix}{layer.name}.{part}"] for part in ("weight", "bias"))
    if layer.is_transposed:
        return TransposedConv(weight, bias, n_rows)
    return StridedConv(weight, bias)


def _taps(name: str, tensors: Mapping[str, Tensor], n_rows: int, dilation: int) -> Taps:
    weight = tensors[f"{name}.weight"].transpose(1, 2)
    return Taps(weight, tensors[f"{name}.bias"], n_rows, dilation)


def run(steps: Sequence[Step], x: Tensor, past: Past) -> Tensor:
    """The next rows of a stream through all layers; may change x."""
    for step in steps:
        x = step(x, past)
    return x

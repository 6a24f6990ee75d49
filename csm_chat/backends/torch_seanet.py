"""SEANet on rows of channels, streamed: moshi's convolutions as products of matrices.

Takes the weights of moshi's modules once. Knows neither codes nor files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from moshi.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from moshi.modules.seanet import SEANetResnetBlock
from torch import Tensor, nn
from torch.nn import functional as F

from csm_chat.backends.torch_products import Matrix

# what each layer keeps of a stream: the rows its next call needs
Past: TypeAlias = dict[object, Tensor]
Layer: TypeAlias = Callable[[Tensor, Past], Tensor]

# for more rows, of fewer channels, a product for each tap beats copying all windows
_FEW_WINDOWS = 256
_NARROW = 256


class Taps:
    """A causal convolution with stride 1: rows (n, in) to (n, out).

    `weight` is (out, taps, in), its last tap for the row itself.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dilation: int = 1) -> None:
        self._out, self._n_taps, self._in = weight.shape
        self._dilation = dilation
        self._n_kept = (self._n_taps - 1) * dilation
        self._matrix = Matrix(weight.reshape(self._out, -1))
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


def _conv(streaming: StreamingConv1d) -> Taps:
    conv: Any = streaming.conv.conv
    assert (conv.stride, conv.groups, streaming.pad_mode) == ((1,), 1, "constant"), streaming
    return Taps(conv.weight.transpose(1, 2), conv.bias, conv.dilation[0])


class StridedConv:
    """A causal convolution with a kernel two strides long: (n * stride, in) to (n, out)."""

    def __init__(self, streaming: StreamingConv1d) -> None:
        conv: Any = streaming.conv.conv
        out, channels, taps = conv.weight.shape
        self.stride: int = conv.stride[0]
        assert (taps, conv.dilation, conv.groups) == (2 * self.stride, (1,), 1), conv
        self._width = self.stride * channels  # of the rows of one stride side by side
        weight = conv.weight.permute(2, 1, 0).reshape(2, self._width, out)
        self._before, self._now = weight.contiguous()
        self._bias = torch.zeros_like(weight[0, 0]) if conv.bias is None else conv.bias

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

    def __init__(self, streaming: StreamingConvTranspose1d) -> None:
        conv: Any = streaming.convtr.convtr
        channels, self._out, taps = conv.weight.shape
        stride = conv.stride[0]
        assert (taps, conv.dilation, conv.groups) == (2 * stride, (1,), 1), conv
        halves = conv.weight.view(channels, self._out, 2, stride).flip(2)
        weight = halves.permute(3, 1, 2, 0).reshape(stride * self._out, 2, channels)
        self._taps = Taps(weight, conv.bias.repeat(stride))

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        return self._taps(x, past).view(-1, self._out)


class Residual:
    """x, or what its shortcut makes of it, + conv(elu(conv(elu(x)))); may change x."""

    def __init__(self, block: SEANetResnetBlock) -> None:
        shortcut: Any = block.shortcut
        self._shortcut = None if isinstance(shortcut, nn.Identity) else _conv(shortcut)
        convs = [_conv(part) for part in block.block if isinstance(part, StreamingConv1d)]
        self._wide, self._last = convs

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        rows = self._wide.rows(x, past)
        F.elu_(rows[len(rows) - len(x) :])
        y = F.elu_(self._wide.product(rows, past))
        if self._shortcut:
            x = self._shortcut(x, past)
        return x.add_(self._last(y, past))


def _elu(x: Tensor, past: Past) -> Tensor:
    return F.elu_(x)


def layers_of(net: Any) -> list[Layer]:
    """Those of moshi's SEANet encoder or decoder. Raises ValueError for one Mimi has not."""
    return [_layer(module) for module in net.model]


def _layer(module: nn.Module) -> Layer:
    match module:
        case StreamingConv1d():
            return _conv(module) if module._stride == 1 else StridedConv(module)
        case StreamingConvTranspose1d():
            return TransposedConv(module)
        case SEANetResnetBlock():
            return Residual(module)
        case nn.ELU(alpha=1.0):
            return _elu
    raise ValueError(f"no layer of Mimi's: {module}")


def run(layers: Sequence[Layer], x: Tensor, past: Past) -> Tensor:
    """The next rows of a stream through all layers; may change x."""
    for layer in layers:
        x = layer(x, past)
    return x

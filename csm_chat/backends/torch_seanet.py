"""SEANet on rows of channels, streamed: moshi's convolutions as products of matrices.

Takes the weights of moshi's modules once. Knows neither codes nor files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from moshi.modules.conv import StreamingConv1d
from moshi.modules.seanet import SEANetResnetBlock
from torch import Tensor, nn
from torch.nn import functional as F

# what each layer keeps of a stream: the rows its next call needs
Past: TypeAlias = dict[object, Tensor]
Layer: TypeAlias = Callable[[Tensor, Past], Tensor]


class Conv:
    """A causal convolution of rows with stride 1: (n, in) to (n, out)."""

    def __init__(self, streaming: StreamingConv1d) -> None:
        conv: Any = streaming.conv.conv
        _, self._in, taps = conv.weight.shape
        self._dilation = conv.dilation[0]
        self._n_kept = (taps - 1) * self._dilation
        assert (conv.stride, conv.groups) == ((1,), 1), conv
        weight = conv.weight.permute(2, 1, 0)  # (taps, in, out)
        # a single channel makes a matrix of its windows, without a copy
        self._weights = list((weight.transpose(0, 1) if self._in == 1 else weight).contiguous())
        self._bias = conv.bias

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        return self.product(self.rows(x, past))

    def rows(self, x: Tensor, past: Past) -> Tensor:
        """The rows that the kernel sees, the last (n, in) of them new and not yet kept: a copy."""
        before = past.get(self)
        if before is None:
            before = x.new_zeros(self._n_kept, self._in)
        rows = torch.cat((before, x))
        past[self] = rows[len(x) :]
        return rows

    def product(self, rows: Tensor) -> Tensor:
        n = len(rows) - self._n_kept
        if self._in == 1:
            rows = rows[:, 0].unfold(0, self._n_kept + 1, 1)[:, :: self._dilation]
        y = torch.addmm(self._bias, rows[:n], self._weights[0])
        for tap, weight in enumerate(self._weights[1:], 1):
            y.addmm_(rows[tap * self._dilation :][:n], weight)
        return y


class StridedConv:
    """A causal convolution with a kernel two strides long: (n * stride, in) to (n, out)."""

    def __init__(self, streaming: StreamingConv1d) -> None:
        conv: Any = streaming.conv.conv
        out, channels, taps = conv.weight.shape
        stride: int = conv.stride[0]
        self.stride = stride
        assert (taps, conv.dilation, conv.groups) == (2 * stride, (1,), 1), conv
        self._width = stride * channels  # of the rows of one stride side by side
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


class Residual:
    """x + conv(elu(conv(elu(x)))); changes x in place."""

    def __init__(self, block: SEANetResnetBlock) -> None:
        self._wide, self._last = (
            Conv(part) for part in block.block if isinstance(part, StreamingConv1d)
        )
        assert isinstance(block.shortcut, nn.Identity), block

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        rows = self._wide.rows(x, past)
        F.elu_(rows[len(rows) - len(x) :])
        y = F.elu_(self._wide.product(rows))
        return x.add_(self._last.product(y))


def _elu(x: Tensor, past: Past) -> Tensor:
    return F.elu_(x)


def layers_of(net: Any) -> list[Layer]:
    """Those of moshi's SEANet encoder or decoder. Raises ValueError for one Mimi has not."""
    return [_layer(module) for module in net.model]


def _layer(module: nn.Module) -> Layer:
    match module:
        case StreamingConv1d():
            return Conv(module) if module._stride == 1 else StridedConv(module)
        case SEANetResnetBlock():
            return Residual(module)
        case nn.ELU():
            return _elu
    raise ValueError(f"no layer of Mimi's: {module}")


def run(layers: list[Layer], x: Tensor, past: Past) -> Tensor:
    """The next rows of a stream through all layers."""
    for layer in layers:
        x = layer(x, past)
    return x

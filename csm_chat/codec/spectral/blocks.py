"""ConvNeXt blocks on rows of channels, of whole clips or streamed. Know no sound.

As in Vocos (Siuzdak, arXiv 2306.00814; gemelo-ai/vocos, modules.py), with convolutions that see no
later step where they are streamed, and written as shifted sums: on a CPU these need no transposed
copies and their gradients cost no more than they do.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

# what a stream's convolutions saw last, by themselves; without one, a clip is seen as a whole
Past: TypeAlias = dict[nn.Module, Tensor]


class DepthwiseConv(nn.Module):
    """Each channel by itself over neighbouring steps."""

    def __init__(self, width: int, taps: int, is_causal: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(taps, width) * taps**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self._is_causal = is_causal

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """(B, n, width) to the same; `past` is read and written, for causal ones alone."""
        n, taps = x.shape[1], len(self.weight)
        before = taps - 1 if self._is_causal else taps // 2
        rows = functional.pad(x, (0, 0, before, taps - 1 - before))
        if past is not None:
            if self in past:
                rows = torch.cat((past[self], x), 1)
            past[self] = rows[:, -before:]
        y = self.bias + rows[:, :n] * self.weight[0]
        for tap in range(1, taps):
            y = torch.addcmul(y, rows[:, tap : tap + n], self.weight[tap])
        return y


class Block(nn.Module):
    """A ConvNeXt block (Liu et al., arXiv 2201.03545)."""

    def __init__(self, width: int, widening: int, taps: int, is_causal: bool) -> None:
        super().__init__()
        self.conv = DepthwiseConv(width, taps, is_causal)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, widening * width)
        self.narrow = nn.Linear(widening * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        hidden = self.wide(self.norm(self.conv(x, past)))
        return torch.addcmul(x, self.narrow(functional.gelu(hidden)), self.scale)


class Blocks(nn.Module):
    """Several in a row."""

    def __init__(self, n: int, width: int, widening: int, taps: int, is_causal: bool) -> None:
        super().__init__()
        blocks = (Block(width, widening, taps, is_causal) for _ in range(n))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, past)
        return x

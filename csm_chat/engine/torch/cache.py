"""Keys and values of what was computed, and the RoPE tables of their rows."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from csm_chat.checkpoint.sizes import Rope, StackSizes


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """The rows that a step computes in each take, and those they look at."""

    positions: Tensor  # (S,) where in the cache they are written
    cos: Tensor  # (S, 1, head_width)
    sin: Tensor  # (S, 1, head_width), its first half negated
    visible: int  # rows of the cache that are looked at, from 0
    mask: Tensor | None  # (group * S, visible), True where a row may look; None: everywhere


class Cache:
    """Keys and values of a stack, allocated once for all takes, and its RoPE tables."""

    def __init__(
        self,
        sizes: StackSizes,
        rows: int,
        device: torch.device,
        dtype: torch.dtype,
        n_takes: int = 1,
    ):
        shape = (sizes.layers, n_takes, sizes.kv_heads, rows, sizes.head_width)
        self.keys, self.values = (_zeros(shape, device, dtype) for _ in range(2))
        self._group = sizes.heads // sizes.kv_heads
        self._positions = torch.arange(rows, device=device)
        cos, sin = _rope_tables(sizes.rope, sizes.head_width, rows)
        self._cos, self._sin = cos.to(device), sin.to(device)

    @property
    def n_takes(self) -> int:
        return self.keys.shape[1]

    def half_tables(self) -> tuple[Tensor, Tensor]:
        """cos and sin of all rows, (rows, head_width / 2): what one half of a head is turned by."""
        half = self._cos.shape[-1] // 2
        return self._cos[:, 0, :half].contiguous(), self._sin[:, 0, half:].contiguous()

    def span(self, start: int, n: int) -> Span:
        """Rows `start` to `start + n`, each looking at itself and at all before it.

        A span of one row is views only.
        """
        end = start + n
        positions = self._positions[start:end]
        mask = None
        if n > 1:
            mask = positions[:, None] >= self._positions[:end]  # (S, visible)
            mask = mask.repeat(self._group, 1)
        return Span(positions, self._cos[start:end], self._sin[start:end], end, mask)

    def moving_span(self, row: Tensor, visible: int) -> Span:
        """One row, wherever `row`, (1,), says when it is computed; it has to be below `visible`."""
        mask = (self._positions[:visible] <= row).expand(self._group, -1)
        return Span(row, self._cos[row], self._sin[row], visible, mask)


def _zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """On a cpu in memory that is taken only as it is written to, which torch's zeros is not.

    Nor are NumPy's: they ask for pages of 2 MB, of which a head's first row takes a whole one.
    """
    if device.type != "cpu" or 0 in shape:
        return torch.zeros(shape, device=device, dtype=dtype)
    untouched = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):  # a kernel without such pages
            untouched.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(untouched, dtype=dtype).view(shape)


def _rope_tables(rope: Rope, head_width: int, rows: int) -> tuple[Tensor, Tensor]:
    """cos and sin, each (rows, 1, head_width), in float32."""
    exponents = torch.arange(0, head_width, 2, dtype=torch.float32) / head_width
    freqs = _llama3_scaled(1.0 / rope.theta**exponents, rope)
    angles = torch.outer(torch.arange(rows, dtype=torch.float32), freqs)[:, None]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def _llama3_scaled(freqs: Tensor, rope: Rope) -> Tensor:
    """Slow frequencies are divided by the factor, fast ones stay, those between are blended."""
    if rope.factor == 1.0:
        return freqs
    turns = rope.original_rows * freqs / (2 * math.pi)
    blend = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    blend = blend.clamp(0.0, 1.0)
    return blend * freqs + (1 - blend) * freqs / rope.factor

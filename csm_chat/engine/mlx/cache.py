"""Keys and values of what was computed, and the turns of RoPE."""

from __future__ import annotations

import math
from typing import TypeAlias

import mlx.core as mx

from csm_chat.checkpoint.sizes import Rope, StackSizes

Rows: TypeAlias = list[mx.array]  # a layer each, (1, kv_heads, rows, head_width)


class Cache:
    """Keys and values of a stack, allocated once.

    Writing to an array makes a new one, in the memory of the old one if nothing else holds that: no
    step may be under way that reads it.
    """

    def __init__(self, keys: Rows, values: Rows):
        self.keys, self.values = keys, values

    @classmethod
    def empty(cls, sizes: StackSizes, rows: int, dtype: mx.Dtype) -> Cache:
        shape = (1, sizes.kv_heads, rows, sizes.head_width)
        keys, values = ([mx.zeros(shape, dtype) for _ in range(sizes.layers)] for _ in range(2))
        mx.eval(keys, values)
        return cls(keys, values)


def rope_periods(rope: Rope, head_width: int) -> mx.array:
    """Rows that each pair of a head takes for a turn, over 2 pi: (head_width / 2,), float32."""
    exponents = mx.arange(0, head_width, 2, dtype=mx.float32) / head_width
    periods = 1 / _llama3_scaled(1.0 / rope.theta**exponents, rope)
    mx.eval(periods)
    return periods


def _llama3_scaled(freqs: mx.array, rope: Rope) -> mx.array:
    """Slow frequencies are divided by the factor, fast ones stay, those between are blended."""
    if rope.factor == 1.0:
        return freqs
    turns = rope.original_rows * freqs / (2 * math.pi)
    blend = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    blend = mx.clip(blend, 0.0, 1.0)
    return blend * freqs + (1 - blend) * freqs / rope.factor

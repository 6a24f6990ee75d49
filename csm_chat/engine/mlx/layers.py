"""A plain Llama: matrices, attention, layers, over a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import mlx.core as mx

from csm_chat.checkpoint.sizes import StackSizes
from csm_chat.engine.mlx.cache import Cache, rope_periods
from csm_chat.engine.mlx.quantised.packing import Matrix, joined


class Weights(Protocol):
    """A checkpoint, by the names of `weights.Source.part`. Each part is taken once."""

    def matrix(self, part: str) -> Matrix: ...

    def heads(self, part: str) -> list[Matrix]:
        """A matrix (out, in) for each head."""
        ...

    def vector(self, part: str) -> mx.array: ...


class Attention:
    def __init__(self, sizes: StackSizes, weights: Weights, name: str):
        self.heads, self.kv_heads = sizes.heads, sizes.kv_heads
        self.head_width = sizes.head_width
        self.periods = rope_periods(sizes.rope, sizes.head_width)
        self.qkv = joined([weights.matrix(f"{name}.{part}") for part in "qkv"])
        self.out = weights.matrix(f"{name}.out")

    def __call__(self, x: mx.array, cache: Cache, layer: int, start: int) -> mx.array:
        """`x` is (S, width), the rows of the cache from `start` on."""
        n = x.shape[0]
        fused = self.qkv(x).reshape(n, -1, self.head_width)  # (S, heads + 2 kv_heads, head_width)
        fused = fused.swapaxes(0, 1)[None]  # (1, heads + 2 kv_heads, S, head_width)
        turned = self._rotate(fused[:, : self.heads + self.kv_heads], start)
        q, k = turned[:, : self.heads], turned[:, self.heads :]
        end = start + n
        keys, values = cache.keys[layer], cache.values[layer]
        keys[:, :, start:end] = k
        values[:, :, start:end] = fused[:, -self.kv_heads :]
        seen = mx.fast.scaled_dot_product_attention(
            q,
            keys[:, :, :end],
            values[:, :, :end],
            scale=self.head_width**-0.5,
            mask="causal" if n > 1 else None,
        )
        return self.out(seen[0].swapaxes(0, 1).reshape(n, -1))

    def _rotate(self, x: mx.array, start: int) -> mx.array:
        return mx.fast.rope(
            x,
            self.head_width,
            traditional=False,
            base=None,
            scale=1.0,
            offset=start,
            freqs=self.periods,
        )


class Mlp:
    def __init__(self, weights: Weights, name: str):
        self.gate_up = joined([weights.matrix(f"{name}.{part}") for part in ("gate", "up")])
        self.down = weights.matrix(f"{name}.down")

    def __call__(self, x: mx.array) -> mx.array:
        gate, up = mx.split(self.gate_up(x), 2, axis=-1)
        # mlx.nn.silu is compiled by itself, which on a cpu takes a C++ compiler
        return self.down(gate * mx.sigmoid(gate) * up)


class Norm:
    def __init__(self, weight: mx.array, eps: float):
        self.weight, self.eps = weight, eps

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self.weight, self.eps)


class Layer:
    def __init__(self, sizes: StackSizes, weights: Weights, name: str):
        self.attn_norm = Norm(weights.vector(f"{name}.attn_norm"), sizes.norm_eps)
        self.attn = Attention(sizes, weights, name)
        self.mlp_norm = Norm(weights.vector(f"{name}.mlp_norm"), sizes.norm_eps)
        self.mlp = Mlp(weights, name)

    def __call__(self, x: mx.array, cache: Cache, layer: int, start: int) -> mx.array:
        x = x + self.attn(self.attn_norm(x), cache, layer, start)
        return x + self.mlp(self.mlp_norm(x))


class Stack:
    """A plain Llama without table and head."""

    def __init__(self, sizes: StackSizes, weights: Weights, name: str):
        self.layers = [Layer(sizes, weights, f"{name}.layers.{i}") for i in range(sizes.layers)]
        self.norm = Norm(weights.vector(f"{name}.norm"), sizes.norm_eps)

    def __call__(
        self, x: mx.array, cache: Cache, start: int, between: Callable[[mx.array], None]
    ) -> mx.array:
        """(S, width) to (S, width). `between` gets what each layer begins with, and may raise."""
        for i, layer in enumerate(self.layers):
            between(x)
            x = layer(x, cache, i, start)
        return self.norm(x)

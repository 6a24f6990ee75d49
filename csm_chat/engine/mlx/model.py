"""The modules of a CSM: backbone, depth decoder, tables, heads; and the caches they write.

`torch/model.py` on MLX: the same names in the same order, what differs is said. Batch 1, inference.
Knows rows and hidden states, no prompt, no sampling. Nothing is computed before it is waited for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

import mlx.core as mx

from csm_chat.checkpoint.sizes import CsmSizes, Rope, StackSizes
from csm_chat.engine.mlx.quantised.packing import Matrix, joined

_EMBEDDED_ROWS = 32  # of a prompt at a time: 256 take 200 MB of float32 before they are summed

Rows: TypeAlias = list[mx.array]  # a layer each, (1, kv_heads, rows, head_width)


class Weights(Protocol):
    """A checkpoint, by the names of `weights.Source.part`. Each part is taken once."""

    def matrix(self, part: str) -> Matrix: ...

    def heads(self, part: str) -> list[Matrix]:
        """A matrix (out, in) for each head."""
        ...

    def vector(self, part: str) -> mx.array: ...


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


class Csm:
    def __init__(self, sizes: CsmSizes, weights: Weights):
        # an array: a number would make a kernel for each codebook of what is compiled
        self.offsets = mx.arange(sizes.codebooks) * sizes.audio_vocab
        mx.eval(self.offsets)
        self.text_embeddings = weights.matrix("text_embeddings")
        self.audio_embeddings = weights.matrix("audio_embeddings")
        self.backbone = Stack(sizes.backbone, weights, "backbone")
        self.codebook0_head = weights.matrix("codebook0_head")
        self.projection = weights.matrix("projection")
        self.depth = Stack(sizes.depth, weights, "depth")
        self.depth_heads = weights.heads("depth_heads")

    def embed_codes(self, codes: mx.array) -> mx.array:
        """Whole frames, (..., codebooks), to (..., codebooks, width)."""
        return self.audio_embeddings.rows(codes + self.offsets)

    def embed_rows(self, tokens: mx.array, mask: mx.array) -> mx.array:
        """Prompt rows, (S, codebooks + 1), to (S, width): sums of what the mask lets through."""
        starts = range(0, len(tokens), _EMBEDDED_ROWS)
        ends = [start + _EMBEDDED_ROWS for start in starts]
        pieces = [
            self._embed(tokens[start:end], mask[start:end])
            for start, end in zip(starts, ends, strict=True)
        ]
        return mx.concatenate(pieces)

    def _embed(self, tokens: mx.array, mask: mx.array) -> mx.array:
        audio = self.embed_codes(tokens[:, :-1])
        text = self.text_embeddings.rows(tokens[:, -1:])
        return (mx.concatenate([audio, text], axis=1) * mask[..., None]).sum(axis=1)

    def embed_frame(self, codes: mx.array) -> mx.array:
        """A generated frame, (codebooks,), as the row (1, width) that follows it in the prompt."""
        return self.embed_codes(codes).sum(axis=0, keepdims=True)

    def depth_first(self, hidden: mx.array, code: mx.array, cache: Cache) -> mx.array:
        """Logits (audio_vocab,) of codebook 1, from the backbone's (1, width) and code 0, (1,)."""
        rows = mx.concatenate([hidden, self.audio_embeddings.rows(code)])  # (2, width)
        return self._depth(rows, 0, cache, 0)

    def depth_next(self, code: mx.array, codebook: int, cache: Cache) -> mx.array:
        """Logits (audio_vocab,) of the codebook after `codebook`, from that one's code, (1,)."""
        offset = self.offsets[codebook : codebook + 1]
        row = self.audio_embeddings.rows(code + offset)  # (1, width)
        return self._depth(row, codebook, cache, codebook + 1)

    def _depth(self, rows: mx.array, head: int, cache: Cache, start: int) -> mx.array:
        hidden = self.depth(self.projection(rows), cache, start, _go_on)
        return self.depth_heads[head](hidden[-1:])[0]


def _go_on(x: mx.array) -> None:
    """A depth step is short: nothing is asked between its layers."""

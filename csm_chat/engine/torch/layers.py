"""A plain Llama: matrices, attention, layers, over a cache.

RoPE turns halves: where a checkpoint pairs neighbours, the rows of query and key matrices are
reordered on loading.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm_chat.checkpoint.sizes import StackSizes
from csm_chat.engine.torch.cache import Cache, Span
from csm_chat.engine.torch.device import quick_dtype

_MANY_ROWS = 4
_BLOCK_WEIGHTS = 2**21  # of a matrix, that stay in the cache between their cast and their use


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE in float32. `x` is (takes, S, heads, head_width)."""
    swapped = x.roll(x.shape[-1] // 2, -1)
    return (x * cos + swapped * sin).to(x.dtype)


class Linear(nn.Linear):
    """A plain matrix. On a cpu, rows of float16 are multiplied in another format, block by block.

    Without AVX512-FP16 torch's float16 product costs as much for each row as for the first: 20 rows
    take 48 ms, in float32 29 with the cast of the weights, in bfloat16 17 (16384 x 2048, two cores
    of an AMD Zen 5). The original runs in bfloat16, too; logits are then 0.3 to 0.6 % off.
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype == torch.float16 and input.device.type == "cpu" and len(input) >= _MANY_ROWS:
            return _by_blocks(input, self.weight, quick_dtype())
        return F.linear(input, self.weight)


def _by_blocks(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    cast, products = x.to(dtype), x.new_empty(len(x), len(weight))
    n_rows = max(1, _BLOCK_WEIGHTS // weight.shape[1])
    wide = torch.empty(n_rows, weight.shape[1])
    block = wide if dtype == torch.float32 else torch.empty_like(wide, dtype=dtype)
    for start in range(0, len(weight), n_rows):
        part = weight[start : start + n_rows]
        taken = wide[: len(part)].copy_(part)
        if block is not wide:  # torch casts from float32 eight times as quickly as from float16
            taken = block[: len(part)].copy_(taken)
        products[:, start : start + len(part)] = F.linear(cast, taken)
    return products


class Attention(nn.Module):
    def __init__(self, sizes: StackSizes):
        super().__init__()
        self.heads, self.kv_heads = sizes.heads, sizes.kv_heads
        self.head_width = sizes.head_width
        n_fused = sizes.heads + 2 * sizes.kv_heads
        self.qkv = Linear(sizes.width, n_fused * sizes.head_width)
        self.out = Linear(sizes.heads * sizes.head_width, sizes.width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        """`x` is (takes * S, width); keys and values are a layer's cache.

        That is (takes, kv_heads, rows, head_width).
        """
        takes, n = len(keys), len(span.positions)
        fused = self.qkv(x).view(takes, n, -1, self.head_width)  # heads + 2 kv_heads of them
        turned = _rotate(fused[:, :, : self.heads + self.kv_heads], span.cos, span.sin)
        q, k = turned[:, :, : self.heads], turned[:, :, self.heads :]
        keys.index_copy_(2, span.positions, k.transpose(1, 2))
        values.index_copy_(2, span.positions, fused[:, :, -self.kv_heads :].transpose(1, 2))
        # query heads that share a key head become rows of one query: the cache is not repeated
        q = q.reshape(takes, n, self.kv_heads, -1, self.head_width).permute(0, 2, 3, 1, 4)
        q = q.reshape(takes, self.kv_heads, -1, self.head_width)  # group * S rows
        seen = F.scaled_dot_product_attention(
            q, keys[:, :, : span.visible], values[:, :, : span.visible], attn_mask=span.mask
        )
        seen = seen.view(takes, self.kv_heads, -1, n, self.head_width).permute(0, 3, 1, 2, 4)
        mixed: Tensor = self.out(seen.reshape(takes * n, -1))
        return mixed


class Mlp(nn.Module):
    def __init__(self, sizes: StackSizes):
        super().__init__()
        self.gate_up = Linear(sizes.width, 2 * sizes.mlp_width)
        self.down = Linear(sizes.mlp_width, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        mixed: Tensor = self.down(F.silu(gate) * up)
        return mixed


class Layer(nn.Module):
    def __init__(self, sizes: StackSizes):
        super().__init__()
        self.attn_norm = nn.RMSNorm(sizes.width, sizes.norm_eps)
        self.attn = Attention(sizes)
        self.mlp_norm = nn.RMSNorm(sizes.width, sizes.norm_eps)
        self.mlp = Mlp(sizes)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        x = x + self.attn(self.attn_norm(x), keys, values, span)
        mixed: Tensor = x + self.mlp(self.mlp_norm(x))
        return mixed


class Stack(nn.Module):
    """A plain Llama without table and head."""

    def __init__(self, sizes: StackSizes):
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.width, sizes.norm_eps)

    def forward(self, x: Tensor, cache: Cache, span: Span, between: Callable[[], None]) -> Tensor:
        """(takes * S, width) to the same. `between` is called before each layer and may raise."""
        for layer, keys, values in zip(self.layers, cache.keys, cache.values, strict=True):
            between()
            x = layer(x, keys, values, span)
        hidden: Tensor = self.norm(x)
        return hidden


def layer_slots(layer: Layer) -> list[tuple[str, Tensor]]:
    attn = layer.attn
    queries, keys = attn.heads * attn.head_width, attn.kv_heads * attn.head_width
    qkv = attn.qkv.weight
    gate, up = layer.mlp.gate_up.weight.chunk(2)
    return [
        ("attn_norm", layer.attn_norm.weight),
        ("q", qkv[:queries]),
        ("k", qkv[queries : queries + keys]),
        ("v", qkv[queries + keys :]),
        ("out", attn.out.weight),
        ("mlp_norm", layer.mlp_norm.weight),
        ("gate", gate),
        ("up", up),
        ("down", layer.mlp.down.weight),
    ]

"""The modules of a CSM: backbone, depth decoder, tables, heads; and the caches they write.

Inference, of takes that are equally long. Knows rows and hidden states, no prompt, no sampling.
RoPE turns halves: where a checkpoint pairs neighbours, the rows of query and key matrices are
reordered on loading.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm_chat.checkpoint.sizes import CsmSizes, Rope, StackSizes
from csm_chat.engine.torch.device import quick_dtype

_MANY_ROWS = 4
_EMBEDDED_ROWS = 32  # of a prompt at a time: 256 take 200 MB of float32 before they are summed
_BLOCK_WEIGHTS = 2**21  # of a matrix, that stay in the cache between their cast and their use


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


class DepthHeads(nn.Module):
    """One head for each codebook after the first."""

    def __init__(self, n_heads: int, width: int, vocab: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_heads, vocab, width))

    def forward(self, head: int, x: Tensor) -> Tensor:
        return F.linear(x, self.weight[head])


class Csm(nn.Module):
    batches = True  # it computes takes side by side, and reads its weights once for all

    def __init__(self, sizes: CsmSizes):
        super().__init__()
        width = sizes.backbone.width
        self.audio_vocab = sizes.audio_vocab
        self.text_embeddings = nn.Embedding(sizes.text_vocab, width)
        self.audio_embeddings = nn.Embedding(sizes.codebooks * sizes.audio_vocab, width)
        self.backbone = Stack(sizes.backbone)
        self.codebook0_head = Linear(width, sizes.audio_vocab)
        self.projection = Linear(width, sizes.depth.width)
        self.depth = Stack(sizes.depth)
        self.depth_heads = DepthHeads(sizes.codebooks - 1, sizes.depth.width, sizes.audio_vocab)

    def embed_codes(self, codes: Tensor) -> Tensor:
        """Whole frames, (..., codebooks), to (..., codebooks, width)."""
        codebooks = torch.arange(codes.shape[-1], device=codes.device)
        rows: Tensor = self.audio_embeddings(codes + codebooks * self.audio_vocab)
        return rows

    def embed_rows(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Prompt rows, (S, codebooks + 1), to (S, width): sums of what the mask lets through."""
        pieces = zip(
            torch.split(tokens, _EMBEDDED_ROWS), torch.split(mask, _EMBEDDED_ROWS), strict=True
        )
        return torch.cat([self._embed(*piece) for piece in pieces])

    def _embed(self, tokens: Tensor, mask: Tensor) -> Tensor:
        audio = self.embed_codes(tokens[:, :-1])
        text = self.text_embeddings(tokens[:, -1:])
        return (torch.cat((audio, text), dim=1) * mask[..., None]).sum(dim=1)

    def embed_frames(self, codes: Tensor) -> Tensor:
        """A frame of each take, (takes, codebooks), as the row (takes, width) that follows it."""
        return self.embed_codes(codes).sum(dim=1)

    def depth_first(self, hidden: Tensor, code: Tensor, cache: Cache, span: Span) -> Tensor:
        """Logits of codebook 1, from the backbone's (takes, width) and code 0, (takes, 1).

        They are (takes, audio_vocab).
        """
        rows = torch.cat((hidden[:, None], self.audio_embeddings(code)), 1)  # (takes, 2, width)
        return self._depth(rows, 0, cache, span)

    def depth_next(self, code: Tensor, codebook: int, cache: Cache, span: Span) -> Tensor:
        """Logits of the codebook after `codebook`, from that one's code, (takes, 1)."""
        rows = self.audio_embeddings(code + codebook * self.audio_vocab)  # (takes, 1, width)
        return self._depth(rows, codebook, cache, span)

    def _depth(self, rows: Tensor, head: int, cache: Cache, span: Span) -> Tensor:
        n = rows.shape[1]
        hidden = self.depth(self.projection(rows.flatten(0, 1)), cache, span, _go_on)
        logits: Tensor = self.depth_heads(head, hidden[n - 1 :: n])
        return logits


def _go_on() -> None:
    """A depth step is short: nothing is asked between its layers."""


def slots(model: Csm) -> dict[str, Tensor]:
    """Where each part of a checkpoint goes: views of the parameters, shaped as in files."""
    parts: dict[str, Tensor] = {
        "text_embeddings": model.text_embeddings.weight,
        "audio_embeddings": model.audio_embeddings.weight,
        "projection": model.projection.weight,
        "codebook0_head": model.codebook0_head.weight,
        "depth_heads": model.depth_heads.weight.transpose(1, 2),
    }
    for name, stack in (("backbone", model.backbone), ("depth", model.depth)):
        parts[f"{name}.norm"] = stack.norm.weight
        for i, layer in enumerate(stack.layers):
            assert isinstance(layer, Layer), layer
            parts |= {f"{name}.layers.{i}.{part}": slot for part, slot in _layer_slots(layer)}
    return parts


def _layer_slots(layer: Layer) -> list[tuple[str, Tensor]]:
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

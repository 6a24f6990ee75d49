"""Mimi's transformers: causal attention over a window, streamed in rows of channels.

Takes the weights of moshi's modules once. Knows neither convolutions nor codes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from csm_chat.backends.torch_products import Matrix

_MOST_STEPS = 128  # at once: the mask of a piece and the room beside a window are this wide


class Transformer:
    """The layers of one of Mimi's transformers; a `Stream` holds what it remembers."""

    def __init__(self, projected: Any) -> None:
        """`projected` is moshi's ProjectedTransformer."""
        transformer = projected.transformer
        self.layers = [_Layer(layer) for layer in transformer.layers]
        attention = transformer.layers[0].self_attn
        self.heads: int = attention.num_heads
        self.window: int = attention.context
        width = attention.embed_dim // self.heads
        device = attention.out_projs[0].weight.device
        steps = torch.arange(width // 2, device=device, dtype=torch.float32)
        self._frequencies = torch.exp(steps * (-math.log(transformer.max_period) * 2 / width))
        # (steps, window - 1 + steps): what each step of a piece may see of the past and the piece
        see = torch.ones(_MOST_STEPS, self.window - 1 + _MOST_STEPS, device=device).bool()
        self._seen = see.tril(self.window - 1).triu()

    def stream(self) -> Stream:
        return Stream(self)

    def rotations(self, start: int, n: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of steps from `start`: (n, 1, head width) each."""
        steps = torch.arange(start, start + n, device=self._frequencies.device)
        angles = torch.outer(steps.float(), self._frequencies)
        sin = angles.sin()
        cos = angles.cos().repeat_interleave(2, -1)
        return cos[:, None], torch.stack((-sin, sin), -1).flatten(1)[:, None]

    def seen(self, n_past: int, n: int) -> Tensor:
        """The mask (n, n_past + n) of a piece."""
        return self._seen[:n, self.window - 1 - n_past : self.window - 1 + n]


class Stream:
    """One stream through a transformer: its position, and each layer's keys and values."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._kept = transformer.window - 1
        self._position = 0  # of the next step in the stream
        self._end = 0  # of what the caches hold
        self._caches = [
            layer.new_cache(transformer.heads, 2 * self._kept + _MOST_STEPS)
            for layer in transformer.layers
        ]

    def __call__(self, x: Tensor) -> Tensor:
        """The next steps, (n, width), through all layers."""
        pieces = [self._piece(piece) for piece in torch.split(x, _MOST_STEPS)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _piece(self, x: Tensor) -> Tensor:
        n = len(x)
        self._make_room(n)
        transformer, end = self._transformer, self._end + n
        start = max(self._end - self._kept, 0)
        rotations = transformer.rotations(self._position, n)
        seen = transformer.seen(self._end - start, n)
        x = x.clone()
        for layer, cache in zip(transformer.layers, self._caches, strict=True):
            layer(x, rotations, seen, cache[:, :, start:end])
        self._position += n
        self._end = end
        return x

    def _make_room(self, n: int) -> None:
        if self._end + n <= self._caches[0].shape[2]:
            return
        for cache in self._caches:
            # what is moved and where it goes never overlap: the caches hold two windows
            cache[:, :, : self._kept] = cache[:, :, self._end - self._kept : self._end]
        self._end = self._kept


class _Layer:
    def __init__(self, layer: Any) -> None:
        attention = layer.self_attn
        self._norms = [(norm.weight, norm.bias, norm.eps) for norm in (layer.norm1, layer.norm2)]
        self._in = Matrix(attention.in_projs[0].weight)
        self._out = Matrix(attention.out_projs[0].weight)
        self._wide, self._narrow = Matrix(layer.linear1.weight), Matrix(layer.linear2.weight)
        self._scales = [scale.scale for scale in (layer.layer_scale_1, layer.layer_scale_2)]

    def new_cache(self, heads: int, capacity: int) -> Tensor:
        """Room for keys and values: (2, heads, capacity, head width)."""
        width = self._scales[0].shape[0] // heads
        room: Tensor = self._scales[0].new_empty(2, heads, capacity, width)
        return room

    def __call__(
        self, x: Tensor, rotations: tuple[Tensor, Tensor], seen: Tensor, cache: Tensor
    ) -> None:
        """Change x, (n, width), in place. `cache` ends in the n places for its keys and values."""
        x.addcmul_(self._scales[0], self._attention(self._norm(0, x), rotations, seen, cache))
        hidden = F.gelu(self._wide(self._norm(1, x)))
        x.addcmul_(self._scales[1], self._narrow(hidden))

    def _norm(self, i: int, x: Tensor) -> Tensor:
        weight, bias, eps = self._norms[i]
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    def _attention(
        self, x: Tensor, rotations: tuple[Tensor, Tensor], seen: Tensor, cache: Tensor
    ) -> Tensor:
        _, heads, _, width = cache.shape
        n = len(x)
        qkv = self._in(x).view(n, 3 * heads, width)
        qk = _rotated(qkv[:, : 2 * heads], rotations)
        cache[0, :, -n:] = qk[:, heads:].transpose(0, 1)
        cache[1, :, -n:] = qkv[:, 2 * heads :].transpose(0, 1)
        query = qk[:, :heads].transpose(0, 1)
        y = F.scaled_dot_product_attention(query[None], cache[:1], cache[1:], attn_mask=seen)
        return self._out(y[0].transpose(0, 1).reshape(n, -1))


def _rotated(x: Tensor, rotations: tuple[Tensor, Tensor]) -> Tensor:
    """Turn neighbouring channels of (n, heads, width) as moshi pairs them."""
    cos, sin = rotations
    swapped = x.view(*x.shape[:-1], -1, 2).flip(-1).view(x.shape)
    return torch.addcmul(x * cos, swapped, sin)

"""Mimi's transformers: causal attention over a window, streamed in rows of channels."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from csm_chat.codec.products import product_with
from csm_chat.codec.sizes import TransformerSizes

_NORM_EPS = 1e-5
MOST_STEPS = 128  # at once: the mask of a piece and the room beside a window are this wide


class Transformer:
    """The layers of one of Mimi's transformers; a `Stream` holds what it remembers."""

    def __init__(
        self, net: str, sizes: TransformerSizes, tensors: Mapping[str, Tensor], n_steps: int
    ) -> None:
        """`net`, "encoder" or "decoder", is whose it is; calls have `n_steps`, or more."""
        prefix = f"{net}_transformer.transformer.layers."
        self.layers = [_Layer(f"{prefix}{i}.", tensors, n_steps) for i in range(sizes.layers)]
        self.heads, self.window = sizes.heads, sizes.window
        width = sizes.width // sizes.heads
        device = self.layers[0].device
        steps = torch.arange(width // 2, device=device, dtype=torch.float32)
        self._frequencies = torch.exp(steps * (-math.log(sizes.max_period) * 2 / width))
        # (steps, window - 1 + steps): what each step of a piece may see of the past and the piece
        see = torch.ones(MOST_STEPS, self.window - 1 + MOST_STEPS, device=device)
        self._unseen = see.tril(self.window - 1).triu().log()  # 0 where seen, else -inf

    def stream(self) -> Stream:
        return Stream(self)

    def turns(self, start: int, n: int) -> Tensor:
        """The rotation of each step from `start`, as moshi pairs channels: (n, width, width)."""
        steps = torch.arange(start, start + n, device=self._frequencies.device)
        angles = torch.outer(steps.float(), self._frequencies)
        cos, sin = angles.cos(), angles.sin()
        turns = cos.new_zeros(n, len(self._frequencies), 2, len(self._frequencies), 2)
        for i, j, part in ((0, 0, cos), (0, 1, sin), (1, 0, -sin), (1, 1, cos)):
            turns[:, :, i, :, j].diagonal(0, 1, 2).copy_(part)
        return turns.flatten(3).flatten(1, 2)

    def unseen(self, n_past: int, n: int) -> Tensor:
        """What to add to a piece's scores, (n, n_past + n)."""
        return self._unseen[:n, self.window - 1 - n_past : self.window - 1 + n]


class Stream:
    """One stream through a transformer: its position, and each layer's keys and values."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._kept = transformer.window - 1
        self._position = 0  # of the next step in the stream
        self._end = 0  # of what the caches hold
        self._caches = [
            layer.new_cache(transformer.heads, 2 * self._kept + MOST_STEPS)
            for layer in transformer.layers
        ]

    def __call__(self, x: Tensor) -> Tensor:
        """The next steps, (n, width), through all layers."""
        pieces = [self._piece(piece) for piece in torch.split(x, MOST_STEPS)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _piece(self, x: Tensor) -> Tensor:
        n = len(x)
        self._make_room(n)
        transformer, end = self._transformer, self._end + n
        start = max(self._end - self._kept, 0)
        turns = transformer.turns(self._position, n)
        unseen = transformer.unseen(self._end - start, n)
        x = x.clone()
        for layer, cache in zip(transformer.layers, self._caches, strict=True):
            layer(x, turns, unseen, cache[:, :, start:end])
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
    def __init__(self, prefix: str, tensors: Mapping[str, Tensor], n_steps: int) -> None:
        def tensor(name: str) -> Tensor:
            return tensors[prefix + name]

        self._norms = [(tensor(f"norm{i}.weight"), tensor(f"norm{i}.bias")) for i in (1, 2)]
        names = ("self_attn.in_projs.0", "self_attn.out_projs.0", "linear1", "linear2")
        weights = (tensor(f"{name}.weight") for name in names)
        # samples move by less than 1e-4; by convolutions they would move twice as far
        products = (product_with(weight, n_steps, rounds=True) for weight in weights)
        self._in, self._out, self._wide, self._narrow = products
        self._scales = [tensor(f"layer_scale_{i}.scale") for i in (1, 2)]

    @property
    def device(self) -> torch.device:
        return self._scales[0].device

    def new_cache(self, heads: int, capacity: int) -> Tensor:
        """Room for keys and values: (2, heads, capacity, head width)."""
        width = self._scales[0].shape[0] // heads
        return self._scales[0].new_empty(2, heads, capacity, width)

    def __call__(self, x: Tensor, turns: Tensor, unseen: Tensor, cache: Tensor) -> None:
        """Change x, (n, width), in place. `cache` ends in the n places for its keys and values."""
        x.addcmul_(self._scales[0], self._attention(self._norm(0, x), turns, unseen, cache))
        hidden = F.gelu(self._wide(self._norm(1, x)).contiguous())
        x.addcmul_(self._scales[1], self._narrow(hidden))

    def _norm(self, i: int, x: Tensor) -> Tensor:
        weight, bias = self._norms[i]
        return F.layer_norm(x, weight.shape, weight, bias, _NORM_EPS)

    def _attention(self, x: Tensor, turns: Tensor, unseen: Tensor, cache: Tensor) -> Tensor:
        _, heads, _, width = cache.shape
        n = len(x)
        qkv = self._in(x).view(n, 3 * heads, width)
        turned = torch.bmm(qkv[:, : 2 * heads], turns).transpose(0, 1)  # (2 * heads, n, width)
        cache[0, :, -n:] = turned[heads:]
        cache[1, :, -n:] = qkv[:, 2 * heads :].transpose(0, 1)
        keys = cache[0].transpose(1, 2)
        # not scaled_dot_product_attention: for two steps on a CPU it takes three times as long
        scores = torch.baddbmm(unseen, turned[:heads], keys, alpha=width**-0.5)
        y = torch.bmm(scores.softmax(-1), cache[1])
        return self._out(y.transpose(0, 1).reshape(n, -1))

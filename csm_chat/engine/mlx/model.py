"""A CSM: backbone, depth decoder, tables, heads.

`torch/model.py` on MLX: the same names in the same order, what differs is said. One take,
inference. Nothing is computed before it is waited for.
"""

from __future__ import annotations

import mlx.core as mx

from csm_chat.checkpoint.sizes import CsmSizes
from csm_chat.engine.mlx.cache import Cache
from csm_chat.engine.mlx.layers import Stack, Weights

_EMBEDDED_ROWS = 32  # of a prompt at a time: 256 take 200 MB of float32 before they are summed


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

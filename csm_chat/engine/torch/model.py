"""A CSM: backbone, depth decoder, tables, heads.

Inference, of takes that are equally long.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm_chat.checkpoint.sizes import CsmSizes
from csm_chat.engine.torch.cache import Cache, Span
from csm_chat.engine.torch.layers import Layer, Linear, Stack, layer_slots

_EMBEDDED_ROWS = 32  # of a prompt at a time: 256 take 200 MB of float32 before they are summed


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
            parts |= {f"{name}.layers.{i}.{part}": slot for part, slot in layer_slots(layer)}
    return parts

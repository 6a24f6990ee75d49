"""The steps of a frame: draw its codes, feed them back. Knows no prompt and no take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from csm_chat.checkpoint.sizes import CsmSizes
from csm_chat.engine.torch.model import Cache, Csm, Span

Draw: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # logits, noise -> a code a take


class FrameSteps:
    """Over a model and the backbone's cache; the depth decoder's cache is its own."""

    def __init__(self, model: Csm, sizes: CsmSizes, backbone: Cache) -> None:
        weight = model.audio_embeddings.weight
        self._model, self._backbone = model, backbone
        n_takes = backbone.n_takes
        self._depth = Cache(sizes.depth, sizes.codebooks, weight.device, weight.dtype, n_takes)
        self._depth_first = self._depth.span(0, 2)
        self._depth_next = [self._depth.span(i, 1) for i in range(2, sizes.codebooks)]

    @torch.inference_mode()
    def draw(
        self,
        hidden: Tensor,
        draw_first: Draw,
        draw_next: Draw,
        noise: Tensor,
        between: Callable[[], None],
    ) -> Tensor:
        """Draw a frame of each take, (takes, codebooks), from the backbone's (takes, width).

        `noise` is (takes, codebooks, n). `between` is called before each depth step and may raise.
        """
        model = self._model
        codes = [draw_first(model.codebook0_head(hidden), noise[:, 0])]
        logits = model.depth_first(hidden, codes[0], self._depth, self._depth_first)
        codes.append(draw_next(logits, noise[:, 1]))
        for i, span in enumerate(self._depth_next, start=1):
            between()
            logits = model.depth_next(codes[i], i, self._depth, span)
            codes.append(draw_next(logits, noise[:, i + 1]))
        return torch.cat(codes, 1)

    @torch.inference_mode()
    def feed(self, codes: Tensor, span: Span, between: Callable[[], None]) -> Tensor:
        """Compute the row of a drawn frame of each take; returns its states, (takes, width)."""
        rows = self._model.embed_frames(codes)
        hidden: Tensor = self._model.backbone(rows, self._backbone, span, between)
        return hidden

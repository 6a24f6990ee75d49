"""The torch engine: prefill, backbone step, depth steps, reuse of cached rows. Knows no text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from csm_chat.backends.cached_rows import CachedRows
from csm_chat.backends.sizes import CsmSizes
from csm_chat.backends.torch_model import Cache, Csm
from csm_chat.backends.torch_sampling import Noise, samplers
from csm_chat.errors import ContextError, Interrupted
from csm_chat.types import Frame, Prompt, Sampling

_CHUNK_ROWS = 256  # rows prefilled at a time: bounds what their activations take
_AHEAD_ROWS = 64  # the same while nobody waits: what is lost when somebody does

Draw: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # logits, noise -> code (1,)


class TorchEngine:
    """`Engine` on torch. One generator of `frames` at a time: a new one ends the one before."""

    def __init__(self, model: Csm, sizes: CsmSizes):
        weight = model.audio_embeddings.weight
        self.codebooks = sizes.codebooks
        self.n_codes = sizes.entries
        self.context_rows = sizes.context_rows
        self.prefilled_rows = 0
        self._model, self._sizes, self._device = model, sizes, weight.device
        self._backbone = Cache(sizes.backbone, sizes.context_rows, weight.device, weight.dtype)
        self._depth = Cache(sizes.depth, sizes.codebooks, weight.device, weight.dtype)
        self._depth_first = self._depth.span(0, 2)
        self._depth_next = [self._depth.span(i, 1) for i in range(2, sizes.codebooks)]
        self._rows = CachedRows(sizes.context_rows, sizes.codebooks + 1)
        self._interrupted = threading.Event()
        self._take = 0

    def frames(self, prompt: Prompt, sampling: Sampling) -> Generator[Frame, None, None]:
        """See `Engine.frames`. Nothing runs before the first `next`."""
        take = self._begin()
        max_frames = min(sampling.max_frames, self._room(prompt))
        draw_first, draw_next = samplers(sampling, self._sizes.entries)
        n_noise = max(draw_first.n_kept, draw_next.n_kept)
        noise = Noise(sampling.seed, self.codebooks, n_noise, self._device)
        hidden = self._prefill(prompt)
        for i in range(max_frames):
            codes = self._draw(hidden, draw_first, draw_next, noise.frame())
            frame = codes.to("cpu", torch.int32).numpy()  # the one wait for the device in a frame
            if not frame.any():
                return
            yield frame.copy()  # the receiver may write to it; what was drawn is still to be fed
            assert take == self._take, "another take began on this engine"
            if i + 1 < max_frames:
                hidden = self._feed(codes, frame)

    def frame_logits(self, prompt: Prompt) -> npt.NDArray[np.float32]:
        """Logits (codebooks, audio_vocab) of the first frame, where each code is the likeliest."""
        self._begin()
        self._room(prompt)
        greedy, _ = samplers(Sampling(temperature=0), self._sizes.audio_vocab)
        seen: list[Tensor] = []

        def draw(logits: Tensor, noise: Tensor) -> Tensor:
            seen.append(logits.float())
            return greedy(logits, noise)

        self._draw(self._prefill(prompt), draw, draw, torch.empty(self.codebooks, 0))
        logits: npt.NDArray[np.float32] = torch.stack(seen).cpu().numpy()
        return logits

    def prefill(self, prompt: Prompt, is_wanted: Callable[[], bool]) -> bool:
        """See `Engine.prefill`."""
        self._begin()
        self._room(prompt)

        def go_on() -> None:
            if not is_wanted():
                raise Interrupted("somebody waits")

        try:
            self._compute(prompt, self._rows.shared_with(prompt), _AHEAD_ROWS, go_on)
        except Interrupted:
            return False
        return True

    def interrupt(self) -> None:
        """See `Engine.interrupt`."""
        self._interrupted.set()

    def _begin(self) -> int:
        self._interrupted.clear()
        self._take += 1
        return self._take

    def _go_on(self) -> None:
        if self._interrupted.is_set():
            raise Interrupted("stopped on request")

    def _room(self, prompt: Prompt) -> int:
        """Frames that fit behind the prompt."""
        n_rows, n_columns = prompt.tokens.shape
        assert n_rows > 0 and n_columns == self.codebooks + 1, prompt.tokens.shape
        assert prompt.mask.shape == prompt.tokens.shape, prompt.mask.shape
        if n_rows >= self.context_rows:
            raise ContextError(
                f"the prompt takes {n_rows} rows, the model has {self.context_rows} for it and "
                "for speech; shorten the voices or the text"
            )
        return self.context_rows - n_rows

    def _prefill(self, prompt: Prompt) -> Tensor:
        """Compute the rows that the cache does not hold, and the last one always.

        Returns the last one's hidden state, (1, width).
        """
        n_rows = len(prompt.tokens)
        start = min(self._rows.shared_with(prompt), n_rows - 1)
        self.prefilled_rows = n_rows - start
        return self._compute(prompt, start, _CHUNK_ROWS, self._go_on)[-1:]

    @torch.inference_mode()
    def _compute(
        self, prompt: Prompt, start: int, chunk_rows: int, between: Callable[[], None]
    ) -> Tensor:
        """Compute the rows from `start` on; returns hidden states of the last chunk."""
        self._rows.cut(start)
        hidden = torch.empty(0)
        for begin in range(start, len(prompt.tokens), chunk_rows):
            mask = prompt.mask[begin : begin + chunk_rows]
            tokens = np.where(mask, prompt.tokens[begin : begin + chunk_rows], 0)
            rows = self._model.embed_rows(self._tensor(tokens), self._tensor(mask))
            hidden = self._advance(rows, tokens, mask, between)
        return hidden

    @torch.inference_mode()
    def _feed(self, codes: Tensor, frame: Frame) -> Tensor:
        """Compute the row of a generated frame; returns its hidden state, (1, width)."""
        tokens = np.append(frame, np.int32(0))[None]
        mask = np.arange(tokens.size)[None] < self.codebooks
        return self._advance(self._model.embed_frame(codes), tokens, mask, self._go_on)

    def _advance(
        self,
        rows: Tensor,
        tokens: npt.NDArray[np.int32],
        mask: npt.NDArray[np.bool_],
        between: Callable[[], None],
    ) -> Tensor:
        """Run the backbone over rows at the cache's end; (S, width) to hidden states (S, width)."""
        span = self._backbone.span(self._rows.n, len(rows))
        hidden: Tensor = self._model.backbone(rows, self._backbone, span, between)
        self._rows.add(tokens, mask)
        return hidden

    @torch.inference_mode()
    def _draw(self, hidden: Tensor, draw_first: Draw, draw_next: Draw, noise: Tensor) -> Tensor:
        """Draw a frame, (codebooks,), from the backbone's hidden state (1, width)."""
        model = self._model
        codes = [draw_first(model.codebook0_head(hidden)[0], noise[0])]
        logits = model.depth_first(hidden, codes[0], self._depth, self._depth_first)
        codes.append(draw_next(logits, noise[1]))
        for i, span in enumerate(self._depth_next, start=1):
            self._go_on()
            logits = model.depth_next(codes[i], i, self._depth, span)
            codes.append(draw_next(logits, noise[i + 1]))
        return torch.cat(codes)

    def _tensor(self, array: npt.NDArray[np.int32] | npt.NDArray[np.bool_]) -> Tensor:
        return torch.tensor(array, device=self._device)

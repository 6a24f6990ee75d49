"""The MLX engine: prefill, backbone step, depth steps, reuse of cached rows. Knows no text.

`torch/engine.py` on MLX. While a frame is heard the next one is computed, as with CUDA graphs
there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import TypeAlias

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from csm_chat.checkpoint.adapters.adapter import Adapter
from csm_chat.checkpoint.sizes import CsmSizes
from csm_chat.engine.cached import CachedEngine
from csm_chat.engine.mlx.cache import Cache, Rows
from csm_chat.engine.mlx.model import Csm
from csm_chat.engine.mlx.sampling import Sampler, samplers

# torch draws the noise, so that a seed means the same take on both backends
from csm_chat.engine.torch.sampling import Noise
from csm_chat.types import Frame, Prompt, Sampling

_N_COMPILED = 4  # depth loops kept, one a way to draw

Draw: TypeAlias = Callable[[mx.array, mx.array], mx.array]  # logits, noise -> code (1,)
Models: TypeAlias = Callable[[Adapter | None], Csm]  # the model with an adapter, or without
Depth: TypeAlias = Callable[[mx.array, mx.array, mx.array, Rows, Rows], tuple[mx.array, Rows, Rows]]


class MlxEngine(CachedEngine[mx.array, tuple[Rows, Rows]]):
    """`Engine` on MLX. One generator of `frames` at a time: a new one ends the one before.

    A stop request waits for a frame, or for a layer of up to 256 prompt rows.
    Streams of MLX belong to the thread that makes them: this one's is made anew in each thread.
    `compiled` is for Metal: on a cpu MLX compiles by a C++ compiler, if there is one, kernel by
    kernel for a minute or more.
    """

    def __init__(
        self,
        models: Models,
        sizes: CsmSizes,
        device: mx.DeviceType,
        dtype: mx.Dtype,
        compiled: bool,
    ):
        super().__init__(sizes)
        self._models, self._model = models, models(None)
        self._stream = mx.new_thread_local_stream(device)
        with mx.stream(self._stream):
            self._backbone = Cache.empty(sizes.backbone, sizes.context_rows, dtype)
            self._depth = Cache.empty(sizes.depth, sizes.codebooks, dtype)
        self._is_compiled, self._loops = compiled, dict[Draw, Depth]()

    def frames(self, prompt: Prompt, sampling: Sampling) -> Generator[Frame, None, None]:
        """See `Engine.frames`. Nothing runs before the first `next`.

        A caller's sampler or processor is called for a frame when that is asked for, not before.
        """
        take = self._begin()
        max_frames = min(sampling.max_frames, self._room(prompt))
        draw_first, draw_next = samplers(sampling, self._sizes.entries)
        is_ahead = isinstance(draw_first, Sampler) and isinstance(draw_next, Sampler)
        n_noise = max(draw_first.n_kept, draw_next.n_kept)
        noise = Noise([sampling.seed], self.codebooks, n_noise, "cpu")
        draw = partial(self._draw, draw_first, draw_next)
        codes = draw(noise.frame()[0].numpy(), self._prefill(prompt))
        for i in range(max_frames):
            frame: Frame = np.array(codes)  # the one wait for the device in a frame
            self._go_on()
            if not frame.any():
                return
            said, is_last = frame.copy(), i + 1 == max_frames
            if is_ahead and not is_last:
                codes = draw(noise.frame()[0].numpy(), self._feed(codes, frame))
            yield said  # the receiver may write to it
            assert take == self._take, "another take began on this engine"
            if is_last:
                return
            self._go_on()
            if not is_ahead:
                codes = draw(noise.frame()[0].numpy(), self._feed(codes, frame))

    def frame_logits(self, prompt: Prompt) -> npt.NDArray[np.float32]:
        """Logits (codebooks, audio_vocab) of the first frame, where each code is the likeliest."""
        self._begin()
        self._room(prompt)
        greedy, _ = samplers(Sampling(temperature=0), self._sizes.audio_vocab)
        seen: list[npt.NDArray[np.float32]] = []

        def draw(logits: mx.array, noise: mx.array) -> mx.array:
            seen.append(np.array(logits.astype(mx.float32)))
            return greedy(logits, noise)

        no_noise = np.zeros((self.codebooks, 1), np.float32)
        self._draw(draw, draw, no_noise, self._prefill(prompt))
        return np.stack(seen)

    def _advance(
        self,
        tokens: npt.NDArray[np.int32],
        mask: npt.NDArray[np.bool_],
        go_on: Callable[[], None],
    ) -> mx.array:
        """Each layer is waited for: what one layer takes of memory is all that is taken."""

        def between(x: mx.array) -> None:
            mx.eval(x)
            go_on()

        self._check(tokens)
        with mx.stream(self._stream):
            rows = self._model.embed_rows(mx.array(tokens), mx.array(mask))
            hidden = self._model.backbone(rows, self._backbone, self._rows.n, between)[-1:]
            mx.eval(hidden)
        mx.clear_cache()  # MLX keeps the memory of each new shape
        return hidden

    def _saved(self, n_rows: int) -> tuple[Rows, Rows]:
        with mx.stream(self._stream):
            keys, values = (
                [mx.contiguous(rows[:, :, :n_rows]) for rows in each]
                for each in (self._backbone.keys, self._backbone.values)
            )
            mx.eval(keys, values)  # or it would hold the whole cache until it is used
        return keys, values

    def _put_back(self, saved: tuple[Rows, Rows], n_rows: int) -> None:
        cache = self._backbone
        with mx.stream(self._stream):
            for held, each in zip((cache.keys, cache.values), saved, strict=True):
                for layer, rows in enumerate(each):
                    held[layer][:, :, :n_rows] = rows[:, :, :n_rows]
            mx.eval(cache.keys, cache.values)

    def _adapt(self, adapter: Adapter | None) -> None:
        """The weights are read anew."""
        self._model = self._models(adapter)
        self._loops.clear()

    def _check(self, tokens: npt.NDArray[np.int32]) -> None:
        """MLX reads past a table's end without a word. Raises IndexError."""
        limits = np.full(tokens.shape[1], self._sizes.audio_vocab)
        limits[-1] = self._sizes.text_vocab
        if (tokens < 0).any() or (tokens >= limits).any():
            raise IndexError(
                f"ids up to {tokens.max(axis=0).tolist()}; there are {limits.tolist()}"
            )

    def _feed(self, codes: mx.array, frame: Frame) -> mx.array:
        """Begin the row of a generated frame; returns its hidden state, (1, width)."""
        with mx.stream(self._stream):
            row = self._model.embed_frame(codes)
            hidden = self._model.backbone(row, self._backbone, self._rows.n, _no_wait)
        self._add(frame)
        return hidden

    def _draw(
        self,
        draw_first: Draw,
        draw_next: Draw,
        noise: npt.NDArray[np.float32],
        hidden: mx.array,
    ) -> mx.array:
        """Begin a frame, (codebooks,), from the backbone's hidden state (1, width)."""
        with mx.stream(self._stream):
            noises = mx.array(noise)
            code = draw_first(self._model.codebook0_head(hidden)[0], noises[0])
            draw_rest = self._depth_loop(draw_next)
            cache = self._depth
            codes, cache.keys, cache.values = draw_rest(
                hidden, code, noises, cache.keys, cache.values
            )
            mx.async_eval(codes)  # type: ignore[no-untyped-call]  # the library's
        return codes

    def _depth_loop(self, draw: Draw) -> Depth:
        """What draws codebooks 1 and up. Compiled, unless the caller's code is part of it."""
        if not self._is_compiled or not isinstance(draw, Sampler):
            return partial(self._depth_codes, draw)
        if draw not in self._loops:
            if len(self._loops) == _N_COMPILED:
                del self._loops[next(iter(self._loops))]
            self._loops[draw] = mx.compile(partial(self._depth_codes, draw))
        return self._loops[draw]

    def _depth_codes(
        self,
        draw: Draw,
        hidden: mx.array,
        code: mx.array,
        noise: mx.array,
        keys: Rows,
        values: Rows,
    ) -> tuple[mx.array, Rows, Rows]:
        """Codes (codebooks,) from code 0, (1,), and the caches after them."""
        cache = Cache([*keys], [*values])
        codes = [code, draw(self._model.depth_first(hidden, code, cache), noise[1])]
        for i in range(1, self.codebooks - 1):
            logits = self._model.depth_next(codes[i], i, cache)
            codes.append(draw(logits, noise[i + 1]))
        return mx.concatenate(codes).astype(mx.int32), cache.keys, cache.values


def _no_wait(x: mx.array) -> None:
    """A frame is computed as a whole, while the one before it is heard."""

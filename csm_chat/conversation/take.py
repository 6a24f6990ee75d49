"""One take: frames to samples until its end, its cap or the guard."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from csm_chat.conversation import guard
from csm_chat.types import (
    FRAME_SAMPLES,
    FRAMES_PER_S,
    SAMPLE_RATE,
    Backend,
    Codec,
    Codes,
    Ended,
    Frame,
    Pcm,
    Prompt,
    Sampling,
    Timings,
    Turn,
    Utterance,
)

_DECODED_FRAMES = 16  # at once, of a take that is there as a whole
MAX_RETAKES = 2  # of a take that ended far too early for its text
MAX_EMPTY_RETRIES = 3  # with other seeds, of a take that ended before it began

Item = TypeVar("Item")
End = TypeVar("End")


Generate: TypeAlias = Callable[[], Generator[Pcm, None, Turn]]


@dataclass(frozen=True, slots=True)
class Part:
    """One take of an entry."""

    utterance: Utterance
    generate: Generate
    gap_s: float = 0.0  # after the one before; below 0 it lies over its end


@dataclass(slots=True)
class Progress:
    """Where the entry being generated is."""

    part: int = 0  # 1-based; 0: none
    parts: int = 0
    speaker: int = 0
    seconds: float = 0.0  # generated of this part


@dataclass(slots=True)
class Seeds:
    """A seed for each take."""

    last: int | None = None  # of the take that was started last
    _n_counted: int = 0

    def next(self, first: int | None) -> int:
        """The one after the last, counted from `first`; None draws one."""
        if first is None:
            self.last = random.SystemRandom().randrange(1_000_000)
        else:
            self.last = first + self._n_counted
            self._n_counted += 1
        return self.last

    def count_anew(self) -> None:
        self._n_counted = 0


@dataclass(slots=True)
class Take:
    """A take in the making, and what it has become."""

    sampling: Sampling
    least_s: float = 0.0  # that its text takes
    started: float = field(default_factory=time.perf_counter)
    frames: list[Frame] = field(default_factory=list)
    first_audio_s: float = 0.0
    n_samples: int = 0
    stopped: str | None = None  # why the guard stopped it
    is_heard: bool = False  # some frame of it is not silence

    def timings(self) -> Timings:
        compute_s = time.perf_counter() - self.started
        return Timings(self.first_audio_s, compute_s, self.n_samples / SAMPLE_RATE)

    def end(self, max_turn_s: float) -> tuple[Ended, str]:
        """How it ended, and why if not by itself."""
        if self.stopped:
            return "guard", self.stopped
        if not self.frames:
            return "guard", "the model ended before it began"
        if not self.is_heard:
            return "guard", "it is silent throughout"
        if len(self.frames) < self.sampling.max_frames:
            spoken_s = len(self.frames) / FRAMES_PER_S
            if spoken_s < self.least_s:
                return "early", f"ended after {spoken_s:.1f} s, far too early for its text"
            return "eos", ""
        seconds = self.sampling.max_frames / FRAMES_PER_S
        if seconds + 1 / FRAMES_PER_S > max_turn_s:
            return "limit", f"{max_turn_s:g} s, the longest a turn may be (context.max_turn_s)"
        return "guard", f"after {seconds:.1f} s still speaking, far too long for its text"

    def codes(self, codebooks: int) -> Codes:
        return np.array(self.frames, np.int32).reshape(-1, codebooks)

    def samples(
        self, backend: Backend, rows: Prompt, chunk_frames: int = 1
    ) -> Generator[Pcm, None, None]:
        """Generate, decoding `chunk_frames` at a time; yields (n * 1920,) samples.

        Raises ContextError, UsageError, Interrupted, as `Engine.frames` does.
        """
        frames = backend.engine.frames(rows, self.sampling)
        with closing(frames):
            yield from self.decoded(backend.codec, frames, chunk_frames)

    def decoded(
        self, codec: Codec, frames: Iterator[Frame], chunk_frames: int = 1
    ) -> Generator[Pcm, None, None]:
        """The same of frames that come from elsewhere."""
        watch = guard.Watch()
        with codec.decoding() as decode:
            while not self.stopped:
                chunk: list[Frame] = []
                for frame in islice(frames, chunk_frames):
                    chunk.append(frame)
                    self.stopped = watch.frame(frame)
                    if self.stopped:
                        break
                if not chunk:
                    return
                pcm = decode(np.stack(chunk))
                n_kept = self._n_until_silent(watch, pcm)
                self.frames += chunk[:n_kept]
                if n_kept:
                    yield self._counted(pcm[: n_kept * FRAME_SAMPLES])

    def _counted(self, pcm: Pcm) -> Pcm:
        if not self.n_samples:
            self.first_audio_s = time.perf_counter() - self.started
        self.n_samples += len(pcm)
        return pcm

    def _n_until_silent(self, watch: guard.Watch, pcm: Pcm) -> int:
        """Frames up to where `watch` hears that it is over, or to one that is broken; or all."""
        frames = pcm.reshape(-1, FRAME_SAMPLES)
        for n_frames, frame in enumerate(frames, 1):
            if not guard.is_sound(frame):
                self.stopped = "the codec gave samples that are no numbers"
                return n_frames - 1
            self.is_heard = self.is_heard or not guard.is_silent(frame)
            reason = watch.pcm(frame)
            if reason:
                self.stopped = reason if n_frames < len(frames) else self.stopped or reason
                return n_frames
        return len(frames)


def side_by_side(backend: Backend, rows: Prompt, takes: Sequence[Take]) -> list[Pcm]:
    """Say it as each of the takes, which differ in their seed alone; the samples of each."""
    seeds = [take.sampling.seed for take in takes]
    said = backend.engine.takes(rows, takes[0].sampling, seeds)
    nothing = np.zeros(0, np.float32)
    return [
        np.concatenate([nothing, *take.decoded(backend.codec, iter(codes), _DECODED_FRAMES)])
        for take, codes in zip(takes, said, strict=True)
    ]


def first_with_sound(
    backend: Backend,
    rows: Prompt,
    samplings: Iterable[Sampling],
    on_empty: Callable[[int], object],
    chunk_frames: int = 1,
    least_s: float = 0.0,
) -> Generator[Pcm, None, Take]:
    """Say it once for each sampling until a take gives sound; returns the last take.

    `on_empty` gets the seed of a take without sound. A greedy take is not repeated: it would come
    out the same. Raises as `Take.samples` does.
    """
    for sampling in samplings:
        take = Take(sampling, least_s)
        yield from take.samples(backend, rows, chunk_frames)
        if take.frames or take.stopped or not sampling.temperature:
            break
        on_empty(sampling.seed)
    return take


class Streamed(Generic[Item, End]):
    """Iterates a generator, once, and keeps what it returns in `end`; None until then."""

    def __init__(self, stream: Generator[Item, None, End]) -> None:
        self._stream = stream
        self.end: End | None = None

    def __iter__(self) -> Iterator[Item]:
        self.end = yield from self._stream


def collect(stream: Generator[Item, None, End], each: Callable[[Item], object]) -> End:
    """Hand all that a stream yields to `each`, in order; returns what it returns, and closes it."""
    said = Streamed(stream)
    with closing(stream):
        for item in said:
            each(item)
    assert said.end is not None, "a stream that is at its end has returned"
    return said.end


def whole(
    stream: Generator[Pcm, None, End], heard: Callable[[float], object] = lambda seconds: None
) -> tuple[Pcm, End]:
    """All samples of a stream as one, and what it returns; `heard` gets the seconds so far."""
    blocks: list[Pcm] = [np.zeros(0, np.float32)]
    n_samples = 0

    def keep(block: Pcm) -> None:
        nonlocal n_samples
        blocks.append(block)
        n_samples += len(block)
        heard(n_samples / SAMPLE_RATE)

    end = collect(stream, keep)
    return np.concatenate(blocks), end

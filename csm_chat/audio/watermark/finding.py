"""Where audio carries a mark: windows over a signal of any length, judged together at its end.

A window is a second or some seconds; half of each is looked at twice or more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from csm_chat.audio.watermark.speechlike import spread_db
from csm_chat.types import SAMPLE_RATE, Pcm

SILENT_RMS = 1e-5  # -100 dBFS: a third of a 16-bit step
SOUND = 1e-4  # samples below it are no sound at the ends of a place
FOUND_RMS = 0.2  # level that detectors are asked at: perth's errs more the quieter speech is
# The share of a window that is marked is about its confidence: half of it, and the place begins or
# ends in its middle.
EDGE = 0.5
# Seconds of speech have 8.6, and 1 of 100 less than 4. Tones, squares, noise and constants have at
# most 3.0 (white noise 2.7).
SPEECH_DB = 4.0
N_TOGETHER = 32  # windows that are asked about at once

# The longer a file, the more windows could be taken for marked by chance, and the longer a place
# has to be. In a file of n windows that do not overlap, a place of k of them is expected by chance
# FIRST * NEXT ** (k - 1) * n times, which has to be ALLOWED at most. Perth's, in 9 minutes of
# unmarked speech, 4 windows a second: as wav and mp3 none had its threshold, as ogg 1 of 2195. Of
# 56 that had 0.3 or more, 1 was followed by another.
FIRST = 1 / 500  # that a window of unmarked speech has a detector's threshold
NEXT = 1 / 10  # that the one after such a window has it too
ALLOWED = 1 / 100


class Detector(Protocol):
    """What finding asks of a method of marking."""

    @property
    def name(self) -> str: ...

    @property
    def threshold(self) -> float:
        """Least confidence of a mark."""
        ...

    @property
    def window_samples(self) -> int:
        """How much is searched for a mark at a time."""
        ...

    @property
    def step_samples(self) -> int:
        """From the start of a window to that of the next, which overlap."""
        ...

    def confidences(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """That each of (n, samples) sounding stretches is marked, 0 - 1: (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch that carries a mark."""

    start_s: float
    end_s: float
    confidence: float  # 0 - 1, mean of its windows

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Mark:
    """What was found in audio."""

    method: str
    places: tuple[Place, ...]  # in their order, at least one

    @property
    def seconds(self) -> float:
        return sum(place.seconds for place in self.places)

    @property
    def confidence(self) -> float:
        """0 - 1, mean over the marked seconds."""
        return sum(place.confidence * place.seconds for place in self.places) / self.seconds


@dataclass(frozen=True, slots=True)
class Found:
    """A signal that was searched."""

    seconds: float
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class _Window:
    start: int  # samples, as is end
    end: int
    sound_start: int  # what is before it within the window is silent
    sound_end: int
    confidence: float | None  # None where all is silent
    spread_db: float  # measured where it may matter: from EDGE on

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    @property
    def may_be_marked(self) -> bool:
        return self.confidence is not None and self.confidence >= EDGE


def find(detector: Detector, blocks: Iterable[Pcm]) -> Found:
    """Search a signal that comes in blocks; kept of it are a window's samples and a few figures."""
    seen: list[_Window] = []
    for together in _batches(_cut(blocks, detector.window_samples, detector.step_samples)):
        seen += _looked_at(detector, together)
    n_samples = seen[-1].end if seen else 0
    places = tuple(_places(detector, seen))
    return Found(n_samples / SAMPLE_RATE, Mark(detector.name, places) if places else None)


def _cut(blocks: Iterable[Pcm], n_window: int, n_step: int) -> Iterator[tuple[int, Pcm]]:
    """Windows with where they start. The last ends with the signal; a short signal is one."""
    held: Pcm = np.zeros(0, np.float32)
    start = 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= n_window + n_step:  # enough is left for the last one
            yield start, held[:n_window]
            held = held[n_step:]
            start += n_step
    if len(held) > n_window:
        yield start, held[:n_window]
    if len(held):
        n_before = max(0, len(held) - n_window)
        yield start + n_before, held[n_before:]


def _batches(windows: Iterable[tuple[int, Pcm]]) -> Iterator[Sequence[tuple[int, Pcm]]]:
    """All of a batch are equally long: only a signal's only window is shorter than the others."""
    windows = iter(windows)
    while batch := list(itertools.islice(windows, N_TOGETHER)):
        yield batch


def _looked_at(detector: Detector, batch: Sequence[tuple[int, Pcm]]) -> Iterator[_Window]:
    levels = [float(np.sqrt(np.mean(np.square(pcm)))) for _, pcm in batch]
    sounding = [
        pcm * np.float32(FOUND_RMS / rms)
        for (_, pcm), rms in zip(batch, levels, strict=True)
        if rms >= SILENT_RMS
    ]
    confidences = iter(detector.confidences(np.stack(sounding)).tolist() if sounding else ())
    for (start, pcm), rms in zip(batch, levels, strict=True):
        confidence = next(confidences) if rms >= SILENT_RMS else None
        is_measured = confidence is not None and confidence >= EDGE
        yield _Window(
            *(start, start + len(pcm), *_sounding(start, pcm), confidence),
            spread_db(pcm) if is_measured else 0.0,
        )


def _sounding(start: int, pcm: Pcm) -> tuple[int, int]:
    found = np.flatnonzero(np.abs(pcm) >= SOUND)
    if not len(found):
        return start, start + len(pcm)
    return start + int(found[0]), start + int(found[-1]) + 1


def _places(detector: Detector, seen: Sequence[_Window]) -> Iterator[Place]:
    n_sounding = sum(window.confidence is not None for window in seen)
    least = _least_windows(1 + (n_sounding - 1) * detector.step_samples / detector.window_samples)
    for run in _runs(seen, detector.window_samples + detector.step_samples):
        marked = [each for each in seen[run] if each.may_be_marked]
        sure = [each for each in marked if (each.confidence or 0.0) >= detector.threshold]
        n_apart = 1 + (len(sure) - 1) * detector.step_samples / detector.window_samples
        # the middle one of all, since where a tone begins the spectrum moves as well
        spread = float(np.median([each.spread_db for each in marked]))
        if not sure or n_apart < least or spread < SPEECH_DB:
            continue
        start, end = _start(seen, run.start), _end(seen, run.stop - 1)
        if start < end:  # not so where one window begins to sound after what follows denies it
            confidence = float(np.mean([each.confidence for each in marked]))
            yield Place(start / SAMPLE_RATE, end / SAMPLE_RATE, min(1.0, confidence))


def _least_windows(n_windows: float) -> float:
    """How many windows, put end to end, a place needs in a signal of `n_windows` of them."""
    expected = FIRST * n_windows
    return max(1.0, 1 + math.log(expected / ALLOWED) / math.log(1 / NEXT))


def _runs(seen: Sequence[_Window], n_join: int) -> Iterator[slice]:
    """Windows that may be marked, one after the other; gaps of up to `n_join` samples are closed.

    A pause, or a word that mp3 has hurt, does not end a place.
    """
    first: int | None = None
    last = 0
    for i, window in enumerate(seen):
        if not window.may_be_marked:
            continue
        if first is not None and window.start - seen[last].start > n_join:
            yield slice(first, last + 1)
            first = None
        first = i if first is None else first
        last = i
    if first is not None:
        yield slice(first, last + 1)


def _start(seen: Sequence[_Window], i: int) -> float:
    """Where a place begins whose first window is `i`, in samples."""
    window = seen[i]
    before = seen[i - 1].confidence if i else None
    if before is None:
        return window.sound_start
    assert window.confidence is not None
    return max(window.sound_start, _crossing(seen[i - 1].middle, before, window))


def _end(seen: Sequence[_Window], i: int) -> float:
    window = seen[i]
    after = seen[i + 1].confidence if i + 1 < len(seen) else None
    if after is None:
        return window.sound_end
    return min(window.sound_end, _crossing(seen[i + 1].middle, after, window))


def _crossing(other: float, confidence: float, window: _Window) -> float:
    """Where confidence is EDGE on the line from one middle, where it is less, to a window's."""
    assert window.confidence is not None
    share = (EDGE - confidence) / (window.confidence - confidence)
    return other + share * (window.middle - other)

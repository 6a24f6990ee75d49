"""Turns on a common time line: where each begins to the sample, how loud, and what is heard.

Knows no file and no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from csm_chat.shape.level import limited, with_gain
from csm_chat.shape.overlap import gap_between, starts
from csm_chat.types import SAMPLE_RATE, Pcm

QUIETEST_LUFS, LOUDEST_LUFS = -23.0, -20.0  # what voices are brought to lies in between
SOFTEST_LUFS = -30.0  # but no lower for the sake of a peak: that one voice stays softer then
PEAK = 10 ** (-1 / 20)  # -1 dBFS
MAX_GAIN = 10 ** (20 / 20)  # more would lift noise, not speech
STEPS = np.float32(32768)  # of 16 bits, from silence to full scale
SILENT = 1e-4  # -80 dBFS
BLOCK_S = 0.4  # what BS.1770 measures at a time
MEASURED_S = 600.0  # a voice's loudness is known after ten minutes; bounds memory
RMS_TO_LUFS_DB = -0.691  # BS.1770 without its filter and gates


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Something said, and the silence before it."""

    speaker: int
    name: str  # the speaker's
    text: str
    n_samples: int
    pcm: Callable[[], Pcm]  # (n_samples,)
    pause_s: float | None = None  # None: the usual gap
    gain_db: float = 0.0  # over what loudness gives it


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A piece in its place, in samples from the scene's start."""

    piece: Piece
    start: int
    end: int  # excluded


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    placed: tuple[Placed, ...]  # in order; one may begin before the one in front of it ends
    n_samples: int
    gains: Mapping[int, float]  # by speaker

    @property
    def speakers(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(each.piece.speaker for each in self.placed))


def lay_out(pieces: Sequence[Piece], gap_s: float, tail_s: float, match: bool) -> Scene:
    """Place pieces one after another, `gap_s` apart where no pause is asked.

    `match` brings speakers to one loudness.
    """
    gaps_s = [_gap_s(gap_s, *both) for both in zip([None, *pieces], pieces, strict=False)]
    places = starts((piece.n_samples for piece in pieces), gaps_s)
    placed = [Placed(p, at, at + p.n_samples) for p, at in zip(pieces, places, strict=True)]
    n_samples = max((each.end for each in placed), default=0) + round(tail_s * SAMPLE_RATE)
    speakers = {piece.speaker for piece in pieces}
    gains = matching_gains(pieces) if match else dict.fromkeys(speakers, 1.0)
    return Scene(tuple(placed), n_samples, gains)


def _gap_s(usual_s: float, before: Piece | None, piece: Piece) -> float:
    if piece.pause_s is not None:
        return piece.pause_s
    return gap_between(usual_s, before.speaker, piece.speaker) if before else 0.0


def mixed(scene: Scene) -> Pcm:
    """All that is heard, silence in between; (n_samples,)."""
    pcm = np.zeros(scene.n_samples, np.float32)
    done = 0
    for each in scene.placed:
        heard = _heard(scene, each)
        over = max(0, min(done - each.start, len(heard)))
        both = pcm[each.start : each.start + over]
        both[:] = limited(both + heard[:over])
        pcm[each.start + over : each.end] = heard[over:]
        done = max(done, each.end)
    return pcm


def _heard(scene: Scene, each: Placed) -> Pcm:
    """A piece as loud as it is heard."""
    matched = each.piece.pcm() * np.float32(scene.gains[each.piece.speaker])
    return with_gain(matched, each.piece.gain_db)


def share(scene: Scene, pcm: Pcm, speakers: Collection[int]) -> Pcm:
    """What of a mix's samples is said by `speakers`, silence for the rest.

    The shares of all speakers add up exactly: where one piece lies over another, that is heard in
    the later one's share as it was before both were mixed, and the rest is the earlier one's.
    """
    own = np.zeros_like(pcm)
    done, last = 0, 0
    for each in scene.placed:
        is_own = each.piece.speaker in speakers
        over = max(0, min(done, each.end) - each.start)
        if over:
            # in steps of 16 bits, so that what is left for the other is whole steps as well
            later = np.rint(_heard(scene, each)[:over] * STEPS) / STEPS
            both = slice(each.start, each.start + over)
            if last in speakers:
                own[both] = np.rint(own[both] * STEPS) / STEPS - later
            if is_own:
                own[both] += later
        if is_own:
            own[each.start + over : each.end] = pcm[each.start + over : each.end]
        if each.end > done:
            done, last = each.end, each.piece.speaker
    return own


def matching_gains(pieces: Iterable[Piece]) -> dict[int, float]:
    """A gain a speaker that brings all to one loudness, with peaks below -1 dBFS.

    That is the median of theirs, kept within -23 and -20 LUFS; down to -30 where a peak wants it.
    """
    by_speaker: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_speaker.setdefault(piece.speaker, []).append(piece)
    voices = {speaker: _Loudness.of(said) for speaker, said in by_speaker.items()}
    heard = {speaker: voice for speaker, voice in voices.items() if voice.lufs is not None}
    target = _target([v.lufs for v in heard.values() if v.lufs is not None], heard.values())
    return {speaker: voice.gain_to(target) for speaker, voice in voices.items()}


def _target(lufs: Sequence[float], voices: Iterable[_Loudness]) -> float:
    if not lufs:
        return QUIETEST_LUFS
    wanted = min(max(median(lufs), QUIETEST_LUFS), LOUDEST_LUFS)
    return max(SOFTEST_LUFS, min([wanted, *(voice.ceiling for voice in voices)]))


@dataclass(frozen=True, slots=True)
class _Loudness:
    """How loud somebody speaks. `lufs` is None for silence."""

    lufs: float | None
    peak: float

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> _Loudness:
        blocks: list[Pcm] = []
        peak, n_samples = 0.0, 0
        for piece in pieces:
            pcm = piece.pcm()
            peak = max(peak, float(np.abs(pcm).max(initial=0.0)))
            if n_samples < MEASURED_S * SAMPLE_RATE:
                blocks.append(pcm)
            n_samples += len(pcm)
        if peak < SILENT:
            return cls(None, peak)
        return cls(integrated_lufs(np.concatenate(blocks)), peak)

    @property
    def ceiling(self) -> float:
        """The loudness at which the peak reaches its limit."""
        if self.lufs is None:
            return math.inf
        return self.lufs + 20 * math.log10(PEAK / self.peak)

    def gain_to(self, target: float) -> float:
        if self.lufs is None:
            return 1.0
        wanted: float = 10 ** ((target - self.lufs) / 20)
        return min(wanted, MAX_GAIN, PEAK / self.peak)


def integrated_lufs(pcm: Pcm) -> float | None:
    """Loudness by ITU-R BS.1770-4, gated; by the mean square of what is too short or too soft.

    None for silence.
    """
    loudness = -math.inf
    if len(pcm) >= BLOCK_S * SAMPLE_RATE:
        import pyloudnorm

        loudness = float(pyloudnorm.Meter(SAMPLE_RATE, block_size=BLOCK_S).integrated_loudness(pcm))
    if math.isfinite(loudness):
        return loudness
    square = float(np.mean(np.square(pcm, dtype=np.float64))) if len(pcm) else 0.0
    return RMS_TO_LUFS_DB + 10 * math.log10(square) if square > 0 else None


def envelope(scene: Scene, samples_each: int) -> Iterator[tuple[Placed, list[float]]]:
    """Each piece with its peaks, one for every `samples_each` samples, as loud as it is heard."""
    for each in scene.placed:
        pcm = np.abs(_heard(scene, each))
        starts = np.arange(0, len(pcm), samples_each)
        peaks = np.maximum.reduceat(pcm, starts).tolist() if len(pcm) else []
        yield each, peaks

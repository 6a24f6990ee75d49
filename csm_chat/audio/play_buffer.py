"""What the loudspeaker gets next from a model that may be slow."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from csm_chat.notices import GapsHeard
from csm_chat.shape.level import limited
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Pcm

BLOCK_SAMPLES = FRAME_SAMPLES // 2  # 40 ms: short enough that a cancel is heard at once
FADE_SAMPLES = SAMPLE_RATE // 200  # 5 ms
CUSHION_S = 0.3  # for jitter of a model that keeps up
ASAP_S = 2 * FRAME_SAMPLES / SAMPLE_RATE  # with less, the first jitter is a gap
LONGEST_WAIT_S = (
    8.0  # beyond it, waiting for the whole take is no worse than waiting for part of it
)
DRY_MARGIN_S = 0.06  # what the device must still hold when silence is handed to it
FIRST_REFILL_S = 0.4
LAST_REFILL_S = 3.2
MODES = ("auto", "asap", "smooth", "render")


def prebuffer_s(expected_s: float, rtf: float | None, mode: str) -> float:
    """Seconds to have before playing, so that `expected_s` of audio made at `rtf` has no gap.

    `rtf` is compute time over audio time, None while unknown. With P seconds ready and the rest
    made at rtf, hearing second t at time t needs P + t / rtf >= t up to the end, so
    P = expected_s * (1 - 1 / rtf). Infinite when the whole take should be there first.
    """
    assert mode in MODES, mode
    if mode == "render":
        return float("inf")
    if mode == "asap":
        return ASAP_S
    lag = 1 - 1 / rtf if rtf is not None and rtf > 1 else 0.0
    needed_s = expected_s * lag + CUSHION_S
    if mode == "auto" and lag and rtf is not None and needed_s * rtf > LONGEST_WAIT_S:
        return float("inf")
    return needed_s


@dataclass(frozen=True, slots=True)
class Gaps:
    """Holes heard in an entry. The two kinds have different cures, so they are never added up."""

    n_starved: int = 0  # the model did not deliver in time
    starved_s: float = 0.0  # silence played while waiting for it
    n_device_underruns: int = 0  # the machine was too busy to feed the device

    def __add__(self, other: Gaps) -> Gaps:
        return Gaps(
            self.n_starved + other.n_starved,
            self.starved_s + other.starved_s,
            self.n_device_underruns + other.n_device_underruns,
        )

    def heard(self, rtf: float | None = None) -> GapsHeard | None:
        """They as a notice; None when nothing was heard."""
        if not self.n_starved and not self.n_device_underruns:
            return None
        return GapsHeard(self.n_starved, self.starved_s, self.n_device_underruns, rtf)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Write `block`; or wait that long for more; with neither there is nothing to play."""

    block: Pcm | None = None
    wait_s: float = 0.0


@dataclass(slots=True, eq=False)
class PlayedEntry:
    """One entry's samples on their way, and what went wrong with them."""

    need_s: float  # to have before the first is heard
    chunks: deque[Pcm] = field(default_factory=deque)
    n_waiting: int = 0  # samples
    n_over: int = 0  # samples at the end that those to come lie over
    ended: bool = False
    first_write_at: float | None = None  # seconds, monotonic
    refill: int = 0  # samples to have before a gap ends; 0: no gap
    gaps: Gaps = Gaps()

    @property
    def is_open(self) -> bool:
        """Whether it may be heard."""
        enough = self.n_waiting > 0 and self.n_waiting >= self.need_s * SAMPLE_RATE
        return self.first_write_at is not None or self.ended or enough

    @property
    def is_over(self) -> bool:
        return self.ended and not self.n_waiting

    def add(self, pcm: Pcm) -> None:
        """More samples; the first of them over the end of what waits where that was asked for."""
        self.n_over = min(self.n_over, self.n_waiting)  # what was played meanwhile is past
        over = min(self.n_over, len(pcm))
        if over:
            end = np.concatenate(self.chunks)
            at = len(end) - self.n_over
            end[at : at + over] = limited(end[at : at + over] + pcm[:over])
            self.chunks = deque([end])
            self.n_over -= over
        if len(pcm) > over:
            self.chunks.append(np.array(pcm[over:], np.float32))
            self.n_waiting += len(pcm) - over

    def take(self, n_samples: int) -> Pcm:
        block = np.empty(min(n_samples, self.n_waiting), np.float32)
        filled = 0
        while filled < len(block):
            chunk = self.chunks.popleft()
            used = chunk[: len(block) - filled]
            block[filled : filled + len(used)] = used
            filled += len(used)
            if len(used) < len(chunk):
                self.chunks.appendleft(chunk[len(used) :])
        self.n_waiting -= filled
        return block


class PlayBuffer:
    """Entries in the order they were begun; each is held back until it has its cushion."""

    def __init__(self) -> None:
        self.latest = PlayedEntry(0.0, ended=True)  # the one begun last
        self._entries: deque[PlayedEntry] = deque()  # the first is being heard
        self._finished = Gaps()  # of entries heard to their end, until somebody asks
        self._dropping = False  # since a cancel, until the next begin
        self._tail = 0  # samples of silence that push the last word out of the device
        self._tail_begun = False

    @property
    def n_waiting(self) -> int:
        return sum(entry.n_waiting for entry in self._entries)

    @property
    def is_pending(self) -> bool:
        """Whether an entry is not over yet."""
        self._drop_finished()
        return bool(self._entries)

    @property
    def is_ready(self) -> bool:
        """Whether an entry may be heard."""
        return self.is_pending and self._entries[0].is_open

    @property
    def is_in_gap(self) -> bool:
        return self.is_pending and self._entries[0].refill > 0

    @property
    def current(self) -> PlayedEntry:
        return self._entries[0] if self._entries else self.latest

    def begin(self, need_s: float) -> None:
        self.end()
        self._dropping = False
        self.latest = PlayedEntry(need_s)
        self._entries.append(self.latest)

    def feed(self, pcm: Pcm) -> None:
        """Add to the entry begun last; outside an entry it begins one."""
        if self._dropping or not len(pcm):
            return
        if self.latest.ended:
            self.begin(CUSHION_S)
        self.latest.add(pcm)

    def overlap(self, n_samples: int) -> None:
        """What comes next in this entry lies over so many samples at its end that still wait."""
        self.latest.n_over = min(n_samples, self.latest.n_waiting)

    def end(self) -> None:
        self.latest.ended = True

    def cancel(self) -> None:
        self.end()
        self._entries.clear()
        self._dropping = True
        self._tail = 0

    def count_underrun(self) -> None:
        self.current.gaps += Gaps(n_device_underruns=1)

    def take_finished_gaps(self) -> Gaps:
        """Gaps of all entries heard to their end since the last call."""
        self._drop_finished()
        gaps, self._finished = self._finished, Gaps()
        return gaps

    def next(self, now: float, lead_s: float, tail_s: float) -> Step:
        """What to do now, when the device still holds `lead_s` of sound.

        After the last sample `tail_s` of silence follows, unless another entry is ready to join.
        """
        if not self.is_ready:
            return self._tail_step(lead_s)
        entry = self._entries[0]
        fade_in = False
        if entry.refill:
            if entry.n_waiting < entry.refill and not entry.ended:
                return self._gap_step(entry)
            fade_in, entry.refill = True, 0
        # the last 5 ms wait for their successors: if none come, they are what is faded out
        if not entry.ended and entry.n_waiting < BLOCK_SAMPLES + FADE_SAMPLES:
            if lead_s > DRY_MARGIN_S:
                return Step(wait_s=lead_s - DRY_MARGIN_S)
            return self._first_gap_step(entry)
        if entry.first_write_at is None:
            entry.first_write_at = now
        block = entry.take(BLOCK_SAMPLES)
        if fade_in:
            block[:FADE_SAMPLES] *= _ramp(len(block[:FADE_SAMPLES]))
        self._tail = round(tail_s * SAMPLE_RATE)
        self._tail_begun = False
        return Step(block)

    def _first_gap_step(self, entry: PlayedEntry) -> Step:
        refill_s = min(FIRST_REFILL_S * 2**entry.gaps.n_starved, LAST_REFILL_S)
        entry.gaps += Gaps(n_starved=1)
        entry.refill = round(refill_s * SAMPLE_RATE)
        block = entry.take(entry.n_waiting)
        if not len(block):
            return self._gap_step(entry)
        block[-FADE_SAMPLES:] *= _ramp(len(block[-FADE_SAMPLES:]))[::-1]
        return Step(block)

    def _gap_step(self, entry: PlayedEntry) -> Step:
        entry.gaps += Gaps(starved_s=BLOCK_SAMPLES / SAMPLE_RATE)
        return Step(np.zeros(BLOCK_SAMPLES, np.float32))

    def _tail_step(self, lead_s: float) -> Step:
        if self._tail <= 0:
            return Step()
        if not self._tail_begun and lead_s > DRY_MARGIN_S:  # another entry may still join
            return Step(wait_s=lead_s - DRY_MARGIN_S)
        self._tail_begun = True
        self._tail -= BLOCK_SAMPLES
        return Step(np.zeros(BLOCK_SAMPLES, np.float32))

    def _drop_finished(self) -> None:
        while self._entries and self._entries[0].is_over:
            self._finished += self._entries.popleft().gaps


def _ramp(n_samples: int) -> Pcm:
    return np.arange(1, n_samples + 1, dtype=np.float32) / np.float32(n_samples + 1)

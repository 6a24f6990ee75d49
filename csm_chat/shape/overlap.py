"""Parts one after the other: silence between them, or the next over the end of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from csm_chat.shape.level import limited
from csm_chat.types import SAMPLE_RATE, Pcm

MOST_OVERLAP_S, MOST_GAP_S = 5.0, 60.0
SENTENCE_GAP_S = 0.15  # at most, between the pieces of a turn that was split


def n_samples(seconds: float) -> int:
    """Exactly so many, whoever counts them."""
    return round(seconds * SAMPLE_RATE)


def silence(seconds: float) -> Pcm:
    return np.zeros(n_samples(seconds), np.float32)


def gap_between(gap_s: float, before: int, after: int) -> float:
    """The usual gap between what two speakers say: nobody speaks over himself."""
    return gap_s if before != after else max(0.0, gap_s)


def starts(lengths: Iterable[int], gaps_s: Iterable[float]) -> list[int]:
    """Where each part begins, in samples: `gap` after the end of what is there, or before it.

    None begins before the one in front of it does.
    """
    found: list[int] = []
    begun = end = 0
    for length, gap_s in zip(lengths, gaps_s, strict=True):
        begun = max(begun, end + n_samples(gap_s))
        found.append(begun)
        end = max(end, begun + length)
    return found


def joined(parts: Sequence[Pcm], gaps_s: Sequence[float], rest_s: float = 0.0) -> Pcm:
    """All parts on one line, each its gap after the one before, and silence behind the last."""
    places = starts(map(len, parts), gaps_s)
    end = max((at + len(part) for at, part in zip(places, parts, strict=True)), default=0)
    pcm = np.zeros(end + n_samples(rest_s), np.float32)
    done = 0
    for at, part in zip(places, parts, strict=True):
        over = max(0, min(done - at, len(part)))
        pcm[at : at + over] = limited(pcm[at : at + over] + part[:over])
        pcm[at + over : at + len(part)] = part[over:]
        done = max(done, at + len(part))
    return pcm


@dataclass(slots=True)
class Overlapping:
    """`joined` as a stream: its end waits for what may come to lie over it."""

    most_s: float  # the longest overlap there can be
    _held: Pcm = field(default_factory=lambda: np.zeros(0, np.float32))  # never written to
    _n_over: int = 0  # samples at the end that the next ones lie over
    _begun: int = 0  # the part that was begun last
    _end: int = 0  # of all so far

    def write(self, pcm: Pcm) -> Pcm:
        """More of a part; returns what is settled."""
        over = min(self._n_over, len(pcm))
        if over:
            at = len(self._held) - self._n_over
            held = self._held.copy()
            held[at : at + over] = limited(held[at : at + over] + pcm[:over])
            self._held = held
            self._n_over -= over
        return self._settled(pcm[over:])

    def apart(self, gap_s: float) -> Pcm:
        """The next part comes so much later, or lies over the end; returns what is settled."""
        self._begun = max(self._begun, self._end + n_samples(gap_s))
        self._n_over = min(len(self._held), max(0, self._end - self._begun))
        return self._settled(np.zeros(max(0, self._begun - self._end), np.float32))

    def end(self) -> Pcm:
        """The rest."""
        rest, self._held = self._held, np.zeros(0, np.float32)
        return rest

    def _settled(self, more: Pcm) -> Pcm:
        self._end += len(more)
        if not self.most_s:
            return more
        pcm = np.concatenate([self._held, more])
        n_settled = max(0, len(pcm) - n_samples(self.most_s))
        self._held = pcm[n_settled:]
        return pcm[:n_settled]

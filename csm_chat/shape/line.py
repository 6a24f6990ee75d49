"""A line as takes one after the other, with what is silent between them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from csm_chat.shape.overlap import SENTENCE_GAP_S, gap_between
from csm_chat.shape.pauses import added
from csm_chat.types import Utterance

Gapped = tuple[Utterance, float]  # seconds from the end of the one before; below 0 over it


def with_gaps(
    said: Iterable[tuple[Utterance, Sequence[Utterance]]], usual_s: float
) -> tuple[list[Gapped], float]:
    """What is said, each with the gap in front of it, and the silence behind all.

    Each utterance comes with its pieces; of one without any the silence around it stays. A pause
    stands for the usual gap, which lies between parts.
    """
    found: list[Gapped] = []
    wait_s: float | None = None
    for utterance, pieces in said:
        wait_s = added(wait_s, utterance.pause_s)
        for number, piece in enumerate(pieces):
            gap_s = gap_between(usual_s, found[-1][0].speaker, piece.speaker) if found else 0.0
            if number:  # of one that was split for its length
                gap_s = min(gap_s, SENTENCE_GAP_S)
            found.append((piece, gap_s if wait_s is None else wait_s))
            wait_s = None
        wait_s = added(wait_s, utterance.rest_s or None)
    return found, wait_s or 0.0

"""Marks what Whisper tiny.en mishears among recordings; audio stays, the verdict lies beside.

Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from csm_chat.printing import put
from csm_chat.training.ears import whisper
from csm_chat.training.ears.words import errors
from csm_chat.training.speech.recordings import (
    Recording,
    Verdict,
    add_verdicts,
    conversations,
    read_pcm,
    verdicts,
)
from csm_chat.types import Pcm


def judge(folder: Path, hear: Callable[[Pcm], str]) -> int:
    """Hear every recording that has no verdict yet; returns how many those were."""
    known, n_heard = verdicts(folder), 0
    for turns in conversations(folder):
        new = [turn for turn in turns if turn.file not in known]
        if new:
            found = [_verdict(turn, hear(read_pcm(folder, turn))) for turn in new]
            add_verdicts(folder, turns[0].conversation, found)
            n_heard += len(found)
    return n_heard


def _verdict(turn: Recording, heard: str) -> Verdict:
    found = errors(turn.text, heard)
    return Verdict(turn.file, heard, found.words, found.n_words)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("csm_chat.training misheard", description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    ear = whisper.tiny()
    n_heard = judge(options.folder, lambda pcm: ear.hear(whisper.at_ear_rate(pcm)))
    found = verdicts(options.folder).values()
    wrong, n_words = (sum(getattr(each, key) for each in found) for key in ("errors", "words"))
    n_misheard = sum(verdict.is_misheard for verdict in found)
    put(
        f"{n_heard} heard now; of {len(found)} clips {n_misheard} misheard, "
        f"{100 * wrong / max(1, n_words):.1f} % of the words wrong",
        file=sys.stderr,
    )
    return 0

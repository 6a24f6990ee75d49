"""What checked takes are worth: `python -m benchmarks.checks [--n 200] [--whisper FILE] [MODEL]`.

Each line is said twice with one seed, once without checks and once with them. Two ears judge both:
the one that checks, and Whisper tiny.en, which had no say. Printed after every ten lines: words
wrong, lines that somebody has to listen to, seconds for a second of speech.

The ear that checks is openai-whisper with --whisper, which is what the program has; without it the
same weights of base by faster-whisper, three times as quick (`uv sync --group ears`, and
`python -m csm_chat.training kit`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from csm_chat.assemble import load, open_library
from csm_chat.checking.checks import Checks, Ear, Wanted
from csm_chat.checking.words import compared
from csm_chat.config.settings import CheckConfig, Config
from csm_chat.conversation.session import Session
from csm_chat.conversation.take import whole
from csm_chat.notices import CheckFailed, Notice, log_only
from csm_chat.printing import put
from csm_chat.training.ears import whisper
from csm_chat.training.kit import KIT
from csm_chat.training.text.sentences import sentences
from csm_chat.types import SAMPLE_RATE, Pcm, Turn, Utterance, Verdict
from csm_chat.voices.transcribe import Transcriber

SEED = 2020
SPEAKERS = (0, 1, 7)  # two of the references folder, and one without a clip


class FasterEar:
    """Whisper base by faster-whisper."""

    def __init__(self, kit: Path) -> None:
        self._whisper = whisper.base(kit)

    def load(self) -> None:
        pass

    def hear(self, pcm: Pcm, is_wanted: Wanted) -> str | None:
        return self._whisper.hear(whisper.at_ear_rate(pcm))


@dataclass(slots=True)
class Side:
    """Figures of one way of saying all lines."""

    n_words: int = 0
    n_wrong: int = 0  # by the ear that checks
    n_wrong_other: int = 0  # by the other one
    n_bad: int = 0  # lines that somebody has to listen to
    n_takes: int = 0
    work_s: float = 0.0
    audio_s: float = 0.0
    likenesses: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict, other: int, pcm: Pcm, work_s: float) -> None:
        self.n_words += verdict.n_words
        self.n_wrong += verdict.n_wrong
        self.n_wrong_other += other
        self.n_bad += not verdict.is_good
        self.n_takes += verdict.tries
        self.work_s += work_s
        self.audio_s += len(pcm) / SAMPLE_RATE
        self.likenesses += [] if verdict.likeness is None else [verdict.likeness]

    def told(self) -> str:
        words = max(1, self.n_words)
        like = f"{np.mean(self.likenesses):.3f}" if self.likenesses else "-"
        return (
            f"words wrong {self.n_wrong / words:.1%} ({self.n_wrong_other / words:.1%} by tiny.en)"
            f"  to listen to {self.n_bad}  takes {self.n_takes}  likeness {like}"
            f"  {self.work_s / max(1e-9, self.audio_s):.2f} s a second of {self.audio_s:.0f} s"
        )


class Firsts:
    """A listener that keeps the verdict of a line's first take."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None

    def __call__(self, notice: Notice) -> None:
        if isinstance(notice, CheckFailed) and self.verdict is None:
            self.verdict = notice.verdict


def said(session: Session, text: str, speaker: int, seed: int) -> tuple[Pcm, Turn, float]:
    """A line as the first of a conversation, and the seconds it took."""
    session.clear()
    session.reseed(seed)
    session.backend.engine.forget()
    started = time.perf_counter()
    pcm, turn = whole(session.take(Utterance(text, speaker)))
    return pcm, turn, time.perf_counter() - started


def compare(
    session: Session, checks: Checks, firsts: Firsts, lines: Iterable[str]
) -> tuple[Side, Side]:
    """Say all lines both ways."""
    plain, checked = Side(), Side()
    tiny = whisper.tiny()

    def other(read: str, pcm: Pcm) -> int:
        return compared(read, tiny.hear(whisper.at_ear_rate(pcm))).n_wrong

    for n, text in enumerate(lines, 1):
        speaker, read = SPEAKERS[n % len(SPEAKERS)], session.read(text)
        session.checks, firsts.verdict = None, None
        pcm, _, work_s = said(session, text, speaker, SEED * n)
        wrong = other(read, pcm)
        session.checks = checks
        best, turn, work_checked_s = said(session, text, speaker, SEED * n)
        assert turn.verdict, "the ear is there"
        first = turn.verdict if turn.verdict.tries == 1 else firsts.verdict
        assert first
        plain.add(first, wrong, pcm, work_s)
        is_same = turn.verdict.tries == 1
        checked.add(turn.verdict, wrong if is_same else other(read, best), best, work_checked_s)
        if n % 10 == 0:
            put(f"{n} lines", f"  without  {plain.told()}", f"  checked  {checked.told()}")
    return plain, checked


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("benchmarks.checks", description=__doc__)
    parser.add_argument("model", nargs="?", default="builtin")
    parser.add_argument("--n", type=int, default=200, help="lines (200)")
    parser.add_argument("--retries", type=int, default=2, help="check.retries (2)")
    parser.add_argument("--whisper", help="an openai-whisper model: a name or a file")
    parser.add_argument("--kit", type=Path, default=KIT, metavar="DIR")
    options = parser.parse_args(arguments)
    backend = load(options.model)
    session = Session(backend)
    session.voices = open_library(Config(), backend.codec, log_only).load()
    ear: Ear = Transcriber(options.whisper) if options.whisper else FasterEar(options.kit)
    firsts = Firsts()
    checks = Checks(CheckConfig("words", options.retries), ear, backend.codec, firsts)
    checks.load()
    compare(session, checks, firsts, islice(sentences(SEED, "test"), options.n))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Hears takes, and has those that are not what was asked for made again. Knows no model.

One thread, but for `begin_loading`, which takes one of its own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from csm_chat.checking.sound import is_cut, level_db
from csm_chat.checking.voices import Voices
from csm_chat.checking.words import compared
from csm_chat.errors import CsmChatError, TranscriptError
from csm_chat.notices import CheckFailed, Listener, NothingHeard
from csm_chat.types import SAMPLE_RATE, Codec, Pcm, Problem, Turn, Verdict, Voice

if TYPE_CHECKING:
    from csm_chat.config.settings import CheckConfig

FREE_SHARE = 0.05  # of words may be wrong: so many Whisper mishears of what was said well
SOFT_DB, LOUD_DB = -45.0, -6.0  # speech is between them; a clip at full scale throughout is not
# Of 162 clips of four voices that nothing was trained on, 99 % of 2 s and more are above it beside
# their own voice (0.86 to 0.93 in the middle), 99 % below it beside another. Shorter ones overlap.
LEAST_LIKENESS, JUDGED_S = 0.68, 2.0
NO_SOUND = np.zeros(0, np.float32)

Wanted = Callable[[], bool]  # asked often; once it says no, hearing gives way


def always() -> bool:
    return True


class Ear(Protocol):
    """Writes down what is said."""

    def load(self) -> None:
        """Read the weights, if they are not read yet. Raises TranscriptError."""
        ...

    def hear(self, pcm: Pcm, is_wanted: Wanted) -> str | None:
        """The words, "" where there are none; None once it is not wanted any more.

        Raises TranscriptError.
        """
        ...


class Checks:
    """Compares takes with what was asked for, as `settings` say.

    Where nothing can be heard, that is told once and speech goes on unchecked until the settings
    are given anew.
    """

    def __init__(self, settings: CheckConfig, ear: Ear, codec: Codec, tell: Listener) -> None:
        self._settings = settings
        self._ear = ear
        self._voices = Voices(codec, tell)
        self._tell = tell
        self._error: CsmChatError | None = None
        self._loading: threading.Thread | None = None
        self._is_loaded = False
        self.makes_again = True  # what fails; False for a take that a person chose

    @property
    def settings(self) -> CheckConfig:
        return self._settings

    @settings.setter
    def settings(self, settings: CheckConfig) -> None:
        self._settings, self._error = settings, None

    @property
    def is_on(self) -> bool:
        return self._settings.mode != "off" and self._error is None

    def load(self) -> bool:
        """Make ready, and wait for it; False, and told, where that cannot be."""
        if self._loading:
            self._loading.join()
            self._loading = None
        elif not self._is_loaded and self.is_on:
            self._load()
        return self.is_on

    def begin_loading(self) -> bool:
        """Make ready meanwhile; whether it is."""
        if self._loading and not self._loading.is_alive():
            self._loading = None
        if self._is_loaded or self._loading or not self.is_on:
            return self._is_loaded and self.is_on
        self._loading = threading.Thread(target=self._load, name="ear", daemon=True)
        self._loading.start()
        return False

    def _load(self) -> None:
        try:
            self._ear.load()
        except TranscriptError as error:
            self._give_up(error)
        else:
            self._is_loaded = True

    def _give_up(self, error: TranscriptError) -> None:
        self._error = error
        self._tell(NothingHeard(str(error)))

    def verdict(
        self, pcm: Pcm, read: str, voice: Voice | None, is_wanted: Wanted = always
    ) -> Verdict | None:
        """What is heard of a take of `read`; None where it cannot be heard or is not wanted now."""
        if not self.load():
            return None
        try:
            heard = self._ear.hear(pcm, is_wanted)
        except TranscriptError as error:
            self._give_up(error)
            return None
        likeness = self._voices.likeness(pcm, voice) if heard is not None and is_wanted() else None
        return None if heard is None else judged(read, heard, pcm, likeness)

    def best(
        self,
        say: Callable[[], tuple[Pcm, Turn]],
        read: str,
        voice: Voice | None,
        *,
        is_random: bool = True,
    ) -> Generator[Pcm, None, Turn]:
        """A take that passes, or the best of those that were made; yields its samples.

        What is yielded before them is empty, for who wants to stop. Not `is_random`, takes would
        come out alike: there is one. Raises what `say` does.
        """
        best: tuple[Pcm, Turn] | None = None
        most = 1 + (self._settings.retries if is_random and self.makes_again else 0)
        for n in range(1, most + 1):
            pcm, turn = say()
            turn = replace(turn, verdict=self.verdict(pcm, read, voice))
            if best is None or _rank(turn) < _rank(best[1]):
                best = pcm, turn
            if turn.verdict is None or (turn.ended == "eos" and turn.verdict.is_good):
                break
            if n < most:
                self._tell(CheckFailed(0, turn.segment.text, turn.verdict, is_again=True))
                yield NO_SOUND
        assert best is not None
        pcm, turn = best
        if turn.verdict:
            turn = replace(turn, verdict=replace(turn.verdict, tries=n))
        yield pcm
        return turn


def _rank(turn: Turn) -> tuple[bool, bool, float, float]:
    """The less, the better."""
    verdict = turn.verdict
    if verdict is None:
        return (turn.ended != "eos", True, math.inf, 0.0)
    like = verdict.likeness or 0.0
    return (turn.ended != "eos", not verdict.is_good, verdict.n_wrong, -like)


def judged(read: str, heard: str, pcm: Pcm, likeness: float | None) -> Verdict:
    """A take of `read`, by what was heard of it and how it sounds."""
    found = compared(read, heard)
    level = level_db(pcm)
    is_wrong = found.n_wrong > FREE_SHARE * found.n_words
    problems: dict[Problem, bool] = {
        "words": is_wrong,
        "start": not found.starts,
        "end": not found.ends,
        "cut": is_cut(pcm),
        "voice": likeness is not None
        and likeness < LEAST_LIKENESS
        and len(pcm) >= JUDGED_S * SAMPLE_RATE,
        "soft": level < SOFT_DB,
        "loud": level > LOUD_DB,
    }
    named = tuple(problem for problem, is_there in problems.items() if is_there)
    return Verdict(heard, found.n_wrong, found.n_words, likeness, level, named)

"""Silence that a line asks for: `(pause 0.8)`, `(beat)`, and `<break>` of SSML. Knows no audio."""

from __future__ import annotations

import re
from dataclasses import dataclass

from csm_chat.errors import EntryError
from csm_chat.normalise.marks import break_s

BEAT_S = 0.5
MAX_PAUSE_S = 60.0
_SECONDS = r"[0-9]+\.?[0-9]*|\.[0-9]+"
_MARK = re.compile(
    rf"\(\s*(?:pause\s+(?P<seconds>{_SECONDS})\s*s?|beat)\s*\)"
    r"|(?P<tag><break(?![\w-])[^<>]*>(?:\s*</break\s*>)?)",
    re.IGNORECASE,
)
_LIKE_A_PAUSE = re.compile(r"\(\s*pause\b[^()]*\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pause:
    """A mark in a text."""

    start: int
    end: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Around:
    """What stands between the pauses that a text begins and ends with."""

    before_s: float | None  # None: it begins with none
    start: int
    end: int
    after_s: float | None


def find_pauses(text: str) -> list[Pause]:
    """Each mark where it stands; a break of no length is none."""
    if "(" not in text and "<" not in text:
        return []
    found = [Pause(*match.span(), _seconds(match)) for match in _MARK.finditer(text)]
    return [pause for pause in found if pause.seconds or text[pause.start] == "("]


def around(text: str) -> Around:
    """Where a text is without the pauses at its ends, and how long these are."""
    start, end = 0, len(text)
    before_s = after_s = None
    pauses = find_pauses(text)
    for pause in pauses:
        if text[start : pause.start].strip():
            break
        before_s = (before_s or 0.0) + pause.seconds
        start = pause.end
    for pause in reversed(pauses):
        if pause.start < start or text[pause.end : end].strip():
            break
        after_s = (after_s or 0.0) + pause.seconds
        end = pause.start
    return Around(before_s, start, end, after_s)


def at_pauses(text: str) -> tuple[list[str], list[float]]:
    """The texts that pauses stand between, and the seconds of these, which are one fewer."""
    pauses = find_pauses(text)
    starts = [0, *(pause.end for pause in pauses)]
    ends = [*(pause.start for pause in pauses), len(text)]
    texts = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    return texts, [pause.seconds for pause in pauses]


def check_pauses(text: str) -> None:
    """Raise EntryError for what looks like a pause and is none, or one that is too long."""
    for pause in find_pauses(text):
        if pause.seconds > MAX_PAUSE_S:
            raise _refused(text, pause.start, pause.end)
    kept = {pause.start for pause in find_pauses(text)}
    for found in _LIKE_A_PAUSE.finditer(text):
        if found.start() not in kept:
            raise _refused(text, *found.span())


def added(pause_s: float | None, more_s: float | None) -> float | None:
    """Both pauses together; None is the usual gap."""
    if pause_s is None or more_s is None:
        return pause_s if more_s is None else more_s
    return pause_s + more_s


def _seconds(match: re.Match[str]) -> float:
    if match["tag"]:
        return break_s(match["tag"])
    return float(match["seconds"]) if match["seconds"] else BEAT_S


def _refused(text: str, start: int, end: int) -> EntryError:
    return EntryError(
        f"{text[start:end]} is no pause: write it as (pause 0.8), in seconds, "
        f"{MAX_PAUSE_S:g} at most",
        position=start,
    )

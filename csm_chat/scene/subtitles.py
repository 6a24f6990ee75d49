"""Subtitles of a scene: SRT, WebVTT with voices, Audacity's labels. Pure.

Cues are as exact as the scene: turns begin and end to the sample. Inside a long turn, cut at its
sentence ends, times are in proportion to the text.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from csm_chat.conversation.tokenizer import split_text
from csm_chat.scene.mix import Placed, Scene
from csm_chat.types import SAMPLE_RATE

LINE_CHARS = 42
MAX_LINES = 2
# SubRip has no way to write "<" and "{" that all readers agree on. An invisible joiner keeps "<b>",
# "-->" and times from being read as what they look like; wide braces style nothing.
JOINER = "\u2060"
_CLOCK = re.compile(r"(?<=\d:\d\d:\d\d[,.])(?=\d)")
_NO_MARKS = str.maketrans({"<": f"<{JOINER}", "{": "\uff5b", "}": "\uff5d"})
_MARKS_BACK = str.maketrans({"\uff5b": "{", "\uff5d": "}"})
MIN_CHARS = 12  # a cue is not made shorter than this for the sake of two lines


@dataclass(frozen=True, slots=True)
class Cue:
    start_ms: int
    end_ms: int
    name: str
    text: str


def cues(scene: Scene) -> Iterator[Cue]:
    """Each turn in cues that take two lines at most, its name among them."""
    for each in scene.placed:
        if each.end > each.start:
            yield from _cues(each)


def srt(scene: Scene) -> str:
    """SubRip; the speaker stands in front, because the format knows none."""
    return "\n".join(
        f"{number}\n{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}\n{_lines(cue)}\n"
        for number, cue in enumerate(cues(scene), 1)
    )


def vtt(scene: Scene) -> str:
    """WebVTT; the speaker is the cue's voice, https://www.w3.org/TR/webvtt1/#webvtt-cue-voice-span."""
    blocks = [
        f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n"
        f"<v {_escaped(cue.name)}>" + _escaped("\n".join(_wrapped(cue.text)))
        for cue in cues(scene)
    ]
    return "\n\n".join(["WEBVTT", *blocks]) + "\n"


def labels(scene: Scene) -> str:
    """A label track that Audacity imports: start and end in seconds, a line a turn."""
    return "".join(
        f"{each.start / SAMPLE_RATE:.6f}\t{each.end / SAMPLE_RATE:.6f}\t"
        f"{each.piece.name}: {each.piece.text}\n"
        for each in scene.placed
    )


def _cues(each: Placed) -> Iterator[Cue]:
    name = each.piece.name
    texts = _texts(name, each.piece.text)
    n_chars = sum(map(len, texts))
    done = 0
    for text in texts:
        start = each.start + (each.end - each.start) * done // n_chars
        done += len(text)
        end = each.start + (each.end - each.start) * done // n_chars
        yield Cue(_ms(start), _ms(end), name, text)


def _texts(name: str, text: str) -> list[str]:
    """The text in as few cues as go into two lines each."""
    max_chars = LINE_CHARS * MAX_LINES
    while True:
        texts = split_text(text, max_chars)
        fits = all(len(_wrapped(f"{name}: {each}")) <= MAX_LINES for each in texts)
        if fits or max_chars <= MIN_CHARS:
            return texts
        max_chars -= 2


def _lines(cue: Cue) -> str:
    lines = _wrapped(f"{cue.name}: {cue.text}")
    return "\n".join(_plain(line) for line in lines)


def _plain(line: str) -> str:
    """A line that SubRip's readers show as it is: no tag, no style, no times."""
    return _CLOCK.sub(JOINER, line.replace("-->", f"--{JOINER}>")).translate(_NO_MARKS)


def without_marks_of_ours(text: str) -> str:
    """What `_plain` was given, of what it made."""
    return text.replace(JOINER, "").translate(_MARKS_BACK)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _ms(sample: int) -> int:
    return round(sample * 1000 / SAMPLE_RATE)


def _time(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{ms:03d}"


def _wrapped(text: str) -> list[str]:
    """At spaces: whoever reads the lines back puts one between them."""
    return textwrap.wrap(text, LINE_CHARS, break_on_hyphens=False)

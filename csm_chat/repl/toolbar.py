"""What the prompt shows, as fragments of (style, text): pure functions of the status.

Knows no terminal.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from csm_chat.casting.names import label
from csm_chat.conversation.grammar import Part
from csm_chat.visible import one_line
from csm_chat.wording import ENDED, pace

if TYPE_CHECKING:
    from csm_chat.conversation.ports import Rows, Status
    from csm_chat.types import Turn

Fragments = list[tuple[str, str]]

N_COLOURS = 6
TEXT_COLUMNS = 20  # of a take's text that its numbers leave room for
WIDE = 100  # columns from which on the context meter is spelled out
METER = "▁▂▃▄▅▆▇█"
METER_DB = 42.0  # below full scale where the meter starts
HOT = 10 ** (-1 / 20)  # -1 dB below full scale


def colour(speaker: int) -> str:
    """The style of a speaker."""
    return f"class:speaker{speaker % N_COLOURS}"


def toolbar(
    status: Status, names: Mapping[int, str], columns: int, unicode: bool = True
) -> Fragments:
    """One line: the state and, as far as they fit, the rest in order of weight."""
    rule = " │ " if unicode else " | "
    shown: Fragments = [("", " "), *_state(status, names, unicode)]
    left = columns - 1 - _width_of(shown)
    if left < 0:
        return [("", shorten("".join(text for _, text in shown), columns - 1, unicode))]
    for text in filter(None, _details(status, columns)):
        left -= width(rule) + width(text)
        if left < 0:
            break
        shown += [("class:dim", rule), ("", text)]
    return shown


def _state(status: Status, names: Mapping[int, str], unicode: bool) -> Fragments:
    if status.state == "loading":
        return [("", f"loading: {status.detail}" if status.detail else "loading")]
    if status.state == "failed":
        return [("class:error", "no model: Enter tries again, Ctrl-D leaves")]
    if status.state == "ready":
        return [("", "ready")]
    who = label(status.speaker, names)
    part = f" {status.part}/{status.parts}" if status.parts > 1 else ""
    said = f" {status.seconds:.1f} s" if status.state == "generating" else ""
    shown: Fragments = [("", f"{status.state} "), (colour(status.speaker), who), ("", part + said)]
    if status.state == "speaking":
        shown += [("", " "), meter(status.level, unicode)]
    return shown


def _details(status: Status, columns: int) -> list[str]:
    """In order of weight; an empty one is nothing."""
    return [
        f"{status.n_queued} queued" if status.n_queued else "",
        "audio: off" if status.audio == "off" else "",
        _count(status.n_gaps, "gap") if status.n_gaps else "",
        "Ctrl-C stops" if status.state in ("generating", "speaking") else "",
        *reversed(speed(status.first_audio_s, status.rtf)),
        _context(status.rows, columns) if status.rows else "",
        f"seed {'random' if status.seed is None else status.seed}" if status.rows else "",
        status.audio if status.audio != "off" else "",
        status.model,
    ]


def _context(rows: Rows, columns: int) -> str:
    if columns < WIDE:
        return f"context {rows.voices}/{rows.history}/{rows.free}"
    return f"voices {rows.voices} history {rows.history} free {rows.free}"


def meter(level: float, unicode: bool = True) -> tuple[str, str]:
    """A bar of fixed width for a peak of 0 to 1, in decibels; hot close to full scale."""
    lit = 0
    if level > 0:
        lit = round(len(METER) * min(1.0, max(0.0, 1 + 20 * math.log10(level) / METER_DB)))
    bar = METER if unicode else "#" * len(METER)
    style = "class:error" if level > HOT else "class:meter"
    return style, bar[:lit].ljust(len(METER), " " if unicode else ".")


def speed(first_audio_s: float | None, rtf: float | None) -> list[str]:
    """How long one waits and how fast it is, in words."""
    words = [f"first sound {first_audio_s:.2f} s"] if first_audio_s else []
    return [*words, pace(rtf)] if rtf else words


def stats(status: Status) -> str:
    """What `$STATS$` shows."""
    rows = status.rows
    table = {
        "model": status.model or status.state,
        "state": " ".join(filter(None, (status.state, status.detail))),
        "speed": ", ".join(speed(status.first_audio_s, status.rtf)) or "nothing was said yet",
        "context": f"{rows.total} rows: voices {rows.voices}, history {rows.history}, "
        f"free {rows.free}"
        if rows
        else "",
        "seed": "random" if status.seed is None else str(status.seed),
        "audio": status.audio + (f", {_count(status.n_gaps, 'gap')}" if status.n_gaps else ""),
        "waiting": _count(status.n_queued, "line"),
    }
    return "\n".join(f" {name:8} {value}" for name, value in table.items() if value)


def preview(
    parts: Sequence[Part],
    speaker: int,
    names: Mapping[int, str],
    columns: int,
    unicode: bool = True,
) -> Fragments:
    """One line: who says what of the entry being typed; nothing if that is plain.

    Where it does not fit its end is shown, where one types.
    """
    spoken = [part for part in parts if part.text]
    if len(spoken) < 2 and all(part.speaker == speaker for part in spoken):
        return []
    shown: Fragments = []
    left = columns - width(" … ")
    for part in reversed(spoken):
        who = f"{label(part.speaker, names)}: "
        gap = "   " if shown else ""
        room = left - width(gap)
        if room < width(who) + 4:
            return [("class:dim", " … " if unicode else " ~ "), *shown]
        text = shorten(one_line(part.text), room - width(who), unicode)
        shown = [(colour(part.speaker), who + text), ("", gap), *shown]
        left = room - width(who + text)
    return [("", " "), *shown]


def turn_line(
    number: int, turn: Turn, names: Mapping[int, str], columns: int, unicode: bool = True
) -> Fragments:
    """One line for a take: who said what, how long it is, how fast it came."""
    timings = turn.timings
    who = label(turn.segment.speaker, names, turn.mood)
    lead = f"{number or '-':>2} "
    room = columns - width(lead) - width(who) - 2 - 3
    said = one_line(turn.segment.text)
    kept = min(TEXT_COLUMNS, width(said))
    waits = speed(timings.first_audio_s, timings.rtf if turn.ended != "cut" else None)
    for n_waits in range(len(waits), -1, -1):
        facts = [
            *filter(None, [ENDED[turn.ended]]),
            f"{timings.audio_s / turn.shape.speed:.1f} s",
            *([] if turn.shape.speed == 1 else [f"speed {turn.shape.speed:g}"]),
            *waits[:n_waits],
            *([f"seed {turn.seed}"] if timings.audio_s else []),
        ]
        numbers = (" · " if unicode else ", ").join(facts)
        if width(numbers) + kept <= room:
            break
    text = shorten(said, max(room - width(numbers), kept), unicode)
    return [
        ("class:dim", lead),
        (colour(turn.segment.speaker), who),
        ("", f"  {text}"),
        ("class:dim", f"   {numbers}"),
    ]


def plain(fragments: Fragments) -> str:
    return "".join(text for _, text in fragments)


def width(text: str) -> int:
    """Columns of a terminal that `text` takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, columns: int, unicode: bool = True) -> str:
    """`text` if it fits, else its beginning and a mark."""
    if width(text) <= columns:
        return text
    mark = "…" if unicode else "~"
    left, kept = columns - 1, ""
    for char in text:
        left -= _columns(char)
        if left < 0:
            break
        kept += char
    return kept.rstrip() + mark


def _width_of(fragments: Fragments) -> int:
    return width(plain(fragments))


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"

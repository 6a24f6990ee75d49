"""Subtitles as a script: SubRip and WebVTT, each cue something that is said. Pure.

Speakers are those of voice tags, or of `Ana: text` as in other scripts. When a cue is shown tells
how long nobody speaks, and nothing else: speech takes the time that it takes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from csm_chat.casting.labels import known_label, label_of, speaker_of_number
from csm_chat.casting.moods import Moods, bracket_of
from csm_chat.casting.names import by_name, folded
from csm_chat.conversation.grammar import ESCAPE, NO_MOODS, parts
from csm_chat.conversation.tokenizer import ends_sentence
from csm_chat.errors import EntryError
from csm_chat.normalise import says_nothing
from csm_chat.scene.cast import Cast
from csm_chat.scene.script import MAX_PAUSE_S, Script, ScriptTurn, piece_of
from csm_chat.scene.subtitles import without_marks_of_ours
from csm_chat.types import Utterance

MIN_SILENCE_MS = 1000  # what is shorter is the usual gap
_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*--+>\s*{_CLOCK}(?:\s.*)?")
_FIRST_CUE = re.compile(rf"\s*(?:\d+\s*\n\s*)?{_TIMES.pattern}")
_VTT = re.compile(r"WEBVTT(?=\s|$)")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]*)>|</v\s*>")
# What styles a cue of SubRip: a few tags, and marks of Advanced SubStation. In WebVTT "<" is always
# a tag's.
_SUBRIP_STYLES = re.compile(
    r"</?(?:[bius]|em|strong|font|c|v|ruby|rt|lang)(?:[ .][^<>]*)?/?>"
    r"|\{\\[^{}]*\}|\{/?[a-z](?::[^{}]*)?\}",
    re.IGNORECASE,
)
_TAG = re.compile("<[^<>]*>")
_DASH = re.compile(r"\s*[-\u2010-\u2015]\s*(?=\S)")


@dataclass(frozen=True, slots=True)
class _Said:
    """Something that is said in a cue."""

    line: int  # of the cue's times in the file, from 1
    start_ms: int
    end_ms: int
    voice: str | None  # the tag's; None: a name may stand in front of the text
    index: int  # of those who speak in one cue, each behind a dash
    text: str


def are_cues(path: Path, text: str) -> bool:
    """Whether a file is subtitles, by its ending or its beginning."""
    is_named = path.suffix.lower() in (".srt", ".vtt")
    return is_named or bool(_VTT.match(text) or _FIRST_CUE.match(text))


def cue_script(
    text: str, path: Path, speaker: int, names: Mapping[int, str], moods: Moods = NO_MOODS
) -> Script:
    """The turns of subtitles; who has no name is `speaker`. Raises EntryError."""
    said = list(_cues(text))
    if not said:
        raise EntryError(f"{path}: has no cue with something to say in it")
    labelled = [(each.line, each.text) for each in said if each.voice is None]
    labelled = [(line, text) for line, text in labelled if _is_labelled(text)]
    indices = {speaker + each.index for each in said}
    cast = Cast.of(labelled, names, lambda _: indices)
    if cast.problems:
        found = [f"{path}:{number}  {words}" for number, words in sorted(cast.problems.items())]
        raise EntryError("\n".join(found))
    known = _with_voices(cast.names, [each.voice for each in said if each.voice], indices)
    turns = tuple(_turns(said, speaker, by_name(known), moods))
    spoken = {turn.utterance.speaker for turn in turns}
    return Script(path, turns, 0.0, {n: name for n, name in known.items() if n in spoken}, ())


def _is_labelled(text: str) -> bool:
    """Whether a name stands in front; nobody wrote subtitles to be told that "so:" is none."""
    label = label_of(text)
    if label is None:
        return False
    return label.name[0].isupper() or speaker_of_number(label.name) is not None


def _cues(text: str) -> Iterator[_Said]:
    is_vtt = bool(_VTT.match(text))
    lines = re.split("\r\n|\r|\n", text)
    times = [(n, found) for n, line in enumerate(lines) if (found := _TIMES.fullmatch(line))]
    ends = [*(n for n, _ in times), len(lines)][1:]
    for (n, found), end in zip(times, ends, strict=True):
        shown = _until_blank(lines[n + 1 : end]) if is_vtt else _before_number(lines, n + 1, end)
        start_ms, end_ms = _ms(found.groups()[:4]), _ms(found.groups()[4:])
        for voice, index, words in _spans("\n".join(shown), is_vtt):
            yield _Said(n + 1, start_ms, end_ms, voice, index, words)


def _until_blank(lines: list[str]) -> list[str]:
    blank = next((n for n, line in enumerate(lines) if not line.strip()), len(lines))
    return lines[:blank]


def _before_number(lines: list[str], start: int, end: int) -> list[str]:
    """A cue of SubRip, which may have blank lines in it, without the number of the next."""
    is_number = end < len(lines) and end > start and lines[end - 1].strip().isdecimal()
    return lines[start : end - is_number]


def _ms(clock: Iterable[str | None]) -> int:
    hours, minutes, seconds, fraction = (digits or "0" for digits in clock)
    whole_s = (int(hours) * 60 + int(minutes)) * 60 + int(seconds)
    return whole_s * 1000 + int(fraction.ljust(3, "0"))


def _spans(shown: str, is_vtt: bool) -> Iterator[tuple[str | None, int, str]]:
    """Voice, place among those behind dashes, and words, where there are any."""
    pieces = _VOICE.split(shown)
    for voice, words in zip([None, *pieces[1::2]], pieces[::2], strict=True):
        name = " ".join(html.unescape(voice).split()) if voice else ""
        for index, text in [(0, words)] if name else _apart(words):
            plain = _plain(text, is_vtt)
            if not says_nothing(plain):
                yield name or None, index, plain


def _apart(words: str) -> list[tuple[int, str]]:
    """What several say in one cue, in lines behind dashes or names; each with the dashes before."""
    texts: list[str] = []
    dashes: list[bool] = []
    for line in words.split("\n"):
        dash = _DASH.match(line)
        if dash or not texts or _is_next_speaker(texts[-1], line):
            texts.append(line[dash.end() :] if dash else line)
            dashes.append(bool(dash))
        else:
            texts[-1] += f"\n{line}"
    return [(max(0, sum(dashes[: n + 1]) - 1), text) for n, text in enumerate(texts)]


def _is_next_speaker(before: str, line: str) -> bool:
    last = before.split()[-1:]
    return _is_labelled(line) and (not last or ends_sentence(last[0], ""))


def _plain(text: str, is_vtt: bool) -> str:
    if is_vtt:
        text = html.unescape(_TAG.sub("", text))
    else:
        text = without_marks_of_ours(_SUBRIP_STYLES.sub("", text))
    return " ".join(part.text for part in parts(ESCAPE + text, 0))


def _with_voices(
    names: Mapping[int, str], voices: Iterable[str], taken: set[int]
) -> dict[int, str]:
    """`names`, and those of voice tags that are not among them, by numbers nobody has."""
    known = dict(names)
    free = (n for n in count() if n not in known and n not in taken)
    for voice in dict.fromkeys(voices):
        if folded(voice) not in by_name(known):
            number = speaker_of_number(voice)
            known[next(free) if number is None else number] = voice
    return known


def _turns(
    said: Iterable[_Said], speaker: int, known: Mapping[str, int], moods: Moods
) -> Iterator[ScriptTurn]:
    """A sentence that goes on in the next cue is one turn."""
    turn: ScriptTurn | None = None
    end_ms = 0
    for each in said:
        name, text = _named(each, known)
        who = speaker + each.index if name is None else known[folded(name)]
        mood, text = _in_mood(text, moods.get(who, ()))
        silence_ms = each.start_ms - end_ms
        if turn and not mood and _goes_on(turn, who, name, silence_ms, each.index):
            turn = piece_of(turn, f"{turn.utterance.text} {text}", turn.pause_s)
        else:
            if turn:
                yield turn
            is_long = turn is not None and silence_ms >= MIN_SILENCE_MS
            pause_s = min(silence_ms / 1000, MAX_PAUSE_S) if is_long else None
            turn = ScriptTurn(Utterance(text, who, mood), each.line, pause_s)
        end_ms = each.end_ms
    if turn:
        yield turn


def _named(said: _Said, known: Mapping[str, int]) -> tuple[str | None, str]:
    """Who says it by name, and the words without the name."""
    if said.voice:
        return said.voice, said.text
    label = known_label(said.text, known)
    rest = said.text[label.end :].strip() if label else ""
    if label is None or not rest:
        return None, said.text
    return label.name, f"({label.bracket}) {rest}" if label.bracket else rest


def _in_mood(text: str, moods: Collection[str]) -> tuple[str, str]:
    """A mood in front and the words behind; nobody wrote subtitles to be told of one unknown."""
    bracket = bracket_of(text)
    within = folded(bracket.within) if bracket else None
    mood = next((mood for mood in moods if folded(mood) == within), "")
    rest = text[bracket.end :].strip() if bracket and mood else ""
    return (mood, rest) if not says_nothing(rest) else ("", text)


def _goes_on(turn: ScriptTurn, speaker: int, name: str | None, silence_ms: int, index: int) -> bool:
    """Whether a cue is more of the turn before."""
    is_same = speaker == turn.utterance.speaker
    is_open = not ends_sentence(turn.utterance.text.split()[-1], "")
    if index or silence_ms >= MIN_SILENCE_MS:
        return False
    if name is None:
        return is_open
    # one turn in several cues, as a long one is written
    return is_same and (is_open or abs(silence_ms) <= 1)

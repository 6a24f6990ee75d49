"""What is learned from: JSON files of csm-mlx' three kinds, read whole or refused whole.

SFT is a list of conversations, `[[{text, audio_path, speaker}]]`; DPO a list of pairs, `[{chosen:
[...], rejected: [...]}]`; KTO a list of judged conversations, `[{segments: [...], preference:
1 or -1}]`. `speaker_id` is read as `speaker`: csm-mlx' documents say the one, its code the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from csm_chat.errors import UsageError
from csm_chat.plain_files import read_bytes

MOST_BYTES = 200_000_000  # a line a clip takes some 200
MOST_TOLD = 20  # faults that are listed
_SHOWN_CHARS = 40  # of a wrong value

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """A clip and what is said in it."""

    text: str
    audio: Path
    speaker: int


Conversation: TypeAlias = tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ways of saying something, of which the first is liked better."""

    chosen: Conversation
    rejected: Conversation


@dataclass(frozen=True, slots=True)
class Judged:
    """A conversation that is liked, or not."""

    conversation: Conversation
    is_liked: bool


def read_sft(path: Path) -> list[Conversation]:
    """Conversations of an SFT file. Raises UsageError, which names every fault and its place."""
    return _read(path, lambda faults, item, place: faults.conversation(item, place))


def read_dpo(path: Path) -> list[Pair]:
    """Pairs of a DPO file. Raises UsageError, which names every fault and its place."""

    def pair(faults: _Faults, item: object, place: str) -> Pair:
        of = faults.fields(item, place)
        chosen, rejected = (
            faults.conversation(of.get(key), f"{place}.{key}") for key in ("chosen", "rejected")
        )
        return Pair(chosen, rejected)

    return _read(path, pair)


def read_kto(path: Path) -> list[Judged]:
    """Judged conversations of a KTO file. Raises UsageError, which names every fault and place."""

    def judged(faults: _Faults, item: object, place: str) -> Judged:
        of = faults.fields(item, place)
        preference = of.get("preference")
        if isinstance(preference, bool) or preference not in (1, -1):
            faults.add(f"{place}.preference", "1 or -1", preference)
        return Judged(faults.conversation(of.get("segments"), f"{place}.segments"), preference == 1)

    return _read(path, judged)


def _read(path: Path, item: Callable[[_Faults, object, str], T]) -> list[T]:
    try:
        content = json.loads(read_bytes(path, MOST_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no JSON ({error})") from error
    faults = _Faults(path)
    found = [item(faults, each, f"[{i}]") for i, each in enumerate(faults.items(content, ""))]
    faults.refuse()
    return found


class _Faults:
    """What is wrong in a file, place by place; where something is, a stand-in is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[str] = []

    def add(self, place: str, expected: str, value: object) -> None:
        shown = "nothing" if value is None else json.dumps(value, default=str)
        cut = shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}..."
        self._found.append(f"{place or 'the file'}: expected {expected}, found {cut}")

    def refuse(self) -> None:
        """Raise UsageError if there are any."""
        if self._found:
            more = len(self._found) - MOST_TOLD
            told = [*self._found[:MOST_TOLD], *([f"and {more} more"] if more > 0 else [])]
            raise UsageError(*(f"{self._path}: {fault}" for fault in told))

    def items(self, value: object, place: str) -> list[object]:
        """Those of a list that holds some."""
        if isinstance(value, list) and value:
            return value
        self.add(place, "a list that is not empty", value)
        return []

    def fields(self, value: object, place: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.add(place, "an object", value)
        return {}

    def conversation(self, value: object, place: str) -> Conversation:
        return tuple(self._lines(value, place))

    def _lines(self, value: object, place: str) -> Iterator[Line]:
        for i, each in enumerate(self.items(value, place)):
            where = f"{place}[{i}]"
            of = self.fields(each, where)
            text, audio = of.get("text"), of.get("audio_path")
            key = "speaker_id" if "speaker_id" in of and "speaker" not in of else "speaker"
            speaker = of.get(key)
            if not isinstance(text, str) or not text.strip():
                self.add(f"{where}.text", "what is said", text)
            if isinstance(speaker, bool) or not isinstance(speaker, int) or speaker < 0:
                self.add(f"{where}.{key}", "a number, 0 or more", speaker)
            path = self._file(audio, f"{where}.audio_path")
            yield Line(str(text), path, speaker if isinstance(speaker, int) else 0)

    def _file(self, value: object, place: str) -> Path:
        """A clip by its path from the JSON file's folder, or from the working folder."""
        if not isinstance(value, str) or not value:
            self.add(place, "the path of a clip", value)
            return Path()
        beside = self._path.parent / value
        path = beside if beside.is_file() else Path(value)
        if not path.is_file():
            self.add(place, "a clip that is there", value)
        return path

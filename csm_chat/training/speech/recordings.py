"""Spoken conversations on disk: a FLAC file a turn, a line of JSON a turn, a file of those each.

FOLDER/00012/002431-0.flac ... and 002431.jsonl, which is written last: what has none is not there.
Beside them `heard.jsonl` says what a recogniser heard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from csm_chat.types import SAMPLE_RATE, Pcm

SHARD = 200  # conversations a folder
HEARD = "heard.jsonl"
STEPS = 2**15  # of a sample


@dataclass(frozen=True, slots=True)
class Recording:
    """A turn."""

    conversation: int
    turn: int
    speaker: int  # within the conversation
    voice: str
    speed: float
    text: str
    phonemes: str  # the teacher's symbols
    lengths: tuple[int, ...]  # a beginning, each symbol, an end; in units of 600 samples
    samples: int
    peak: float
    file: str

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a recogniser heard in a clip."""

    file: str
    heard: str
    errors: int  # words
    words: int

    @property
    def is_misheard(self) -> bool:
        """More than one word wrong, and more than a fifth of them.

        One is as often the recogniser's: "sail" and "sale", a name spelt another way.
        """
        return self.errors > max(1, self.words / 5)


def conversation_path(folder: Path, number: int) -> Path:
    return folder / f"{number // SHARD:05d}" / f"{number:06d}.jsonl"


def clip_path(folder: Path, recording: Recording) -> Path:
    return conversation_path(folder, recording.conversation).with_name(recording.file)


def write(folder: Path, number: int, turns: Sequence[tuple[Recording, Pcm]]) -> None:
    """Write a conversation; whatever ends the process, it is there whole or not at all."""
    import soundfile

    path = conversation_path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    for recording, pcm in turns:
        steps = np.round(pcm * STEPS).clip(-STEPS, STEPS - 1).astype(np.int16)
        soundfile.write(path.with_name(recording.file), steps, SAMPLE_RATE, subtype="PCM_16")
    part = path.with_suffix(".part")
    lines = (f"{json.dumps(asdict(recording))}\n" for recording, _ in turns)
    part.write_text("".join(lines), encoding="utf-8")
    part.rename(path)


def read_pcm(folder: Path, recording: Recording) -> Pcm:
    import soundfile

    pcm, rate = soundfile.read(clip_path(folder, recording), dtype="float32")
    assert rate == SAMPLE_RATE and len(pcm) == recording.samples, recording.file
    samples: Pcm = pcm
    return samples


def conversations(folder: Path) -> Iterator[tuple[Recording, ...]]:
    """All that are there, by their numbers."""
    for path in sorted(folder.glob("[0-9]*/[0-9]*.jsonl")):
        yield read_conversation(path)


def read_conversation(path: Path) -> tuple[Recording, ...]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(Recording(**{**row, "lengths": tuple(row["lengths"])}) for row in rows)


def add_verdicts(folder: Path, number: int, verdicts: Sequence[Verdict]) -> None:
    """Say what was heard in a conversation's clips."""
    path = conversation_path(folder, number).with_name(HEARD)
    lines = "".join(f"{json.dumps(asdict(verdict))}\n" for verdict in verdicts)
    with path.open("ab+") as file:
        if file.tell() and not _ends_a_line(path):
            lines = f"\n{lines}"  # a process ended within the line before
        file.write(lines.encode())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"


def verdicts(folder: Path) -> dict[str, Verdict]:
    """By file; lines that were cut off are passed over."""
    found: dict[str, Verdict] = {}
    for path in sorted(folder.glob(f"[0-9]*/{HEARD}")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                verdict = Verdict(**json.loads(line))
            except (ValueError, TypeError):
                continue
            found[verdict.file] = verdict
    return found

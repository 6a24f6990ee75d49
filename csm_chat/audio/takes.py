"""The folder a session's takes go to: a WAV each, written while spoken, and a JSON line each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np

from csm_chat.audio.clips import read_clip
from csm_chat.audio.files import write_clip
from csm_chat.audio.sinks import WavSink
from csm_chat.audio.watermark.marking import Watermark
from csm_chat.errors import AudioError, EntryError, TakeError
from csm_chat.notices import Listener, SceneUnsaved, TakeUnsaved
from csm_chat.types import Pcm, Turn
from csm_chat.visible import escaped_json

SUFFIXES = {"eos": "", "limit": ".limit", "guard": ".guard", "cut": ".cut"}
SIDECAR = "takes.jsonl"


class Takes:
    """`root/<date>-<n>/NNN-name.wav`, a folder made with the first take. Nothing is overwritten.

    A take that cannot be saved is told to `tell` and goes unsaved; it never stops speech.
    `about` says what is the same for each take of a moment: model, device, sampling. All files
    carry the `watermark`, put in while they grow.
    """

    def __init__(
        self,
        root: Path,
        tell: Listener,
        about: Callable[[], Mapping[str, object]] = dict,
        watermark: Watermark | None = None,
    ) -> None:
        self._root = root
        self._tell = tell
        self._about = about
        self._watermark = watermark
        self._folder: Path | None = None
        self._n_takes = 0
        self._paths: dict[int, Path] = {}
        self._told = ""  # the failure said last

    def open(self, name: str) -> SavedTake:
        """Begin the next take, spoken by `name`."""
        self._n_takes += 1
        return SavedTake(self._n_takes, self._sink(name), self, self._watermark)

    def combine(self, numbers: Sequence[int]) -> Path | None:
        """One file of several takes as saved, end to end; None if it cannot be saved."""
        try:
            parts = [self.read(number) for number in numbers]
            path = self._made() / f"{numbers[0]:03d}-{numbers[-1]:03d}-scene.wav"
            write_clip(path, np.concatenate(parts))
        except (TakeError, AudioError, EntryError) as error:
            self._tell(SceneUnsaved(str(error)))
            return None
        return path

    def read(self, number: int) -> Pcm:
        """The samples of a saved take. Raises EntryError, AudioError."""
        if number not in self._paths:
            saved = f"1 to {max(self._paths)}" if self._paths else "none yet"
            raise EntryError(f"there is no saved take {number} in this session ({saved})")
        return read_clip(self._paths[number]).pcm

    def add(self, number: int, path: Path, turn: Turn, name: str) -> None:
        """Record a finished take in the sidecar."""
        self._paths[number] = path
        timings = turn.timings
        line = {
            "take": number,
            "file": path.name,
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
            "text": turn.segment.text,
            "speaker": turn.segment.speaker,
            "name": name,
            "seed": turn.seed,
            "ended": turn.ended,
            "in_context": turn.ended == "eos",
            "timings": asdict(timings) | {"rtf": timings.rtf},
            "watermark": self._watermark.name if self._watermark else None,
            **self._about(),
        }
        try:
            with (path.parent / SIDECAR).open("a", encoding="utf-8") as file:
                file.write(escaped_json(json.dumps(line, ensure_ascii=False)) + "\n")
        except OSError as error:
            raise TakeError(
                f"{path.parent / SIDECAR}: cannot be written ({error.strerror})"
            ) from error

    def failed(self, error: TakeError) -> None:
        if str(error) != self._told:
            self._tell(TakeUnsaved(str(error)))
        self._told = str(error)

    def _sink(self, name: str) -> WavSink | None:
        slug = re.sub(r"[^\w-]+", "-", name).strip("-")[:40] or "voice"
        try:
            return WavSink(self._made() / f"{self._n_takes:03d}-{slug}.wav")
        except TakeError as error:
            self.failed(error)
            return None

    def _made(self) -> Path:
        """This session's folder, made at its first use. Raises TakeError."""
        if self._folder is None:
            today = datetime.now().astimezone().date().isoformat()
            self._folder = _new_folder(self._root, today)
        return self._folder


class SavedTake:
    """One take on its way to the disk. After a failed write it only counts as spoken.

    A watermark is put in piece by piece: the file grows with each, and never holds a sample
    without.
    """

    def __init__(
        self, number: int, sink: WavSink | None, takes: Takes, watermark: Watermark | None
    ) -> None:
        self.number = number
        self._sink = sink
        self._takes = takes
        self._marking = watermark.stream() if watermark else None

    def write(self, pcm: Pcm) -> None:
        self._write(self._marking.write(pcm) if self._marking else pcm)

    def _write(self, pcm: Pcm) -> None:
        if self._sink is None:
            return
        try:
            self._sink.write(pcm)
        except TakeError as error:
            self._takes.failed(error)
            self._sink = None

    def finish(self, turn: Turn, name: str) -> Path | None:
        """Name the file by how the take ended; a take without a sample leaves none."""
        if self._marking:
            self._write(self._marking.end())
        if self._sink is None:
            return None
        try:
            if not self._sink.n_samples:
                self._sink.discard()
                return None
            path = self._sink.finish(SUFFIXES[turn.ended])
            self._takes.add(self.number, path, turn, name)
        except TakeError as error:
            self._takes.failed(error)
            return None
        return path


def _new_folder(root: Path, day: str) -> Path:
    n = 1
    while True:
        folder = root / f"{day}-{n}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            n += 1
        except OSError as error:
            raise TakeError(
                f"{folder}: cannot be made ({error.strerror}); set another folder for takes"
            ) from error
        else:
            return folder

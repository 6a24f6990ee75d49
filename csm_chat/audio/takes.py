"""The folder a session's takes go to: a WAV each, written while spoken, and a JSON line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Protocol

from csm_chat.audio import records
from csm_chat.audio.clips import read_clip
from csm_chat.audio.cut_off import rescued
from csm_chat.audio.files import next_free, unsaved, write_clip
from csm_chat.audio.sinks import ANOTHER_FOLDER, CUT, WavSink
from csm_chat.audio.watermark.marking import Watermark
from csm_chat.errors import AudioError, EntryError, TakeError
from csm_chat.notices import (
    Listener,
    RecordUnsaved,
    SceneUnsaved,
    TakeCutOff,
    TakesFolderGone,
    TakeUnsaved,
)
from csm_chat.places import inside, slug
from csm_chat.shape.overlap import joined
from csm_chat.types import Pcm, Turn

log = logging.getLogger(__name__)

SUFFIXES = {"eos": "", "limit": ".limit", "guard": ".guard", "early": ".guard", "cut": CUT}
SIDECAR = "takes.jsonl"


class Scene(Protocol):
    """Takes that are to be one file."""

    @property
    def numbers(self) -> Sequence[int]: ...
    @property
    def gaps_s(self) -> Sequence[float]:
        """In front of each; below 0 it lies over the one before."""
        ...

    @property
    def rest_s(self) -> float:
        """Silence behind the last."""
        ...

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last take, by which the file is called."""
        ...


class Takes:
    """`root/<date>-<n>/NNN-name.wav`, a folder made with the first take. Nothing is overwritten.

    A take that cannot be saved is told to `tell` and goes unsaved; it never stops speech.
    `about` says what is the same for each take of a moment: model, device, sampling. All files
    carry the `watermark`.
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
        self._told: int | str | None = None  # why the take before could not be saved

    def tell_cut_off(self) -> None:
        """Name the takes that a program was writing when it died, each once."""
        for each in rescued(self._root):
            self._tell(TakeCutOff(each.path, each.seconds))

    def open(self, name: str) -> SavedTake:
        """Begin the next take, spoken by `name`."""
        self._n_takes += 1
        return SavedTake(self._n_takes, self._sink(name), self)

    def take_back(self) -> None:
        """Each take has a file of its own, whose name tells that it went wrong: it stays."""

    def apart(self, gap_s: float) -> None:
        """Each take has a file of its own; `combine` puts silence between them."""

    def combine(self, scene: Scene) -> Path | None:
        """One file of several takes as saved, with their gaps; None if it cannot be saved.

        Joined again it gets the next free name.
        """
        try:
            parts = [self.read(number) for number in scene.numbers]
            first, last = scene.span
            path = next_free(self.made() / f"{first:03d}-{last:03d}-scene.wav")
            pcm = joined(parts, scene.gaps_s, scene.rest_s)
            write_clip(path, pcm, otherwise=ANOTHER_FOLDER)
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

    def picked(self, number: int, turn: Turn, name: str) -> None:
        """Record a saved take that was offered a second time: it is part of the conversation."""
        self.add(number, self._paths[number], turn, name, is_in_context=True)

    def checked(self, number: int, turn: Turn, name: str, *, is_in_context: bool) -> None:
        """Record a saved take once more, with what was heard of it since."""
        self.add(number, self._paths[number], turn, name, is_in_context=is_in_context)

    def add(self, number: int, path: Path, turn: Turn, name: str, *, is_in_context: bool) -> None:
        """Record a finished take in the sidecar; where that cannot be, say so."""
        self._paths[number] = path
        self._told = None
        timings = turn.timings
        line = {
            "take": number,
            "file": path.name,
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
            "text": turn.segment.text,
            "speaker": turn.segment.speaker,
            "name": name,
            **({"mood": turn.mood} if turn.mood else {}),
            "seed": turn.seed,
            "ended": turn.ended,
            "in_context": is_in_context,
            "speed": turn.shape.speed,
            "gain_db": turn.shape.gain_db,
            "timings": asdict(timings) | {"rtf": timings.rtf},
            "check": asdict(turn.verdict) if turn.verdict else None,
            "watermark": self._watermark.name if self._watermark else None,
            **self._about(),
        }
        try:
            records.append(path.parent / SIDECAR, line)
        except OSError as error:
            failure = unsaved(path.parent / SIDECAR, error, ANOTHER_FOLDER, "written")
            self._tell(RecordUnsaved(path, str(failure)))

    def failed(self, error: TakeError, kept: Path | None = None) -> None:
        """Say that a take is not saved, and what of it is; once for takes that fail alike."""
        reason = error.reason or str(error)
        if kept or reason != self._told:
            self._tell(TakeUnsaved(str(error), kept))
        self._told = reason

    def made(self) -> Path:
        """This session's folder, made at its first use and when it is gone. Raises TakeError."""
        if self._folder is None:
            today = datetime.now().astimezone().date().isoformat()
            self._folder = _new_folder(self._root, today)
        elif not self._folder.is_dir():
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unsaved(self._folder, error, ANOTHER_FOLDER, "made") from error
            self._tell(TakesFolderGone(self._folder))
        return self._folder

    def _sink(self, name: str) -> WavSink | None:
        marking = self._watermark.stream() if self._watermark else None
        try:
            return WavSink(
                inside(self.made(), f"{self._n_takes:03d}-{slug(name)}.wav", name), marking
            )
        except TakeError as error:
            self.failed(error)
            return None


class SavedTake:
    """One take on its way to the disk. After a failed write it only counts as spoken."""

    def __init__(self, number: int, sink: WavSink | None, takes: Takes) -> None:
        self.number = number
        self._sink = sink
        self._takes = takes

    def write(self, pcm: Pcm) -> None:
        if self._sink is None:
            return
        try:
            self._sink.write(pcm)
        except TakeError as error:
            self._give_up(self._sink, error)

    def finish(self, turn: Turn, name: str, *, is_offered: bool = False) -> Path | None:
        """Name the file by how the take ended; a take without a sample leaves none."""
        sink = self._sink
        if sink is None:
            return None
        try:
            if not sink.n_samples:
                sink.discard()
                return None
            self._takes.made()
            path = sink.finish(SUFFIXES[turn.ended])
        except TakeError as error:
            self._give_up(sink, error)
            return None
        is_in_context = turn.ended == "eos" and not is_offered
        self._takes.add(self.number, path, turn, name, is_in_context=is_in_context)
        return path

    def _give_up(self, sink: WavSink, error: TakeError) -> None:
        """Keep what was written as a take that was cut."""
        self._sink = kept = None
        try:
            if sink.n_samples:
                kept = sink.finish(CUT)
            else:
                sink.discard()
        except TakeError as also:
            log.debug("not kept: %s", also)
        self._takes.failed(error, kept)


def _new_folder(root: Path, day: str) -> Path:
    n = 1
    while True:
        folder = root / f"{day}-{n}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            n += 1
        except OSError as error:
            raise unsaved(folder, error, ANOTHER_FOLDER, "made") from error
        else:
            return folder

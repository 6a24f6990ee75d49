"""Takes on disks that are full, gone, read-only, or of a program that was killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from csm_chat.audio import records
from csm_chat.audio.clips import read_clip
from csm_chat.audio.files import unsaved
from csm_chat.audio.sinks import WavSink
from csm_chat.audio.takes import SavedTake, Takes
from csm_chat.errors import TakeError
from csm_chat.notices import Notice, RecordUnsaved, TakeCutOff, TakesFolderGone, TakeUnsaved
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Ended, Pcm, Segment, Timings, Turn
from csm_chat.wording import words
from tests.checkpoints import make_checkpoint
from tests.program import COMMAND, PATIENCE_S, environment, piped

FRAME = np.full(FRAME_SAMPLES, 0.25, np.float32)


def turn(ended: Ended = "eos") -> Turn:
    codes = np.zeros((0, 32), np.int32)
    return Turn(Segment(0, "Hi.", codes), 7, ended, Timings(0.1, 1.0, 0.4))


class Folder:
    """Takes in a folder, and what was told of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[Notice] = []
        self.takes = Takes(root, self.told.append)

    def take(self, n_frames: int = 5) -> SavedTake:
        take = self.takes.open("ana")
        for _ in range(n_frames):
            take.write(FRAME)
        return take

    def said(self, n_frames: int = 5) -> Path | None:
        return self.take(n_frames).finish(turn(), "ana")

    def names(self) -> list[str]:
        return sorted(p.name for p in self.root.rglob("*") if p.is_file())

    def records(self) -> list[str]:
        (sidecar,) = self.root.rglob("takes.jsonl")
        return [json.loads(line)["file"] for line in sidecar.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "takes")


@contextmanager
def files_end_at(n_bytes: int) -> Iterator[None]:
    """A write beyond fails as on a full disk, with EFBIG for ENOSPC."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space, or X"),
        (errno.EROFS, "read-only: X"),
        (errno.EACCES, "may not write there: change its permissions, or X"),
        (errno.ENOENT, "its folder is gone: make it again, or X"),
    ],
)
def test_advice_fits_what_went_wrong(number: int, advice: str) -> None:
    error = OSError(number, os.strerror(number))
    said = str(unsaved(Path("a.wav"), error, "X"))
    assert said.startswith(f"a.wav: cannot be saved ({os.strerror(number)}); ")
    assert said.endswith(advice)


def test_a_folder_that_was_removed_is_made_anew_and_that_is_said_once(folder: Folder) -> None:
    folder.said()
    shutil.rmtree(folder.root)
    assert [path and path.name for path in (folder.said(), folder.said())] == [
        *("002-ana.wav", "003-ana.wav"),
    ]
    assert [type(notice) for notice in folder.told] == [TakesFolderGone]
    assert folder.records() == ["002-ana.wav", "003-ana.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_folder_removed_while_it_is_spoken_costs_nothing_of_the_take(folder: Folder) -> None:
    take = folder.take(3)
    shutil.rmtree(folder.root)
    take.write(FRAME)
    path = take.finish(turn(), "ana")
    assert path is not None and len(read_clip(path).pcm) == 4 * FRAME_SAMPLES
    assert [type(notice) for notice in folder.told] == [TakesFolderGone]
    assert folder.names() == ["001-ana.wav", "takes.jsonl"]


def test_takes_that_cannot_be_saved_for_one_reason_are_said_once(folder: Folder) -> None:
    folder.root.parent.mkdir(exist_ok=True)
    folder.root.write_text("in the way")
    assert folder.said() is None and folder.said() is None
    (said,) = folder.told
    assert isinstance(said, TakeUnsaved) and said.error.endswith("set another folder for takes")
    folder.root.unlink()
    assert folder.said() is not None
    shutil.rmtree(folder.root)
    folder.root.write_text("in the way")
    assert folder.said() is None
    assert len(folder.told) == 2


def test_of_a_take_that_no_longer_fits_the_disk_what_is_there_is_named(folder: Folder) -> None:
    with files_end_at(44 + 2 * FRAME_SAMPLES * 3 + 1000):
        assert folder.said(5) is None
    (said,) = folder.told
    assert isinstance(said, TakeUnsaved) and said.kept is not None
    assert len(read_clip(said.kept).pcm) == 3 * FRAME_SAMPLES
    assert f"{said.kept}" in words(said)
    assert folder.names() == ["001-ana.cut.wav"]


def test_of_a_take_without_a_sample_on_disk_nothing_stays(folder: Folder) -> None:
    with files_end_at(100):
        assert folder.said(5) is None
    assert folder.names() == []


def test_a_record_that_no_longer_fits_is_cut_back_and_the_take_is_kept(folder: Folder) -> None:
    size = 44 + 2 * FRAME_SAMPLES  # of a take of a frame
    first = folder.said(1)
    assert first is not None
    sidecar = first.parent / "takes.jsonl"
    kept = sidecar.read_bytes()
    with sidecar.open("ab") as file:
        file.write(b" " * (size - len(kept) - 10) + b"\n")  # the next one breaks off
    with files_end_at(size):
        second = folder.said(1)
    assert second is not None and second.name == "002-ana.wav"
    assert [type(notice) for notice in folder.told] == [RecordUnsaved]
    assert str(second) in words(folder.told[0])
    third = folder.said(1)
    lines = [json.loads(line) for line in sidecar.read_text().splitlines() if line.strip()]
    assert [line["file"] for line in lines] == ["001-ana.wav", third and third.name]


@pytest.mark.parametrize(
    ("there", "kept"),
    [
        ('{"a": 1}\n{"b": ', ['{"a": 1}']),
        ('{"a": 1}\n{"b": 2}', ['{"a": 1}', '{"b": 2}']),
        ("", []),
        ("{", []),
    ],
)
def test_a_record_begins_behind_the_last_whole_one(
    tmp_path: Path, there: str, kept: list[str]
) -> None:
    path = tmp_path / "takes.jsonl"
    path.write_text(there)
    records.append(path, {"c": "é"})
    assert path.read_text(encoding="utf-8").splitlines() == [*kept, '{"c": "é"}']


class Doubling:
    """A mark that comes out two seconds late: twice as loud."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)

    def write(self, pcm: Pcm) -> Pcm:
        self._held = np.concatenate([self._held, pcm])
        return self._out(max(0, len(self._held) - 2 * SAMPLE_RATE))

    def end(self) -> Pcm:
        return self._out(len(self._held))

    def _out(self, n: int) -> Pcm:
        out, self._held = 2 * self._held[:n], self._held[n:]
        return out


def test_a_file_grows_with_each_frame_however_late_its_mark_comes(tmp_path: Path) -> None:
    sink = WavSink(tmp_path / "a.wav", Doubling())
    for n_frames in range(1, 41):
        sink.write(FRAME)
        with wave.open(str(sink.part)) as file:
            assert file.getnframes() == n_frames * FRAME_SAMPLES
    assert read_clip(sink.part).pcm[[0, -1]].tolist() == [0.5, 0.25]
    assert np.array_equal(read_clip(sink.finish()).pcm, np.full(40 * FRAME_SAMPLES, 0.5))


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_a_program_that_is_killed_leaves_its_take_and_the_next_start_names_it(
    tmp_path: Path,
) -> None:
    endless = make_checkpoint(tmp_path / "endless", eos_every=None)
    flags = ["--model", str(endless), "--audio", "off", "--set", "context.max_turn_s=90"]
    with subprocess.Popen(
        [*COMMAND, *flags],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as ran:
        assert ran.stdin
        ran.stdin.write(b"It goes on and on, and on again. " * 30 + b"\n")
        ran.stdin.flush()
        grown = [0]
        until(lambda: grown.append(_size_of_part(tmp_path)) or grown[-1] > 10_000)
        # another session at the same time leaves it alone
        other = piped("$HELP$\n", *flags, folder=tmp_path)
        assert "cut off" not in other.stderr and ran.poll() is None
        ran.kill()
    n_samples = (_size_of_part(tmp_path) - 44) // 2
    said = "001-0.part.wav: a take that was cut off when the program died, "
    starts = [piped("$HELP$\n", *flags, folder=tmp_path).stderr for _ in range(2)]
    assert [said in start for start in starts] == [True, False]
    (path,) = tmp_path.glob("takes/*/001-0.part.wav")
    with wave.open(str(path)) as file:
        assert file.getnframes() == n_samples > 4000
    assert f"{said}{n_samples / SAMPLE_RATE:.1f} s" in starts[0]


def _size_of_part(folder: Path) -> int:
    return sum(part.stat().st_size for part in folder.glob("takes/*/*.part"))


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_left_of_a_dead_program_is_named_once_and_plays(folder: Folder) -> None:
    day = folder.root / "2020-01-01-1"
    day.mkdir(parents=True)
    dead = WavSink(day / "003-ana.wav")
    dead.write(FRAME)
    shutil.copy(dead.part, day / "copy")
    dead.discard()
    # killed between a frame and the header that counts it
    (day / "003-ana.wav.part").write_bytes((day / "copy").read_bytes() + FRAME.tobytes())
    (day / "004-ana.wav.part").write_bytes((day / "copy").read_bytes()[:44])
    (day / "copy").unlink()
    (day / "notes.part").write_text("somebody else's")
    alive = WavSink(day / "005-ana.wav")
    alive.write(FRAME)
    for _ in range(2):
        folder.takes.tell_cut_off()
    (told,) = folder.told
    assert isinstance(told, TakeCutOff) and told.path == day / "003-ana.part.wav"
    assert told.seconds == pytest.approx(3 * FRAME_SAMPLES / SAMPLE_RATE)
    with wave.open(str(told.path)) as file:
        assert file.getnframes() == 3 * FRAME_SAMPLES
    assert folder.names() == ["003-ana.part.wav", "005-ana.wav.part", "notes.part"]
    alive.discard()


def test_a_file_that_is_cut_may_be_named_after_a_failure_and_no_other(tmp_path: Path) -> None:
    with files_end_at(44 + 2 * FRAME_SAMPLES):
        sink = WavSink(tmp_path / "a.wav")
        sink.write(FRAME)
        with pytest.raises(TakeError, match="File too large"):
            sink.write(FRAME)
        with pytest.raises(TakeError, match="File too large"):
            sink.finish()
        assert sink.finish(".cut").name == "a.cut.wav"

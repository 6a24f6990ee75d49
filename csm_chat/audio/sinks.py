"""Where samples go but a loudspeaker: a growing WAV. Knows no device."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from csm_chat.audio.files import (
    create_free,
    move_free,
    to_16_bit,
    unsaved,
    write_all,
)
from csm_chat.errors import TakeError
from csm_chat.types import SAMPLE_RATE, Pcm

SAMPLE_BYTES = 2
HEADER_BYTES = 44
MAX_DATA_BYTES = 2**32 - 1 - 36  # a WAV header counts in 32 bits; that is 24 hours
CUT = ".cut"
ANOTHER_FOLDER = "set another folder for takes"
_BLOCK_BYTES = 1 << 20


class Marking(Protocol):
    """A signal on its way through, such as a watermark's: what comes out may come later."""

    def write(self, pcm: Pcm) -> Pcm: ...
    def end(self) -> Pcm: ...


def wav_header(n_samples: int) -> bytes:
    """The 44 bytes before `n_samples` of 16-bit mono."""
    n_bytes = min(n_samples * SAMPLE_BYTES, MAX_DATA_BYTES)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + n_bytes, b"WAVE"),
        *(
            b"fmt ",
            16,
            1,
            1,
            SAMPLE_RATE,
            SAMPLE_RATE * SAMPLE_BYTES,
            SAMPLE_BYTES,
            8 * SAMPLE_BYTES,
        ),
        *(b"data", n_bytes),
    )


class WavSink:
    """A 16-bit mono WAV that grows as it is spoken, called `<name>.part` until `finish`.

    The header is brought up to date with every write, so what a crash leaves behind plays. Samples
    are written as they come, and again once they are marked: a mark takes seconds to come out.
    Written with plain file calls, because libsndfile keeps a full disk's error number to itself.
    Leaving the `with` block without `finish` or `discard` keeps the temporary name. One thread.
    """

    def __init__(
        self, path: Path, marking: Marking | None = None, otherwise: str = ANOTHER_FOLDER
    ) -> None:
        """Create the file; `otherwise` is what to do where it cannot be. Raises TakeError."""
        self.path = path
        self.n_samples = 0
        self.failure: TakeError | None = None  # why writing stopped
        self._marking = marking
        self._n_marked = 0
        self._n_settled = 0
        self._otherwise = otherwise
        try:
            self.part, self._file = create_free(path.with_name(path.name + ".part"))
        except OSError as error:
            raise self._error(path, error) from error
        try:
            write_all(self._file, wav_header(0))
        except OSError as error:
            self.discard()
            raise self._error(path, error) from error

    def write(self, pcm: Pcm) -> None:
        """Append, clipped to [-1, 1]. Raises TakeError once, and takes no more after it."""
        if self.failure:
            return
        with self._failing():
            self._put(self.n_samples, pcm)
            self._say_length(self.n_samples + len(pcm))
            self.n_samples += len(pcm)
        if self._marking:
            self._mark(self._marking.write(pcm))

    def drain(self) -> None:
        """Nothing to wait for: writes are unbuffered."""

    def cancel(self) -> None:
        """What was said stays in the file; `finish(CUT)` tells so by its name."""

    def settle(self) -> None:
        """What is there stays: `take_back` goes back to here. Raises TakeError."""
        if self._marking:
            self._mark(self._marking.end())
        self._n_settled = self.n_samples

    def take_back(self) -> None:
        """Drop what was written since `settle`. Raises TakeError."""
        if self._marking:
            self._marking.end()
        self.n_samples = self._n_marked = self._n_settled
        with self._failing():
            self._file.truncate(HEADER_BYTES + SAMPLE_BYTES * self.n_samples)
            self._say_length(self.n_samples)

    def finish(self, suffix: str = "") -> Path:
        """Give the file its name, `009-ana.wav`, or with CUT `009-ana.cut.wav`.

        If that is taken the next free one, `009-ana-2.wav`: a take is worth more than its number.
        Where its folder was removed meanwhile, that and the file are made anew. Raises TakeError,
        also when a write has failed before, unless the name is to tell that it is cut.
        """
        if self._marking:
            self._mark(self._marking.end())
        if self.failure and suffix != CUT:
            raise self.failure
        target = self.path.with_name(self.path.stem + suffix + self.path.suffix)
        try:
            if not self._is_there():
                self._write_anew()
            self._file.close()
            return move_free(self.part, target)
        except FileExistsError as error:
            raise TakeError(f"{target}: {error.strerror}; clear the folder") from error
        except OSError as error:
            raise self._error(target, error) from error

    def discard(self) -> None:
        """Delete the file. Raises TakeError."""
        self._file.close()
        try:
            self.part.unlink(missing_ok=True)
        except OSError as error:
            raise self._error(self.part, error) from error

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """A write that fails is the last one; what it left of itself goes."""
        try:
            yield
        except OSError as error:
            self.failure = self._error(self.path, error)
            with contextlib.suppress(OSError):
                self._file.truncate(HEADER_BYTES + SAMPLE_BYTES * self.n_samples)
                self._say_length(self.n_samples)
            raise self.failure from error

    def _mark(self, marked: Pcm) -> None:
        with self._failing():
            self._put(self._n_marked, marked)
        self._n_marked += len(marked)

    def _put(self, start: int, pcm: Pcm) -> None:
        self._file.seek(HEADER_BYTES + SAMPLE_BYTES * start)
        write_all(self._file, to_16_bit(pcm).tobytes())

    def _say_length(self, n_samples: int) -> None:
        self._file.seek(0)
        write_all(self._file, wav_header(n_samples))

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.part.stat())
        except FileNotFoundError:
            return False

    def _write_anew(self) -> None:
        """The open file still holds what was written to it."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        self.part, copy = create_free(self.part)
        self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            write_all(copy, block)
        self._file.close()
        self._file = copy

    def _error(self, path: Path, error: OSError) -> TakeError:
        return unsaved(path, error, self._otherwise)

    def __enter__(self) -> WavSink:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

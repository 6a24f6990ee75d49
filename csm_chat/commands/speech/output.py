"""Where a command's speech goes besides the loudspeaker: one file, or standard output.

Knows no model and no command.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Protocol

import numpy as np

from csm_chat.audio.files import (
    ANOTHER_NAME,
    SUBTYPES,
    create_free,
    next_free,
    to_16_bit,
    unsaved,
    write_clip,
)
from csm_chat.audio.sinks import CUT, Marking, WavSink, wav_header
from csm_chat.errors import TakeError, UsageError

if TYPE_CHECKING:
    from csm_chat.types import Pcm

Encoding = Literal["wav", "s16", "f32"]

ENDINGS = ", ".join(f".{name}" for name in SUBTYPES)
UNKNOWN_LENGTH = b"\xff\xff\xff\xff"  # what a WAV header says of a stream


class Output(Protocol):
    def write(self, pcm: Pcm) -> None: ...

    def settle(self) -> None:
        """A take begins: what is there stays."""
        ...

    def take_back(self) -> None:
        """Drop what was written since `settle`, unless it is heard already."""
        ...

    def finish(self, cut: bool) -> Path | None:
        """Complete it, `cut` if speech ended before its time. The file's path if there is one."""
        ...


class Recording:
    """All that is said in one file, whole or not at all; a WAV grows while it is spoken.

    What was cut short keeps its name free: `a.cut.wav`.
    """

    def __init__(self, path: Path, *, force: bool, marking: Marking | None = None) -> None:
        """`check_output` says whether it can be; `force` replaces what has that name in the end.

        Raises TakeError.
        """
        self._path = path
        self._force = force
        is_wav = path.suffix.lower() == ".wav"
        self._wav = WavSink(path, marking, ANOTHER_NAME) if is_wav else None
        self._marking = None if is_wav else marking
        self._pcm: list[Pcm] = []  # all of it, unless there is a file that grows
        self._n_samples = 0
        self._settled = (0, 0)  # samples and blocks that stay

    def write(self, pcm: Pcm) -> None:
        """Raises TakeError."""
        self._n_samples += len(pcm)
        self._add(self._marking.write(pcm) if self._marking else pcm)

    def settle(self) -> None:
        """Raises TakeError."""
        if self._wav:
            self._wav.settle()
        elif self._marking:
            self._add(self._marking.end())
        self._settled = self._n_samples, len(self._pcm)

    def take_back(self) -> None:
        """Raises TakeError."""
        if self._wav:
            self._wav.take_back()
        elif self._marking:
            self._marking.end()
        self._n_samples, n_blocks = self._settled
        del self._pcm[n_blocks:]

    def finish(self, cut: bool) -> Path | None:
        """Raises TakeError."""
        if not self._n_samples:
            self.discard()
            return None
        if self._marking:
            self._add(self._marking.end())
        suffix = CUT if cut else ""
        replaces = self._force and not cut
        if self._wav:
            path = self._wav.finish(suffix)
            return path.replace(self._path) if replaces else path
        path = self._path.with_name(self._path.stem + suffix + self._path.suffix)
        if not replaces:
            path = next_free(path)
        write_clip(path, np.concatenate(self._pcm), replace=replaces)
        return path

    def discard(self) -> None:
        """Keep nothing of what was not finished."""
        if self._wav:
            self._wav.discard()

    def _add(self, pcm: Pcm) -> None:
        if self._wav:
            self._wav.write(pcm)
        else:
            self._pcm.append(pcm)


class Pipe:
    """A WAV of unknown length, or bare samples, written as they are made."""

    def __init__(self, stream: IO[bytes], encoding: Encoding) -> None:
        self._stream = stream
        self._encoding = encoding
        self._begun = False

    def write(self, pcm: Pcm) -> None:
        """Raises BrokenPipeError when nobody reads any more, TakeError for the rest."""
        samples = pcm.astype("<f4") if self._encoding == "f32" else to_16_bit(pcm)
        data = samples.tobytes()
        if not self._begun and self._encoding == "wav":
            header = wav_header(0)
            data = header[:4] + UNKNOWN_LENGTH + header[8:40] + UNKNOWN_LENGTH + data
        self._begun = True
        try:
            self._stream.write(data)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TakeError(
                f"standard output: cannot be written ({error.strerror})", error.errno
            ) from error

    def settle(self) -> None:
        """What is written is heard."""

    def take_back(self) -> None:
        """Too late."""

    def finish(self, cut: bool) -> None:
        """Nothing to complete: the length was left open."""


def open_pipe(encoding: Encoding | None) -> Pipe:
    """To standard output, which is not marked. Raises UsageError."""
    if sys.stdout.isatty():
        raise UsageError("-o - writes sound to standard output, which is a terminal: pipe it on")
    return Pipe(sys.stdout.buffer, encoding or "wav")


def check_output(path: Path, force: bool) -> None:
    """For the time before a model is loaded.

    Raises UsageError for a name that nothing can or should be saved under, TakeError where nothing
    can be written.
    """
    if path.suffix[1:].lower() not in SUBTYPES:
        raise UsageError(f"{path}: the ending says the format; name it {ENDINGS}")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is no regular file; name one, or - for standard output")
    if path.exists() and not force:
        raise UsageError(f"{path}: exists already; give another name, or --force to replace it")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}; make it first")

    try:
        part, file = create_free(path.with_name(f"{path.name}.part"))
        file.close()
        part.unlink()
    except OSError as error:
        raise unsaved(path, error, ANOTHER_NAME) from error

"""Where samples go but a loudspeaker: a growing WAV, a list, nowhere, several. Knows no device."""

from __future__ import annotations

import struct
from pathlib import Path

from csm_chat.audio.files import create_free, free_names, move_exclusive, to_16_bit, write_all
from csm_chat.errors import TakeError
from csm_chat.types import SAMPLE_RATE, Pcm

SAMPLE_BYTES = 2
MAX_DATA_BYTES = 2**32 - 1 - 36  # a WAV header counts in 32 bits; that is 24 hours


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

    The header is brought up to date with every write, so what a crash leaves behind plays. Written
    with plain file calls, because libsndfile keeps a full disk's error number to itself. Leaving
    the `with` block without `finish` or `discard` keeps the temporary name. One thread.
    """

    def __init__(self, path: Path) -> None:
        """Create the file. Raises TakeError."""
        self.path = path
        self.n_samples = 0
        self.failure: TakeError | None = None  # why writing stopped
        try:
            self.part, self._file = create_free(path.with_name(path.name + ".part"))
        except OSError as error:
            raise _take_error(path, error) from error
        try:
            write_all(self._file, wav_header(0))
        except OSError as error:
            self.discard()
            raise _take_error(path, error) from error

    def write(self, pcm: Pcm) -> None:
        """Append, clipped to [-1, 1]. Raises TakeError once, and takes no more after it."""
        if self.failure:
            return
        samples = to_16_bit(pcm)
        try:
            write_all(self._file, samples.tobytes())
            self.n_samples += len(samples)
            self._file.seek(0)
            write_all(self._file, wav_header(self.n_samples))
            self._file.seek(0, 2)
        except OSError as error:
            self.failure = _take_error(self.path, error)
            raise self.failure from error

    def drain(self) -> None:
        """Nothing to wait for: writes are unbuffered."""

    def cancel(self) -> None:
        """What was said stays in the file; `finish(".cut")` tells so by its name."""

    def finish(self, suffix: str = "") -> Path:
        """Give the file its name, `009-ana.wav`, or with ".cut" `009-ana.cut.wav`.

        If that is taken the next free one, `009-ana-2.wav`: a take is worth more than its number.
        Raises TakeError, also when a write has failed before; the temporary file then stays.
        """
        self._file.close()
        if self.failure:
            raise self.failure
        target = self.path.with_name(self.path.stem + suffix + self.path.suffix)
        try:
            for candidate in free_names(target):
                try:
                    move_exclusive(self.part, candidate)
                except FileExistsError:
                    continue
                return candidate
        except OSError as error:
            raise _take_error(target, error) from error
        raise TakeError(f"{target}: a thousand files of that name exist; clear the folder")

    def discard(self) -> None:
        """Delete the file. Raises TakeError."""
        self._file.close()
        try:
            self.part.unlink(missing_ok=True)
        except OSError as error:
            raise _take_error(self.part, error) from error

    def __enter__(self) -> WavSink:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()


def _take_error(path: Path, error: OSError) -> TakeError:
    return TakeError(
        f"{path}: cannot be saved ({error.strerror}); "
        "free some space or set another folder for takes"
    )

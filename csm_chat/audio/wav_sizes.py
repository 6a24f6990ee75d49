"""WAV files whose header understates how much sound there is.

A program that streams a WAV writes its sizes last, and one that was stopped never does: the header
says 0, all ones, or what there was at some moment. libsndfile believes it.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from typing import IO

_MAX_CHUNKS = 1000
_UNKNOWN = 0xFFFFFFFF  # what streaming writers put where they know no size


@dataclass(frozen=True, slots=True)
class Repaired:
    """A file to decode, and what was wrong with it."""

    file: IO[bytes]
    remark: str | None = None


def with_true_sizes(file: io.BufferedReader) -> Repaired:
    """The file itself, or one that reads alike but says in its header how long it is."""
    n_bytes = file.seek(0, os.SEEK_END)
    at, said = _data_chunk(file, n_bytes) or (n_bytes, 0)
    there = n_bytes - at
    is_right = said >= there or (said and _is_chunks(file, at + said + said % 2, n_bytes))
    file.seek(0)
    if is_right:
        return Repaired(file)
    said_of_all = struct.pack("<I", min(n_bytes - 8, _UNKNOWN - 1))
    patches = {4: said_of_all, at - 4: struct.pack("<I", min(there, _UNKNOWN - 1))}
    share = f"{said / there:.0%} of" if said else "nothing of"
    return Repaired(
        io.BufferedReader(_Patched(file, patches)),
        f"its header tells of {share} the sound in it: read to its end",
    )


def _data_chunk(file: io.BufferedReader, n_bytes: int) -> tuple[int, int] | None:
    """Where a WAV's samples begin, and how many bytes its header says they are."""
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    for at, name, size in _chunks(file, 12, n_bytes):
        if name == b"data":
            return at + 8, size
    return None


def _is_chunks(file: io.BufferedReader, start: int, n_bytes: int) -> bool:
    """Whether what begins there is more chunks, to the end of the file; not so for sound."""
    at = start
    for at, name, size in _chunks(file, start, n_bytes):
        if not all(32 <= letter < 127 for letter in name):
            return False
        at += 8 + size + size % 2
    return start >= n_bytes or abs(at - n_bytes) <= 1


def _chunks(file: io.BufferedReader, at: int, n_bytes: int) -> list[tuple[int, bytes, int]]:
    """Place, name and size of the chunks from `at` on, as their headers say."""
    found: list[tuple[int, bytes, int]] = []
    while at + 8 <= n_bytes and len(found) < _MAX_CHUNKS:
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        found.append((at, name, size))
        at += 8 + size + size % 2
    return found


class _Patched(io.RawIOBase):
    """A file with some bytes replaced. Closing it leaves the file open."""

    def __init__(self, file: io.BufferedReader, patches: dict[int, bytes]) -> None:
        self._file = file
        self._patches = patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        start = self._file.tell()
        n_read = self._file.readinto(buffer)
        for at, data in self._patches.items():
            for offset, byte in enumerate(data, at - start):
                if 0 <= offset < n_read:
                    buffer[offset] = byte
        return n_read

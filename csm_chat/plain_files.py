"""Bytes that somebody left in a folder, or sends through a pipe, as text.

The system has ways to surprise a reader: pipes, devices, links to /dev/zero, odd encodings.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Protocol

TEXT_BYTES = 1_000_000  # a script of 150 000 words; what is larger is something else

# longest first: UTF-32's mark begins with UTF-16's
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ZEROS_SHARE = 0.5  # of every second byte: what UTF-16 of a Latin script exceeds by far
# what Windows editors wrote before UTF-8; it reads nearly any bytes, so it is said
_OLD, _READ_AS_OLD = "cp1252", "is not UTF-8: read as Windows-1252, check its accents"
_CHUNK_BYTES = 1 << 16
_MARK_BYTES = 4  # what tells UTF-16, with its mark or without


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text of some bytes."""

    text: str
    remark: str | None = None  # what the reader should know: "is not UTF-8: read as ..."


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes. Never waits for a writer.

    Raises OSError whose `strerror` says what is wrong, for a folder, a pipe and a device as well.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    raise OSError(errno.EINVAL, "is not a regular file", str(path))


def read_bytes(path: Path, limit: int = TEXT_BYTES) -> bytes:
    """The content of a regular file of `limit` bytes at most. Raises OSError as `open_regular`."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit / 1e6:g} MB", str(path))
    return data


def decode(data: bytes) -> Decoded:
    """Bytes as text: by a byte order mark, as UTF-8, else as Windows-1252, which is remarked on.

    UTF-16 without a mark is told by its zeros. Zeros that stay are for the caller to judge.
    """
    encoding = encoding_of(data)
    try:
        return Decoded(data.decode(encoding))
    except UnicodeDecodeError:
        return Decoded(data.decode(_OLD, errors="replace"), _READ_AS_OLD)


def encoding_of(data: bytes) -> str:
    """The encoding that a text shows at its beginning, by its name in Python; else "utf-8"."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    beginning = data[:1000]
    if len(beginning) >= 4:
        for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            high, low = beginning[first::2], beginning[1 - first :: 2]
            if high.count(0) > _ZEROS_SHARE * len(high) and not low.count(0):
                return encoding
    return "utf-8"


class ReadsWhatIsThere(Protocol):
    """A stream of bytes, as `sys.stdin.buffer`."""

    def read1(self, size: int = ..., /) -> bytes:
        """What is there, without waiting for more; nothing at the end."""
        ...


class TextStream:
    """The text of bytes that arrive bit by bit, judged as `decode` judges a file.

    What is no UTF-8 is Windows-1252 up to the end of its line: what came before is said by then.
    Lines end in newlines, whatever they ended in.
    """

    def __init__(self, stream: ReadsWhatIsThere, remark: Callable[[str], None]) -> None:
        """`remark` gets, once, what the reader should know, as in `Decoded`."""
        self._stream = stream
        self._remark = remark
        self._begun = b""  # too little to tell the encoding by
        self._decoder: codecs.IncrementalDecoder | None = None
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._line = ""  # what of it is read

    def __iter__(self) -> Iterator[str]:
        """Text as it comes, wherever it is cut."""
        while data := self._stream.read1(_CHUNK_BYTES):
            if text := self._decoded(data):
                yield text
        if text := self._decoded(b"", final=True):
            yield text

    def readline(self) -> str:
        """The next line with its newline, as `TextIO.readline`; empty at the end."""
        while "\n" not in self._line:
            data = self._stream.read1(_CHUNK_BYTES)
            self._line += self._decoded(data, final=not data)
            if not data:
                break
        line, newline, self._line = self._line.partition("\n")
        return line + newline

    def _decoded(self, data: bytes, final: bool = False) -> str:
        self._begun += data
        if self._decoder is None:
            if not final and len(self._begun) < _MARK_BYTES and b"\n" not in self._begun:
                return ""
            self._decoder = self._decoder_for(encoding_of(self._begun))
        data, self._begun = self._begun, b""
        return self._newlines.decode(self._decoder.decode(data, final), final)

    def _decoder_for(self, encoding: str) -> codecs.IncrementalDecoder:
        if encoding == "utf-8":
            return _Utf8OrOld(self._remark)
        if encoding == "utf-8-sig":
            self._begun = self._begun.removeprefix(codecs.BOM_UTF8)
            return _Utf8OrOld(self._remark)
        return codecs.getincrementaldecoder(encoding)(errors="replace")


class _Utf8OrOld(codecs.IncrementalDecoder):
    """UTF-8, and from where a line is none, Windows-1252 to its end."""

    def __init__(self, remark: Callable[[str], None]) -> None:
        super().__init__()
        self._remark: Callable[[str], None] | None = remark
        self._rest = b""  # of a character that is not all there
        self._is_old = False

    def decode(self, data: bytes, final: bool = False) -> str:  # type: ignore[override]  # as bytes
        lines = (self._rest + data).splitlines(keepends=True)
        self._rest = b""
        return "".join(self._decoded(line, final) for line in lines)

    def _decoded(self, line: bytes, final: bool) -> str:
        """A line or a piece of one."""
        is_whole = line.endswith((b"\n", b"\r"))
        try:
            n_good = (
                0 if self._is_old else codecs.utf_8_decode(line, "strict", final or is_whole)[1]
            )
        except UnicodeDecodeError as error:
            self._is_old, n_good = True, error.start
            self._tell()
        good, rest = line[:n_good].decode(), line[n_good:]
        if not self._is_old:
            self._rest = rest
            return good
        self._is_old = not is_whole
        return good + rest.decode(_OLD, errors="replace")

    def _tell(self) -> None:
        if self._remark:
            self._remark(_READ_AS_OLD)
        self._remark = None

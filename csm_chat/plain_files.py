"""Files that somebody left in a folder: read whole if they are files of a sane size, as text."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

TEXT_BYTES = 1_000_000  # a script of 150 000 words; what is larger is something else

# longest first: UTF-32's mark begins with UTF-16's
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ZEROS_SHARE = 0.3  # of every second byte: what UTF-16 of a Latin script exceeds by far


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
        # what Windows editors wrote before UTF-8; it reads nearly any bytes, so it is said
        text = data.decode("cp1252", errors="replace")
        return Decoded(text, "is not UTF-8: read as Windows-1252, check its accents")


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

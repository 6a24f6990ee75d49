"""Clips on disk, written: whole, or not at all, and over no other file. Knows no device."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csm_chat.audio.clips import BLOCK_FRAMES, FULL_SCALE
from csm_chat.errors import TakeError
from csm_chat.types import SAMPLE_RATE, Pcm

SUBTYPES = {
    "wav": "PCM_16",
    "flac": "PCM_16",
    "mp3": "MPEG_LAYER_III",
    "ogg": "VORBIS",
}

ANOTHER_NAME = "give another name"
# what to do about a failure to write; {0} is how to write elsewhere
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, or {0}",
    errno.EDQUOT: "your share of the disk is full: free some space, or {0}",
    errno.EFBIG: "no file may be that large there: {0}",
    errno.EROFS: "that disk is read-only: {0}",
    errno.EACCES: "you may not write there: change its permissions, or {0}",
    errno.EPERM: "you may not write there: change its permissions, or {0}",
    errno.ENOENT: "its folder is gone: make it again, or {0}",
    errno.ENOTDIR: "a file is in the place of its folder: move that away, or {0}",
    errno.ENAMETOOLONG: "the name is too long: {0}",
}


def unsaved(path: Path, error: OSError, otherwise: str, what: str = "saved") -> TakeError:
    """The error for a file that cannot be written; `otherwise` is how to have it elsewhere."""
    advice = _ADVICE.get(error.errno or 0, "{0}").format(otherwise)
    return TakeError(f"{path}: cannot be {what} ({error.strerror}); {advice}", error.errno)


def write_clip(
    path: Path, pcm: Pcm, *, replace: bool = False, otherwise: str = ANOTHER_NAME
) -> None:
    """Write wav, flac (16 bit), mp3 or ogg, by the name's ending; whole, or not at all.

    Raises TakeError with the system's words, and unless `replace` when a file of that name exists.
    """
    format_name = path.suffix[1:].lower()
    if format_name not in SUBTYPES:
        raise TakeError(f"{path}: cannot write {path.suffix or 'a name without an ending'}; "
                        f"name it {', '.join('.' + name for name in SUBTYPES)}")  # fmt: skip
    if path.exists() and not replace:
        raise TakeError(f"{path}: exists already; nothing is overwritten, give another name")
    encoded = _encoded(pcm, format_name)
    try:
        part, file = create_free(path.with_name(path.name + ".part"))
        try:
            with file:
                write_all(file, encoded)
            if replace:
                part.replace(path)
            else:
                move_exclusive(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise unsaved(path, error, otherwise) from error


def _encoded(pcm: Pcm, format_name: str) -> bytes:
    # into memory, because libsndfile keeps a full disk's error number to itself
    import soundfile

    buffer = io.BytesIO()
    subtype = SUBTYPES[format_name]
    with soundfile.SoundFile(buffer, "w", SAMPLE_RATE, 1, subtype, format=format_name) as out:
        # in blocks: libsndfile's Vorbis encoder overflows the stack when handed minutes at once
        for start in range(0, len(pcm), BLOCK_FRAMES):
            block = pcm[start : start + BLOCK_FRAMES]
            out.write(to_16_bit(block) if subtype == "PCM_16" else np.clip(block, -1, 1))
    return buffer.getvalue()


def to_16_bit(pcm: Pcm) -> npt.NDArray[np.int16]:
    """Samples as files of 16 bits hold them: rounded to the nearest step, what is louder cut off.

    Read and written again they stay as they are.
    """
    return np.rint(np.clip(pcm, -1, FULL_SCALE) * 32768).astype("<i2")


def from_16_bit(samples: npt.NDArray[np.int16]) -> Pcm:
    return samples.astype(np.float32) / np.float32(32768)


def free_names(path: Path) -> Iterator[Path]:
    """`a.wav`, then `a-2.wav`, `a-3.wav` ..."""
    yield path
    for number in range(2, 1000):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def next_free(path: Path) -> Path:
    """The first of `free_names` that is not there now; `path` itself if all are."""
    return next((name for name in free_names(path) if not name.exists()), path)


def create_free(path: Path) -> tuple[Path, io.FileIO]:
    """Create a file of that name, or of the next free one; unbuffered, and held. Raises OSError."""
    for candidate in free_names(path):
        try:
            file = candidate.open("x+b", buffering=0)
        except FileExistsError:
            continue
        hold(file)
        return candidate, file
    raise _all_taken(path)


def move_free(source: Path, target: Path) -> Path:
    """`move_exclusive` to that name or the next free one; which it was. Raises OSError."""
    for candidate in free_names(target):
        with contextlib.suppress(FileExistsError):
            move_exclusive(source, candidate)
            return candidate
    raise _all_taken(target)


def _all_taken(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "a thousand files of that name exist", str(path))


def hold(file: io.FileIO) -> bool:
    """Say that a program is at work on an open file; False if another one is.

    The system forgets it when the file is closed or the program dies. Windows needs no telling: a
    file that is open there cannot be renamed. Where a disk has no locks, nothing is known: False.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write to an unbuffered file, which may take a part at a time. Raises OSError."""
    left = memoryview(data)
    while len(left):
        left = left[file.write(left) :]


def move_exclusive(source: Path, target: Path) -> None:
    """Rename, atomically and never over another file. Raises FileExistsError and other OSErrors.

    Only some systems can rename exclusively and only some file systems can link. Creating the name
    exclusively and then replacing that empty file works on all of them; a crash between the two
    leaves an empty file.
    """
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.link(source, target)  # a full disk may have no room for an empty file
        source.unlink()
        return
    try:
        source.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise

"""Clips on disk, written: whole, or not at all, and over no other file. Knows no device."""

from __future__ import annotations

import errno
import io
import os
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


def write_clip(path: Path, pcm: Pcm, *, replace: bool = False) -> None:
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
        raise TakeError(f"{path}: cannot be saved ({error.strerror}); give another name") from error


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


def create_free(path: Path) -> tuple[Path, io.FileIO]:
    """Create a file of that name, or of the next free one; unbuffered. Raises OSError."""
    for candidate in free_names(path):
        try:
            return candidate, candidate.open("xb", buffering=0)
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, "a thousand files of that name exist", str(path))


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
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        source.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise

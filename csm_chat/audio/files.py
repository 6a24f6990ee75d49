"""Clips on disk: any format to mono 24 kHz and back. Knows no device and no model."""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from csm_chat.errors import AudioError, TakeError
from csm_chat.types import SAMPLE_RATE, Pcm

if TYPE_CHECKING:
    import soundfile

FULL_SCALE = 1 - 2**-15  # the largest positive 16-bit sample
BLOCK_FRAMES = 1 << 16
RATES_HZ = range(
    4_000, 768_001
)  # below: no speech left; a forged header could ask for any amount of memory
SUBTYPES = {
    "wav": "PCM_16",
    "flac": "PCM_16",
    "mp3": "MPEG_LAYER_III",
    "ogg": "VORBIS",
}
WINDOW_S = 0.02
QUIET_RATIO = (
    0.01  # 40 dB under the clip's loud windows: room noise is below, soft consonants are above
)
LOUD_PERCENTILE = 95.0


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A clip read from disk, and what it was there."""

    pcm: Pcm
    source_rate: int  # Hz
    source_channels: int
    seconds: float  # before resampling
    clipped_share: float  # of the source's samples, those at full scale; 0 - 1


def read_clip(path: Path) -> Clip:
    """Read any format libsndfile reads. Raises AudioError with the file's name and the reason."""
    import soundfile

    _check_readable(path)
    try:
        with soundfile.SoundFile(path) as source:
            if source.samplerate not in RATES_HZ:
                raise AudioError(
                    f"{path}: sample rate {source.samplerate} Hz is outside "
                    f"{RATES_HZ.start} - {RATES_HZ.stop - 1} Hz; convert the file"
                )
            mono, clipped_share = _mixed_down(source)
            rate, channels = source.samplerate, source.channels
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".")
        raise AudioError(
            f'{path}: not readable as audio (libsndfile: "{reason}"); use wav, flac, mp3 or ogg'
        ) from error
    except TypeError as error:  # soundfile's answer to headerless .raw files
        raise AudioError(
            f"{path}: headerless audio has no sample rate; convert it to wav"
        ) from error
    if not len(mono):
        raise AudioError(f"{path}: holds no samples; record or export it again")
    if not np.isfinite(mono).all():
        raise AudioError(
            f"{path}: holds samples that are not numbers (NaN or infinity); export it again"
        )
    pcm = np.clip(resample(mono, rate, SAMPLE_RATE), -1, 1)
    return Clip(pcm, rate, channels, len(mono) / rate, clipped_share)


def _check_readable(path: Path) -> None:
    # libsndfile answers "System error" to all of these
    try:
        if path.is_dir():
            raise AudioError(f"{path}: is a folder, not an audio file")
        if path.exists() and not path.is_file():
            raise AudioError(f"{path}: is not a regular file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened ({error.strerror})") from error


def _mixed_down(source: soundfile.SoundFile) -> tuple[Pcm, float]:
    """Mono samples at the source's rate, and the share of source samples at full scale."""
    blocks: list[Pcm] = []
    n_clipped = 0
    n_samples = 0
    # not `source.blocks`: where a cut file has fewer frames than it says, that hands out memory
    # nobody wrote
    while len(block := source.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        n_clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
        n_samples += block.size
        blocks.append(block.mean(axis=1, dtype=np.float32))
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return mono, n_clipped / max(1, n_samples)


def resample(pcm: npt.NDArray[np.float32], from_rate: int, to_rate: int) -> npt.NDArray[np.float32]:
    """Resample mono audio: n samples to about n * to_rate / from_rate."""
    if from_rate == to_rate:
        return pcm
    import soxr

    resampled: npt.NDArray[np.float32] = soxr.resample(pcm, from_rate, to_rate, quality="VHQ")
    return resampled


def trim_silence(pcm: Pcm, max_pause_s: float = 0.5, margin_s: float = 0.05) -> tuple[Pcm, float]:
    """Cut silent ends down to `margin_s` and inner pauses to `max_pause_s`.

    Also returns the seconds removed. A clip that is silent throughout comes back empty.
    """
    window = round(WINDOW_S * SAMPLE_RATE)
    spoken = _spoken_windows(pcm, window)
    kept = _kept_windows(spoken, round(max_pause_s / WINDOW_S), -int(-margin_s // WINDOW_S))
    trimmed = pcm[np.repeat(kept, window)[: len(pcm)]]
    return trimmed, (len(pcm) - len(trimmed)) / SAMPLE_RATE


def _spoken_windows(pcm: Pcm, window: int) -> npt.NDArray[np.bool_]:
    n_windows = -(-len(pcm) // window)
    padded = np.zeros(n_windows * window, np.float32)
    padded[: len(pcm)] = pcm
    rms = np.sqrt(np.square(padded.reshape(n_windows, window)).mean(axis=1))
    loud = float(np.percentile(rms, LOUD_PERCENTILE)) if n_windows else 0.0
    spoken: npt.NDArray[np.bool_] = rms > loud * QUIET_RATIO
    return spoken


def _kept_windows(
    spoken: npt.NDArray[np.bool_], max_pause: int, margin: int
) -> npt.NDArray[np.bool_]:
    kept = np.zeros(len(spoken), np.bool_)
    positions = np.flatnonzero(spoken)
    if not len(positions):
        return kept
    kept[max(0, positions[0] - margin) : positions[-1] + 1 + margin] = True
    for before, after in itertools.pairwise(positions):
        n_quiet = after - before - 1
        if n_quiet > max_pause:
            head = before + 1 + max_pause // 2  # the cut falls in the middle, away from both words
            kept[head : head + n_quiet - max_pause] = False
    return kept


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

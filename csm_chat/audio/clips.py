"""Clips on disk, read: any format to mono 24 kHz. Knows no device, no model, and writes nothing."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from csm_chat.audio.wav_sizes import with_true_sizes
from csm_chat.errors import AudioError
from csm_chat.plain_files import open_regular
from csm_chat.types import SAMPLE_RATE, Pcm

if TYPE_CHECKING:
    import soundfile

FULL_SCALE = 1 - 2**-15  # the largest positive 16-bit sample
BLOCK_FRAMES = 1 << 16
# below: no speech left; a forged header could ask for any amount of memory
RATES_HZ = range(4_000, 768_001)
WINDOW_S = 0.02
# 40 dB under the clip's loud windows: room noise is below, soft consonants are above
QUIET_RATIO = 0.01
LOUD_PERCENTILE = 95.0


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A clip read from disk, and what it was there."""

    pcm: Pcm
    source_rate: int  # Hz
    source_channels: int
    seconds: float  # that were read
    clipped_share: float  # of the source's samples, those at full scale; 0 - 1
    is_whole: bool = True  # False: it goes on behind what was read
    remark: str | None = None  # what is wrong with the file, though it was read


def read_clip(path: Path, max_s: float | None = None) -> Clip:
    """Read any format libsndfile reads, the first `max_s` seconds of it (all where that is None).

    What is behind them is not decoded, so that a small file of hours of silence takes no memory.
    Raises AudioError with the file's name and the reason.
    """
    with _opened(path) as (source, remark):
        rate, channels = source.samplerate, source.channels
        blocks = _Blocks(source, None if max_s is None else round(max_s * rate))
        pcm = np.concatenate([np.zeros(0, np.float32), *_resampled(blocks, rate)])
    _check_any(path, blocks)
    return Clip(
        _checked(path, pcm),
        rate,
        channels,
        blocks.n_frames / rate,
        blocks.clipped_share,
        blocks.is_whole,
        remark,
    )


def header_remark(path: Path) -> str | None:
    """What is wrong with a file that is read all the same. Raises AudioError."""
    with _opened(path) as (_, remark):
        return remark


def clip_blocks(path: Path) -> Iterator[Pcm]:
    """What `read_clip` reads, block by block, in memory that does not grow with the file.

    Raises AudioError, while it is read.
    """
    with _opened(path) as (source, _):
        blocks = _Blocks(source, None)
        for pcm in _resampled(blocks, source.samplerate):
            yield _checked(path, pcm)
    _check_any(path, blocks)


def _check_any(path: Path, blocks: _Blocks) -> None:
    if not blocks.n_frames:
        raise AudioError(f"{path}: holds no samples; record or export it again")


def _checked(path: Path, pcm: Pcm) -> Pcm:
    if not np.isfinite(pcm).all():
        raise AudioError(
            f"{path}: holds samples that are not numbers (NaN or infinity); export it again"
        )
    return np.clip(pcm, -1, 1)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[soundfile.SoundFile, str | None]]:
    """A file of sound, and what is wrong with its header. Raises AudioError, also within."""
    import soundfile

    with _regular(path) as file:
        repaired = with_true_sizes(file)
        try:
            with soundfile.SoundFile(repaired.file) as source:
                if source.samplerate not in RATES_HZ:
                    raise AudioError(
                        f"{path}: sample rate {source.samplerate} Hz is outside "
                        f"{RATES_HZ.start} - {RATES_HZ.stop - 1} Hz; convert the file"
                    )
                yield source, repaired.remark
        except soundfile.LibsndfileError as error:
            reason = error.error_string.strip().rstrip(".")
            raise AudioError(
                f'{path}: not readable as audio (libsndfile: "{reason}"); use wav, flac, mp3 or ogg'
            ) from error


def _regular(path: Path) -> io.BufferedReader:
    if path.suffix.lower() == ".raw":
        raise AudioError(f"{path}: headerless audio has no sample rate; convert it to wav")
    try:
        return open_regular(path)
    except IsADirectoryError as error:
        raise AudioError(f"{path}: is a folder, not an audio file") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened ({error.strerror})") from error


class _Blocks:
    """Mono blocks of a file, at its own rate, and what there was to see in them."""

    def __init__(self, source: soundfile.SoundFile, max_frames: int | None) -> None:
        self._source = source
        self._n_channels: int = source.channels
        self._max_frames = max_frames
        self.n_frames = 0
        self._n_clipped = 0
        self.is_whole = True

    @property
    def clipped_share(self) -> float:
        return self._n_clipped / max(1, self.n_frames * self._n_channels)

    def __iter__(self) -> Iterator[Pcm]:
        # not `source.blocks`: where a cut file has fewer frames than it says, that hands out
        # memory nobody wrote
        while len(block := self._source.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
            if self._max_frames is not None and self.n_frames + len(block) > self._max_frames:
                block = block[: self._max_frames - self.n_frames]
                self.is_whole = False
            self.n_frames += len(block)
            self._n_clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
            yield block.mean(axis=1, dtype=np.float32)
            if not self.is_whole:
                return


def _resampled(blocks: _Blocks, rate: int) -> Iterator[Pcm]:
    """Blocks at 24 kHz, as `resample` would give the whole."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="VHQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


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

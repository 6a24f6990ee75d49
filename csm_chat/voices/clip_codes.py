"""What is kept of a reference clip, and its codes in a cache on disk."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from csm_chat.audio.clips import Clip, read_clip, trim_silence
from csm_chat.errors import VoiceError
from csm_chat.notices import ClipCodesUnsaved, KeptCodesDamaged, Listener
from csm_chat.plain_files import read_bytes
from csm_chat.types import FRAME_SAMPLES, FRAMES_PER_S, SAMPLE_RATE, Codec, Codes, Pcm
from csm_chat.voices.references import replace_file

logger = logging.getLogger(__name__)

PROCESSING = 2  # raise it when the same clip gives other samples: cached codes are made anew
MIN_S = 1.0  # of speech; less holds no voice to copy
SHORT_S = 3.0
LEVEL_DBFS = -20.0  # RMS that all clips are brought to, as the model copies loudness too
PEAK = 0.95
QUIET_DBFS = -45.0
SILENT_DBFS = -65.0
CLIPPED_SHARE = 0.001
OFFSET = 0.003  # of full scale: a mean above it is a fault of the recorder, not speech
# of a clip, decoded to look for speech: hours of silence in a small file would fill the memory
READ_S = 300.0
CACHE_BYTES = 4_000_000  # 90 s are 144 kB; a larger file is none of ours
# The model goes on from the last frames it is given. A clip that ends inside a sound leaks that
# sound into the first word spoken, so each one ends in about a third of a second of silence.
TAIL = np.zeros(4 * FRAME_SAMPLES, np.float32)
# what reading a cache file that holds something else raises
DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, RecursionError, EOFError),
    *(MemoryError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, slots=True)
class Note:
    """What became of a clip."""

    speech_s: float  # seconds after trimming
    kept_s: float  # seconds of these that are kept
    done: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def cut(self) -> bool:
        return self.kept_s < self.speech_s


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """Speech at the common level, with a silent tail."""

    pcm: Pcm
    note: Note


def excerpt(path: Path, max_s: float) -> Excerpt:
    """Read a clip, trim its silences, keep the first `max_s` of speech, bring it to the level.

    Raises AudioError for what cannot be read, VoiceError for what cannot serve.
    """
    clip = read_clip(path, READ_S)
    offset = float(clip.pcm.mean())
    has_offset = abs(offset) > OFFSET
    speech, removed_s = trim_silence(clip.pcm - np.float32(offset) if has_offset else clip.pcm)
    if _dbfs(speech) < SILENT_DBFS:
        where = "is silent" if clip.is_whole else f"is silent for its first {READ_S:.0f} s"
        raise VoiceError(f"{path}: {where}; record it again, closer or louder")
    kept = speech[: _cut_sample(speech, max_s)]
    speech_s, kept_s = len(speech) / SAMPLE_RATE, len(kept) / SAMPLE_RATE
    if kept_s < MIN_S:
        raise VoiceError(f"{path}: {kept_s:.1f} s of speech; a voice needs {SHORT_S:.0f} s or more")
    done = _done(clip, removed_s, speech_s, kept_s)
    note = Note(speech_s, kept_s, done, _warnings(clip, kept, kept_s, has_offset))
    return Excerpt(np.concatenate([_levelled(kept), TAIL]), note)


def _cut_sample(speech: Pcm, max_s: float) -> int:
    """Where to end: in the middle of the quietest spot of the last 40 % allowed."""
    limit = round(max_s * SAMPLE_RATE)
    if len(speech) <= limit:
        return len(speech)
    window, hop = FRAME_SAMPLES * 2, FRAME_SAMPLES // 4
    starts = np.arange(round(limit * 0.6), limit - window, hop)
    if not len(starts):
        return limit
    energy = np.concatenate([[0.0], np.cumsum(np.square(speech[:limit], dtype=np.float64))])
    quiet = energy[starts + window] - energy[starts]
    latest = len(quiet) - 1 - int(np.argmin(quiet[::-1]))
    return int(starts[latest]) + window // 2


def _dbfs(pcm: Pcm) -> float:
    mean_square = float(np.square(pcm, dtype=np.float64).mean()) if len(pcm) else 0.0
    return 10 * float(np.log10(max(mean_square, 1e-20)))


def _levelled(pcm: Pcm) -> Pcm:
    gain = 10 ** ((LEVEL_DBFS - _dbfs(pcm)) / 20)
    peak = float(np.abs(pcm).max())
    levelled: Pcm = pcm * np.float32(min(gain, PEAK / peak))
    return levelled


def _done(clip: Clip, removed_s: float, speech_s: float, kept_s: float) -> tuple[str, ...]:
    done = []
    if (clip.source_rate, clip.source_channels) != (SAMPLE_RATE, 1):
        channels = {1: "mono", 2: "stereo"}.get(
            clip.source_channels, f"{clip.source_channels} channels"
        )
        done.append(
            f"{channels} {clip.source_rate / 1000:g} kHz -> mono {SAMPLE_RATE / 1000:g} kHz"
        )
    if kept_s < speech_s:
        more = "" if clip.is_whole else "more than "
        done.append(
            f"{more}{speech_s:.1f} s of speech, the first {kept_s:.1f} s kept "
            "(context.max_reference_s)"
        )
    elif removed_s >= 0.1:
        done.append(f"{kept_s:.1f} s kept of {clip.seconds:.1f} (silence trimmed)")
    else:
        done.append(f"{kept_s:.1f} s")
    return tuple(done)


def _warnings(clip: Clip, kept: Pcm, kept_s: float, has_offset: bool) -> tuple[str, ...]:
    warnings = [clip.remark] if clip.remark else []
    if has_offset:
        warnings.append("off centre (a DC offset): brought back to the middle")
    if kept_s < SHORT_S:
        warnings.append(f"short: {SHORT_S:.0f} s or more sound more alike")
    if clip.clipped_share > CLIPPED_SHARE:
        warnings.append(
            f"clipped ({clip.clipped_share:.1%} of it at full scale): expect harsh sound"
        )
    level = _dbfs(kept)
    if level < QUIET_DBFS:
        warnings.append(f"very quiet ({level:.0f} dBFS): raised, and its noise with it")
    return tuple(warnings)


class CodeCache:
    """Codes and cut transcripts by what they are made from.

    A file that cannot be used is told of, removed and made anew: it never stops a start.
    """

    def __init__(self, folder: Path, codec: Codec, tell: Listener) -> None:
        self._folder = folder
        self._codec = codec
        self._made_by = f"{PROCESSING} {codec.identity} {codec.codebooks}"
        self._tell = tell
        self._told = False

    def encode(self, path: Path, digest: str, max_s: float) -> tuple[Codes, Note, bool]:
        """Codes of a clip whose content has this digest; the last value says if they were here."""
        file = self._file(digest, max_s, ".npz")
        try:
            return *_read_codes(file, self._codec, max_s), True
        except FileNotFoundError:
            pass
        except DAMAGED as error:
            self._discard(file, path, error)
        kept = excerpt(path, max_s)
        codes = self._codec.encode(kept.pcm)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, codes=codes, note=np.array(json.dumps(asdict(kept.note))))
        self._write(file, buffer.getvalue())
        return codes, kept.note, False

    def read_text(self, digest: str, max_s: float) -> str | None:
        """What is said in the kept part of a clip, if it was saved."""
        file = self._file(digest, max_s, ".json")
        try:
            text = json.loads(read_bytes(file))["text"]
            if not isinstance(text, str):
                raise ValueError(f"text is {type(text).__name__}")
            return text
        except FileNotFoundError:
            return None
        except DAMAGED as error:
            self._discard(file, file, error)
            return None

    def write_text(self, digest: str, max_s: float, text: str) -> None:
        self._write(self._file(digest, max_s, ".json"), json.dumps({"text": text}).encode())

    def _file(self, digest: str, max_s: float, ending: str) -> Path:
        key = hashlib.sha256(f"{digest} {max_s} {self._made_by}".encode()).hexdigest()
        return self._folder / f"{key[:32]}{ending}"

    def _discard(self, file: Path, of: Path, error: Exception) -> None:
        logger.debug("cache file %s cannot be used (%s)", file, error)
        self._tell(KeptCodesDamaged(of.name, self._folder))
        with suppress(OSError):  # what cannot be removed is replaced when it is written
            file.unlink()

    def _write(self, file: Path, data: bytes) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, data)
        except OSError as error:
            if not self._told:
                self._tell(ClipCodesUnsaved(self._folder, str(error.strerror)))
            self._told = True


def _read_codes(file: Path, codec: Codec, max_s: float) -> tuple[Codes, Note]:
    """What was kept. Raises FileNotFoundError, and one of `DAMAGED` for what cannot be used."""
    content = io.BytesIO(read_bytes(file, CACHE_BYTES))  # numpy leaves a damaged file open
    with zipfile.ZipFile(content) as archive:
        if sum(member.file_size for member in archive.infolist()) > CACHE_BYTES:
            raise ValueError("it unpacks to more than codes take")
    content.seek(0)
    with np.load(content, allow_pickle=False) as saved:
        codes = saved["codes"]
        fields = json.loads(str(saved["note"]))
    note = Note(
        float(fields["speech_s"]),
        float(fields["kept_s"]),
        tuple(str(line) for line in fields["done"]),
        tuple(str(line) for line in fields["warnings"]),
    )
    most_rows = round(max_s * FRAMES_PER_S) + len(TAIL) // FRAME_SAMPLES + 1
    if codes.dtype.kind not in "iu" or codes.ndim != 2 or codes.shape[1] != codec.codebooks:
        raise ValueError(f"it holds {codes.dtype} of shape {codes.shape}")
    if not 0 < len(codes) <= most_rows:
        raise ValueError(f"it holds {len(codes)} frames")
    if codes.min() < 0 or codes.max() >= codec.entries:
        raise ValueError(f"it holds codes from {codes.min()} to {codes.max()}")
    if not 0 < note.kept_s <= note.speech_s < float("inf"):
        raise ValueError(f"it tells of {note.kept_s} s of {note.speech_s}")
    return codes.astype(np.int32), note

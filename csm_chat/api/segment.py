"""A segment as callers hand it over: audio of any kind, encoded once. Knows no model."""

from __future__ import annotations

import operator
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from csm_chat import types
from csm_chat.audio.clips import RATES_HZ, read_clip, resample
from csm_chat.errors import AudioError, UsageError
from csm_chat.places import expanded
from csm_chat.types import SAMPLE_RATE, Codec, Codes, Pcm

if TYPE_CHECKING:
    import torch

MAX_CHANNELS = 8
MAX_PEAK = 4.0  # no float recording overshoots so far; what does holds integers

AudioLike: TypeAlias = "torch.Tensor | npt.ArrayLike"


class Segment:
    """Something that was said, as context for what is said next.

        Segment(0, "Hello there.", audio)                    # as `Generator.generate` returned it
        Segment(0, "Hello there.", samples, sample_rate=48_000)
        Segment(0, "Hello there.", audio_path="clips/ana.wav")
        Segment(0, "Hello there.", codes=codes)

    `speaker` is 0 or more, `text` what is said. `audio` is a tensor, an array or a list: mono (n,)
    or with channels, (channels, n) or (n, channels), which are mixed; floats in [-1, 1], or
    integers of 8, 16 or 32 bits; at `sample_rate` Hz. `audio_path` is a file of any format, rate
    and number of channels, read at first use. `codes` are integers (frames, codebooks) without the
    end-of-speech frame; beside audio they are what the model hears. Audio is encoded once, at its
    first use; what `generate` returned is heard as the codes it was made of.

    Raises UsageError and AudioError.
    """

    def __init__(
        self,
        speaker: int,
        text: str,
        audio: AudioLike | None = None,
        *,
        codes: npt.ArrayLike | None = None,
        audio_path: str | Path | None = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        self.speaker = speaker_number(speaker)
        self.text = spoken_text(text)
        if audio is None and codes is None and audio_path is None:
            raise UsageError(f"{self._what}: give audio, audio_path or codes")
        if audio is not None and audio_path is not None:
            raise UsageError(f"{self._what}: give audio or audio_path, not both")
        self._path = None if audio_path is None else expanded(audio_path, "audio_path")
        self._audio = None if audio is None else self._samples(audio, sample_rate)
        self._codes = None if codes is None else self._integers(codes)
        self._encoded: dict[tuple[str, int], Codes] = {}  # by codec

    @property
    def codes(self) -> Codes | None:
        """The codes it was made with, int32 (frames, codebooks); None for one made of audio."""
        return self._codes

    @property
    def audio(self) -> torch.Tensor:
        """Mono samples at 24 kHz, float32 (n,) on the CPU; the tensor given, if it is that already.

        Raises AudioError when its file cannot be read, UsageError for a segment of codes alone.
        """
        if self._audio is None:
            import torch

            if self._path is None:
                raise UsageError(f"{self._what}: is made of codes and holds no audio")
            self._audio = torch.from_numpy(read_clip(self._path).pcm)
        return self._audio

    def encoded(self, codec: Codec, sampled: SampledCodes | None = None) -> types.Segment:
        """The segment as a `Voice` or a session takes it, in the codec's codes.

        Audio that `sampled` knows is not encoded. The codec's thread. Raises as `audio` does.
        """
        return types.Segment(self.speaker, self.text, self._codes_for(codec, sampled))

    def __repr__(self) -> str:
        return f"Segment({self.speaker}, {self.text!r})"

    @property
    def _what(self) -> str:
        text = self.text if len(self.text) <= 24 else f"{self.text[:23]}…"
        return f'segment of speaker {self.speaker}, "{text}"'

    def _codes_for(self, codec: Codec, sampled: SampledCodes | None) -> Codes:
        if self._codes is not None:
            return self._codes
        key = (codec.identity, codec.codebooks)
        if key not in self._encoded:
            known = sampled.of(self.audio) if sampled else None
            self._encoded[key] = codec.encode(_pcm(self.audio)) if known is None else known
        return self._encoded[key]

    def _samples(self, audio: AudioLike, sample_rate: int) -> torch.Tensor:
        try:
            return samples(audio, sample_rate)
        except AudioError as error:
            raise AudioError(f"{self._what}: {error}") from error

    def _integers(self, codes: npt.ArrayLike) -> Codes:
        array = _array(codes)
        if array.ndim != 2 or array.dtype.kind not in "iu" or not array.size or array.min() < 0:
            raise UsageError(
                f"{self._what}: codes are integers from 0 of shape (frames, codebooks); "
                f"these are {array.dtype} of shape {array.shape}"
            )
        return array.astype(np.int32)


class SampledCodes:
    """What audio was made of, for as long as it is held and unchanged."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int, Codes]] = {}

    def remember(self, audio: torch.Tensor, codes: Codes) -> None:
        key = id(audio)  # a tensor cannot be the key: == compares its samples
        known = self._known
        gone = weakref.ref(audio, lambda _: known.pop(key, None))
        known[key] = (gone, audio._version, codes)

    def of(self, audio: torch.Tensor) -> Codes | None:
        held, version, codes = self._known.get(id(audio), (None, 0, None))
        # its version rises with each change in place
        is_it = held is not None and held() is audio and audio._version == version
        return codes if is_it else None


def speaker_number(speaker: int) -> int:
    """Any integer type, 0 or more. Raises UsageError."""
    try:
        number = operator.index(speaker)
    except TypeError as error:
        raise UsageError(f"speaker {speaker!r} is not a whole number") from error
    if number < 0:
        raise UsageError(f"speaker {number}: the first speaker is 0")
    return number


def spoken_text(text: str) -> str:
    """Text with something in it. Raises UsageError."""
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"text {text!r}: give a string with something to say")
    return text


def samples(audio: AudioLike, sample_rate: int = SAMPLE_RATE) -> torch.Tensor:
    """Audio as `Segment` takes it to mono 24 kHz, float32 (n,) on the CPU. Raises AudioError."""
    import torch

    array = _mono(_scaled(_array(audio)))
    if sample_rate not in RATES_HZ:
        limits = f"{RATES_HZ.start} to {RATES_HZ.stop - 1}"
        raise AudioError(f"sample_rate {sample_rate} is not a whole number of Hz from {limits}")
    if not np.isfinite(array).all():
        raise AudioError("holds samples that are not numbers (NaN or infinity)")
    if (peak := float(np.abs(array).max())) > MAX_PEAK:
        raise AudioError(f"samples reach {peak:g}; floats have to lie between -1 and 1")
    if sample_rate == SAMPLE_RATE and _is_plain(audio):
        assert isinstance(audio, torch.Tensor)
        return audio
    # a copy: the caller may use the buffer again
    pcm = np.array(resample(array, int(sample_rate), SAMPLE_RATE))
    if not len(pcm):
        raise AudioError("holds no samples at 24 kHz")
    return torch.from_numpy(pcm)


def _is_plain(audio: AudioLike) -> bool:
    import torch

    if not isinstance(audio, torch.Tensor) or audio.device.type != "cpu":
        return False
    return audio.dtype == torch.float32 and audio.ndim == 1 and not audio.requires_grad


def _pcm(audio: torch.Tensor) -> Pcm:
    return np.clip(audio.numpy(), -1, 1)


def _array(values: AudioLike) -> npt.NDArray[Any]:
    """Whatever holds numbers, as NumPy has it."""
    import torch

    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        if values.is_floating_point():
            values = values.float()  # NumPy has no bfloat16
        array: npt.NDArray[Any] = values.numpy()
        return array
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise AudioError(f"not readable as an array ({str(error).splitlines()[0]})") from error


def _scaled(array: npt.NDArray[Any]) -> Pcm:
    kind: str = array.dtype.kind
    bits: int = 8 * array.dtype.itemsize
    floats: npt.NDArray[np.float64] = array.astype(np.float64) if kind in "fiu" else np.zeros(0)
    if kind == "i" and bits <= 32:
        return (floats / (1 << (bits - 1))).astype(np.float32)
    if kind == "u" and bits == 8:
        return (floats / 128 - 1).astype(np.float32)
    if kind == "f":
        return floats.astype(np.float32)
    raise AudioError(
        f"samples of type {array.dtype} have no known scale; "
        "give floats in [-1, 1] or integers of 8, 16 or 32 bits"
    )


def _mono(array: Pcm) -> Pcm:
    if not array.size:
        raise AudioError("holds no samples")
    lines = array.squeeze() if array.size > 1 else array.reshape(1)
    if lines.ndim == 1:
        return lines
    channels = min(lines.shape)
    if lines.ndim > 2 or channels > MAX_CHANNELS or channels == max(lines.shape):
        raise AudioError(
            f"shape {array.shape} is not audio; give (n,), (channels, n) or (n, channels)"
        )
    mixed: Pcm = lines.mean(axis=lines.shape.index(channels), dtype=np.float32)
    return mixed

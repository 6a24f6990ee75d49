"""Speech by libespeak-ng, in this process.

The library keeps one voice and one callback for the whole process and is not re-entrant: call
`speak` from one thread, and use processes to go faster (`corpus.background`).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from csm_chat.audio.clips import resample
from csm_chat.errors import UsageError
from csm_chat.training.ears.measures import mel_scale
from csm_chat.training.speech.vocal_tracts import VARIANTS_OWN, Throat, voice_file
from csm_chat.types import SAMPLE_RATE, Pcm

# From espeak-ng's speak_lib.h.
OUTPUT_SYNCHRONOUS = 2
PHONEME_EVENTS = 0x0001
DONT_EXIT = 0x8000
CHARS_UTF8 = 1
POSITION_CHARACTER = 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
FULL_VOLUME = 100
SYNTH_ARGUMENTS = (
    *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
    *(ctypes.c_void_p, ctypes.c_void_p),
)

NO_MORE_EVENTS, PHONEME_EVENT = 0, 7
STRESS = "',%=|"  # marks before a vowel's name
PAUSE = "_"  # begins the names of silences


class _Event(ctypes.Structure):
    """espeak_EVENT."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


INT16_SCALE = 1 / 32768
SPEECH_RMS = 0.1  # -20 dBFS
PEAK = 0.95
WINDOW_S = 0.005
QUIET_RATIO = 0.01  # 40 dB under the loudest window
QUICK_LENGTH = SAMPLE_RATE // 10  # its multiples have no large prime, on which an FFT is slow
MARGIN_S = 0.06  # of silence kept or added at both ends

Sex = Literal["male", "female"]


@dataclass(frozen=True, slots=True)
class Phoneme:
    """One that is said."""

    name: str  # espeak-ng's, without stress; "" for a pause
    start: float  # s
    word: int = 0  # where in the text its word begins, characters


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """Speech, and what it is made of."""

    pcm: Pcm
    phonemes: tuple[Phoneme, ...]  # in order


@dataclass(frozen=True, slots=True)
class SyntheticVoice:
    """Settings of espeak-ng that make one person."""

    name: str
    language: str  # a file of espeak-ng-data/lang/gmw: "en" (British), "en-us", "en-029" ...
    variant: str  # a file of espeak-ng-data/voices/!v
    pitch: int  # 0 - 99; 50 is the variant's own
    pitch_range: int  # 0 - 99; 50 is the variant's own
    speed_wpm: int
    sex: Sex
    size: float = 1.0  # of the head: formants and pitch lie this much lower; 1 is the variant's own
    colour: tuple[float, ...] = ()  # nats of the first cosines over the mel scale, see `coloured`
    throat: Throat = VARIANTS_OWN


def _voices(sex: Sex, table: str) -> tuple[SyntheticVoice, ...]:
    """A voice a line: variant, language, pitch, pitch range, words a minute."""
    voices = []
    for line in table.strip().splitlines():
        variant, language, *settings = line.split()
        pitch, pitch_range, speed_wpm = map(int, settings)
        name = f"{variant.lower()}-{language}-{pitch}"
        voice = SyntheticVoice(name, language, variant, pitch, pitch_range, speed_wpm, sex)
        voices.append(voice)
    return tuple(voices)


TRAINING_VOICES = _voices(
    "male",
    """
    m1 en-us 72 50 165
    m2 en 77 50 160
    m3 en-us 67 55 170
    m4 en-gb-x-rp 72 60 165
    m5 en-us 80 50 158
    m6 en 62 50 172
    m7 en-us 77 45 168
    m8 en 72 50 162
    Mike en-us 70 55 175
    Andy en-gb-scotland 74 50 160
    Lee en 80 50 178
    Gene en-us 66 45 166
    victor en-gb-x-rp 82 55 164
    Alex en-us 74 50 170
    robert en 87 50 156
    max en-us 60 50 168
    john en-gb-x-rp 78 45 174
    pablo en-us 72 50 162
    Michael en 72 60 170
    Diogo en-us 78 50 160
    edward en 67 55 164
    ed en-us 56 50 176
    Denis en-029 80 50 158
    m3 en-gb-x-gbclan 74 55 166
    """,
) + _voices(
    "female",
    """
    f1 en-us 50 50 165
    f1 en 62 50 158
    f1 en-gb-x-rp 40 55 172
    f2 en-us 48 50 168
    f2 en 58 45 162
    f2 en-gb-scotland 40 50 166
    f3 en-us 50 55 170
    f3 en-gb-x-rp 60 50 160
    f3 en 42 50 176
    f4 en-us 55 50 164
    f4 en 45 55 170
    f4 en-029 62 50 160
    f5 en 50 50 166
    f5 en-us 40 50 172
    f5 en-gb-x-gbclan 58 50 158
    steph en-us 55 50 164
    steph en 44 50 170
    steph en-gb-x-rp 64 45 160
    belinda en-us 46 50 162
    belinda en 36 55 168
    Alicia en 45 50 176
    Alicia en-us 36 50 180
    aunty en-gb-x-rp 52 50 168
    aunty en-us 62 50 174
    """,
)

# No variant of these is among the training voices. None is one that moves its first two formants
# further apart by half and more (travis, shelby): those say other vowels.
HELD_OUT_VOICES = _voices(
    "male",
    """
    paul en-us 72 50 164
    quincy en-us 80 50 164
    Mario en-us 72 50 160
    rob en-gb-x-rp 78 50 170
    boris en 64 55 172
    sandro en-us 70 50 166
    """,
) + _voices(
    "female",
    """
    linda en-gb-x-rp 32 50 162
    Andrea en 42 50 150
    linda en-us 46 50 166
    Annie en-gb-x-rp 44 50 162
    grandma en 52 50 170
    grandma en-us 38 50 164
    """,
)


class _Espeak:
    """The library, initialised."""

    def __init__(self, library: Path | str, data: Path | None) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.espeak_Synth.argtypes = SYNTH_ARGUMENTS
        data_path = None if data is None else str(data).encode()
        self._rate = int(
            self._library.espeak_Initialize(
                OUTPUT_SYNCHRONOUS, 0, data_path, PHONEME_EVENTS | DONT_EXIT
            )
        )
        if self._rate <= 0:
            raise UsageError(
                f"{library}: libespeak-ng finds no data at {data or 'its own place'}; "
                "install it with `uv sync --group train`"
            )
        self._blocks: list[bytes] = []
        self._phonemes: list[Phoneme] = []
        events = ctypes.POINTER(_Event)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, events)
        self._callback = kind(self._take)  # the library keeps only a pointer to it
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice: SyntheticVoice | None = None
        found = ctypes.c_char_p()
        self._library.espeak_Info(ctypes.byref(found))
        self._data = Path((found.value or b"").decode())

    def _take(self, samples: int | None, n_samples: int, events: Any) -> int:
        if samples and n_samples:
            self._blocks.append(ctypes.string_at(samples, 2 * n_samples))
        i = 0
        while (event := events[i]).type != NO_MORE_EVENTS:
            if event.type == PHONEME_EVENT:
                name = event.name.decode(errors="replace").lstrip(STRESS)
                name = "" if name.startswith(PAUSE) else name
                start, word = event.sample / self._rate, event.text_position - 1
                self._phonemes.append(Phoneme(name, start, word))
            i += 1
        return 0  # go on

    def _set_voice(self, voice: SyntheticVoice) -> None:
        content = voice_file(self._data, voice.language, voice.variant, voice.throat)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "voice"
            path.write_text(content, encoding="utf-8")
            if self._library.espeak_SetVoiceByFile(str(path).encode()) != 0:
                raise UsageError(
                    f"espeak-ng cannot read {path}: it takes 59 characters, none a capital; "
                    "set TMPDIR to such a folder, as /tmp"
                )
        settings = (
            (RATE, round(voice.speed_wpm * voice.size)),
            (VOLUME, FULL_VOLUME),
            (PITCH, voice.pitch),
            (RANGE, voice.pitch_range),
        )
        for parameter, value in settings:
            self._library.espeak_SetParameter(parameter, value, 0)
        self._voice = voice

    def speak(self, text: str, voice: SyntheticVoice) -> Spoken:
        """What the library says, untouched but for the sample rate."""
        if voice != self._voice:
            self._set_voice(voice)
        self._blocks.clear()
        self._phonemes.clear()
        encoded = text.encode()
        status = self._library.espeak_Synth(
            encoded, len(encoded) + 1, 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None
        )
        if status != 0:
            raise UsageError(f"espeak-ng failed (status {status}) on {text!r}; leave that text out")
        samples = np.frombuffer(b"".join(self._blocks), np.int16)
        # slower by `size`, which the rate asked for has made good
        rate = round(self._rate / voice.size)
        pcm = resample(samples.astype(np.float32) * INT16_SCALE, rate, SAMPLE_RATE)
        phonemes = (replace(each, start=each.start * voice.size) for each in self._phonemes)
        return Spoken(pcm, tuple(phonemes))


def _library_and_data() -> tuple[Path | str, Path | None]:
    """Where libespeak-ng is, and its data, None for the place compiled in."""
    if importlib.util.find_spec("espeakng_loader") is not None:
        loader: Any = importlib.import_module("espeakng_loader")
        return Path(loader.get_library_path()), Path(loader.get_data_path())
    found = ctypes.util.find_library("espeak-ng")
    if found is None:
        raise UsageError(
            "libespeak-ng, which speaks the training text, is missing; install it with "
            "`uv sync --group train`, or the system's package (Debian: libespeak-ng1)"
        )
    return found, None


@functools.cache
def _espeak() -> _Espeak:
    return _Espeak(*_library_and_data())


def speak(text: str, voice: SyntheticVoice) -> Spoken:
    """Say `text`: -20 dBFS, about 60 ms of silence at both ends, never empty.

    No two takes are alike to the sample: the library's flutter and noise run on between calls.
    Raises UsageError if libespeak-ng is missing, or has nothing to say for `text`.
    """
    whole = _espeak().speak(text, voice)
    pcm, cut = _trimmed(coloured(whole.pcm, voice.colour))
    if not len(pcm):
        raise UsageError(f"espeak-ng says nothing for {text!r}; give it words")
    gain = SPEECH_RMS / float(np.sqrt(np.mean(np.square(pcm))))
    gain = min(gain, PEAK / float(np.abs(pcm).max()))
    phonemes = (replace(each, start=each.start - cut / SAMPLE_RATE) for each in whole.phonemes)
    return Spoken(pcm * np.float32(gain), tuple(phonemes))


def coloured(pcm: Pcm, colour: Sequence[float]) -> Pcm:
    """As another throat would sound: amplitudes changed by waves over mels, from half a wave on."""
    if not len(colour) or not len(pcm):
        return pcm
    n = -(-len(pcm) // QUICK_LENGTH) * QUICK_LENGTH
    spectrum = np.fft.rfft(pcm, n)
    hz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum))
    place = mel_scale(hz)
    place /= place[-1]
    nats = sum(nat * np.cos(np.pi * n * place) for n, nat in enumerate(colour, 1))
    return np.fft.irfft(spectrum * np.exp(nats), n)[: len(pcm)].astype(np.float32)


def _trimmed(pcm: Pcm) -> tuple[Pcm, int]:
    """Silent ends cut or filled to the margin, and the samples cut before; empty without sound."""
    window = round(WINDOW_S * SAMPLE_RATE)
    n_windows = -(-len(pcm) // window)
    whole = np.zeros(n_windows * window, np.float32)
    whole[: len(pcm)] = pcm
    loudest = np.abs(whole.reshape(n_windows, window)).max(axis=1, initial=0)
    spoken = np.flatnonzero(loudest > QUIET_RATIO * loudest.max(initial=0))
    if not len(spoken):
        return np.zeros(0, np.float32), 0
    margin = round(MARGIN_S * SAMPLE_RATE)
    start = int(spoken[0]) * window - margin
    end = (int(spoken[-1]) + 1) * window + margin
    before, after = max(0, -start), max(0, end - len(whole))
    return np.pad(whole[max(0, start) : end], (before, after)), start

"""Marks by Sony's SilentCipher at 44.1 kHz, the ones that Sesame puts into CSM's speech.

A key is a message of five numbers, and stays in here: no text, repr or error shows it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from csm_chat.audio.clips import resample
from csm_chat.errors import ConfigError, WatermarkError
from csm_chat.types import SAMPLE_RATE, Pcm

KEY_VARIABLE = "CSM_CHAT_WATERMARK_KEY"
CSM_KEY = (212, 211, 146, 56, 201)  # public: SesameAILabs/csm, watermarking.py
N_NUMBERS = 5
RATE_HZ = 44_100
MESSAGE_SDR_DB = 36  # Sesame's, likewise
SILENT_POWER = 1e-12  # SilentCipher divides by it
INSTALL = "pip install 'csm_chat[watermark]' && pip install --no-deps silentcipher"


class SilentCipher:
    """Marks with one key and finds marks of that key. Its networks are slow without a GPU."""

    name = "silentcipher"
    threshold = 0.5  # the five numbers have to be right, too: the library asks for no more

    def __init__(self, model: Any, key: Sequence[int]) -> None:
        """`model` is from `load`, `key` five numbers 0 - 255."""
        self._key = list(key)
        self._model = model
        period = model.config.message_len * model.config.HOP_LENGTH
        step = _period_samples(period)
        # a piece that starts at a multiple of the message's period goes on where the last one was
        self.piece_samples = self.window_samples = 2 * step
        self.before_samples = step
        self.step_samples = step // 2
        self.after_samples = SAMPLE_RATE // 4

    @property
    def words(self) -> str:
        return f"silentcipher, {'CSM' if self._key == list(CSM_KEY) else 'own'} key"

    def mark(self, pcm: Pcm) -> Pcm:
        """Only the mark is resampled; silence stays as it is."""
        import torch

        there = resample(pcm, SAMPLE_RATE, RATE_HZ)
        if float(np.mean(np.square(there))) < SILENT_POWER:
            return pcm
        encoded, _ = self._model.encode_wav(
            there, RATE_HZ, self._key, message_sdr=MESSAGE_SDR_DB, calc_sdr=False
        )
        # numpy's from the package, from Sesame's branch a tensor on the model's device
        marked = torch.as_tensor(encoded).float().cpu().numpy()[: len(there)]
        change = resample(marked - there[: len(marked)], RATE_HZ, SAMPLE_RATE)[: len(pcm)]
        return pcm + np.pad(change, (0, len(pcm) - len(change)))

    def confidences(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.array([self._confidence(each) for each in windows], np.float32)

    def _confidence(self, pcm: Pcm) -> float:
        """How much of the message agrees with itself, 0 if it is another message."""
        there = resample(pcm, SAMPLE_RATE, RATE_HZ)
        answer = self._model.decode_wav(there, RATE_HZ, phase_shift_decoding=True)
        if not answer["status"] or answer["messages"][0] != self._key:
            return 0.0
        return float(answer["confidences"][0])


def own_key(path: Path | None, environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """The key in CSM_CHAT_WATERMARK_KEY, else in the file, else None. Raises ConfigError."""
    if KEY_VARIABLE in environ:
        return _key(environ[KEY_VARIABLE], KEY_VARIABLE)
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"watermark.key_file: {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""  # the error's own text shows what is in the file
    return _key(text, f"watermark.key_file: {path}")


def _key(text: str, where: str) -> tuple[int, ...]:
    words = re.split(r"[\s,]+", text.strip().strip("[]").strip())
    if len(words) == N_NUMBERS and all(re.fullmatch("[0-9]{1,3}", word) for word in words):
        key = tuple(map(int, words))
        if max(key) <= 255:
            return key
    raise ConfigError(f"{where}: a key is {N_NUMBERS} whole numbers 0 - 255, as in: 1 2 3 4 5")


def load() -> Any:
    """The 44.1 kHz model, from the Hugging Face cache or hub.

    Raises WatermarkError if silentcipher is not installed or its model cannot be had.
    """
    if importlib.util.find_spec("silentcipher") is None:
        raise WatermarkError(f"watermark: silentcipher is not installed: {INSTALL}")
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # it says on stdout that it downloads, and stdout is data
        with contextlib.redirect_stdout(sys.stderr):
            silentcipher: Any = importlib.import_module("silentcipher")
            return silentcipher.get_model(model_type="44.1k", device=device)
    except ImportError as error:
        raise WatermarkError(f"watermark: silentcipher needs more ({error}): {INSTALL}") from error
    except (OSError, ValueError, RuntimeError) as error:
        # what the hub's client raises is one of these
        words = str(error).strip().partition("\n")[0]
        raise WatermarkError(
            f"watermark: sony/silentcipher cannot be had ({words}): go online once, "
            "or set watermark.method to perth"
        ) from error


def _period_samples(n_there: int) -> int:
    """The least number of samples that is a multiple of `n_there` samples at RATE_HZ."""
    common = math.gcd(SAMPLE_RATE, RATE_HZ)
    return math.lcm(n_there, RATE_HZ // common) * SAMPLE_RATE // RATE_HZ

"""What Whisper hears in a clip: base judges, tiny.en sorts out what to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from csm_chat.errors import UsageError
from csm_chat.training import kit
from csm_chat.types import SAMPLE_RATE, Pcm

RATE = 16_000


def at_ear_rate(pcm: Pcm) -> npt.NDArray[np.float32]:
    """24 kHz to the 16 kHz that ears take."""
    import soxr

    samples: npt.NDArray[np.float32] = soxr.resample(pcm, SAMPLE_RATE, RATE, quality="HQ")
    return samples


class Whisper:
    """Hears English, greedily, each clip by itself."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """`folder`: weights of faster-whisper. Raises UsageError without that package."""
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise UsageError(
                "package faster-whisper is not installed: uv sync --group ears"
            ) from error
        self._model = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=threads
        )

    def hear(self, samples: npt.NDArray[np.float32]) -> str:
        """The words in samples at 16 kHz."""
        said, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0,
            condition_on_previous_text=False,
        )
        return " ".join(part.text.strip() for part in said)


def base(folder: Path = kit.KIT, threads: int = 1) -> Whisper:
    """The one that judges. Raises UsageError where packages are missing."""
    return Whisper(kit.whisper_base(folder), threads)


def tiny(threads: int = 1) -> Whisper:
    """The one that sorts. Raises UsageError where packages are missing."""
    return Whisper(kit.packaged(kit.TINY, "ears"), threads)

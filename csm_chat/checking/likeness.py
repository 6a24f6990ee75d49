"""Whose voice it is: Resemblyzer's unit vector of a clip (Apache-2.0).

Two clips of one voice have a product near 0.9, of two voices near 0.6. The network is written anew
here, and its weights are read from the package `resemblyzer`, which need not be installed. It
judges, and nothing is ever trained on or against it.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm_chat.errors import LikenessError
from csm_chat.types import Pcm

PACKAGE, WEIGHTS = "resemblyzer", "pretrained.pt"
INSTALL = "uv sync --extra likeness, or pip install --no-deps Resemblyzer"
RATE = 16_000
N_FFT, HOP, N_MELS = 400, 160, 40
WIDTH, LAYERS = 256, 3
PARTIAL_FRAMES, PARTIAL_STEP = 160, 80  # that are heard at once
LEVEL_DB = -30.0  # quieter clips are raised to it
EDGE_DB, EDGE_FRAME, EDGE_HOP = 35.0, 2048, 512  # what is quieter at the ends is cut off
MEL_LINEAR_HZ, MEL_STEP_HZ, MEL_LOG_STEP = 1000.0, 200.0 / 3, np.log(6.4) / 27  # Slaney's scale

Vector = npt.NDArray[np.float32]


class VoiceEncoder(nn.Module):
    """Mels to the vector of a voice. Its parameters are named as the package's."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(N_MELS, WIDTH, LAYERS, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.similarity_weight = nn.Parameter(torch.zeros(1))
        self.similarity_bias = nn.Parameter(torch.zeros(1))

    def forward(self, mels: Tensor) -> Tensor:
        """(parts, PARTIAL_FRAMES, N_MELS) to unit vectors (parts, WIDTH)."""
        states, _ = self.lstm(mels)
        return F.normalize(F.relu(self.linear(states[:, -1])), dim=1)


def weights() -> Path:
    """The network's weights in the package, which is not imported. Raises LikenessError."""
    spec = find_spec(PACKAGE)
    path = Path(spec.origin).parent / WEIGHTS if spec and spec.origin else None
    if path is None or not path.is_file():
        raise LikenessError(f"package {PACKAGE} is not installed ({INSTALL})")
    return path


@functools.cache
def _network() -> VoiceEncoder:
    network = VoiceEncoder()
    stored = torch.load(weights(), map_location="cpu", weights_only=True)
    network.load_state_dict(stored["model_state"])
    return network.eval()


@torch.no_grad()
def voiceprint(samples: Pcm) -> Vector:
    """The unit vector (256,) of samples at 16 kHz. Raises LikenessError without the package."""
    samples = without_edges(samples)
    level_db = 20 * np.log10(np.sqrt((samples**2).mean()) + 1e-9)
    raised = samples * max(1.0, 10 ** ((LEVEL_DB - level_db) / 20))
    heard = _mels(torch.from_numpy(raised.astype(np.float32)))
    lacking = max(0, PARTIAL_FRAMES - len(heard))
    padded = F.pad(heard, (0, 0, 0, lacking))
    parts = padded.unfold(0, PARTIAL_FRAMES, PARTIAL_STEP).mT  # (parts, frames, mels)
    mean: Vector = _network()(parts).mean(0).numpy()
    return mean / np.float32(np.linalg.norm(mean))


def without_edges(samples: Pcm) -> Pcm:
    """Without what is `EDGE_DB` quieter than the loudest frame at either end."""
    padded = np.pad(samples, EDGE_FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, EDGE_FRAME)[::EDGE_HOP]
    power = np.maximum((frames**2).mean(1), 1e-10)
    (loud,) = np.nonzero(10 * np.log10(power / power.max()) > -EDGE_DB)
    return samples[loud[0] * EDGE_HOP : (loud[-1] + 1) * EDGE_HOP]


def _mels(samples: Tensor) -> Tensor:
    """(n,) to powers (frames, N_MELS)."""
    window = torch.hann_window(N_FFT)
    bins = torch.stft(samples, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
    filters = torch.from_numpy(slaney_filters().astype(np.float32))
    return (filters @ bins.abs().square()).T


@functools.cache
def slaney_filters() -> npt.NDArray[np.float64]:
    """Triangles of equal area, even in mels of Slaney's; (N_MELS, N_FFT // 2 + 1)."""
    break_mel = MEL_LINEAR_HZ / MEL_STEP_HZ
    top = break_mel + np.log(RATE / 2 / MEL_LINEAR_HZ) / MEL_LOG_STEP
    mels = np.linspace(0, top, N_MELS + 2)
    high = MEL_LINEAR_HZ * np.exp(MEL_LOG_STEP * (mels - break_mel))
    edges = np.where(mels < break_mel, mels * MEL_STEP_HZ, high)
    bins = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * area[:, None], np.float64)

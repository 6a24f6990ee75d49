"""How natural speech sounds, 1 to 5, by DistillMOS (MIT). Recorded people are at 4.3 to 4.5.

The network is written anew here; its weights are read from the package `distillmos`. It judges,
and nothing is ever trained on or against it.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm_chat.training import kit
from csm_chat.types import Pcm

RATE = 16_000
WINDOW_SAMPLES = 122_880  # that are judged at once
N_FFT, HOP = 320, 160
COMPRESSION = 0.3  # magnitudes are raised to it
WIDTH, HEADS, LAYERS, INNER = 200, 8, 7, 400
CHANNELS = (2, 64, 64, 128, 256, 256, 256)
LONGEST = 384  # steps


class _Pool(nn.Module):
    """Attention that makes one vector of many, and a figure of it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(WIDTH, INNER), nn.Linear(INNER, 1)
        self.linear3 = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, WIDTH) to ()."""
        share = self.linear2(F.relu(self.linear1(x))).softmax(1)
        figure: Tensor = self.linear3((share * x).sum(1))[0, 0]
        return figure


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4 * CHANNELS[-1])
        self.linear_proj = nn.Linear(4 * CHANNELS[-1], WIDTH)
        self.position_encoding = nn.Module()
        self.position_encoding.register_buffer("pe", torch.zeros(1, LONGEST, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, 0.0, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, LAYERS)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_input = nn.BatchNorm1d(4 * CHANNELS[-1])
        self.transformer = _Transformer()
        self.norm_trans = nn.BatchNorm1d(WIDTH)
        self.pool = _Pool()

    def forward(self, x: Tensor) -> Tensor:
        """(1, features, T) to ()."""
        inner = self.transformer
        y = inner.linear_proj(inner.norm(self.norm_input(x)).mT)  # (1, T, WIDTH)
        y = y + inner.position_encoding.get_buffer("pe")[:, : y.shape[1]]
        y = inner.transformer_encoder(y)
        figure: Tensor = self.pool(self.norm_trans(y.mT).mT)
        return figure


class DistillMos(nn.Module):
    """Samples at 16 kHz to a figure. Its parameters are named as the package's."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (given, made) in enumerate(pairwise(CHANNELS)):
            stride = (2 if i else 1, 2 if i == len(CHANNELS) - 2 else 1)
            layers += [nn.Conv2d(given, made, 3, stride, (0, 1)), nn.LeakyReLU(0.1)]
        self.cnn = nn.Module()
        self.cnn.cnn = nn.Sequential(*layers)
        self.transformer_pool_attn = _Attention()

    def forward(self, samples: Tensor) -> Tensor:
        """(WINDOW_SAMPLES,) to ()."""
        loud = samples / (samples.abs().max() + 1e-8)
        padded = F.pad(loud[None], (HOP // 2, HOP // 2), "reflect")
        window = torch.hann_window(N_FFT)
        bins = torch.stft(padded, N_FFT, HOP, window=window, center=False, return_complex=True)
        magnitude = bins.abs().clamp(min=1e-12)
        bins = bins / magnitude * magnitude**COMPRESSION
        features = self.cnn.cnn(torch.stack([bins.real, bins.imag], 1))  # type: ignore[operator]
        logit: Tensor = self.transformer_pool_attn(features.flatten(1, 2))
        return 1 + 4 * logit.sigmoid()


@functools.cache
def _network() -> DistillMos:
    path = kit.packaged(kit.NATURALNESS, "ears")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    network = DistillMos()
    network.load_state_dict(stored["model"])
    return network.eval()


@torch.no_grad()
def naturalness(samples: Pcm) -> float:
    """Of samples at 16 kHz: the mean over windows that begin every second or so.

    Raises UsageError where the package is missing.
    """
    spare = len(samples) - WINDOW_SAMPLES
    if spare < 0:
        samples, spare = np.pad(samples, (0, -spare)), 0
    starts = np.linspace(0, spare, math.ceil(spare / RATE) + 1).astype(int)
    network = _network()
    windows = (torch.from_numpy(samples[start : start + WINDOW_SAMPLES]) for start in starts)
    return float(np.mean([float(network(window)) for window in windows]))

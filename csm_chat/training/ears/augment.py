"""Spectra changed at random, so that a recogniser judges words.

All draws come from torch's own generator.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

QUIETEST_NOISE_DB, LOUDEST_NOISE_DB = -60.0, -12.0
MAX_TILT = 0.8  # nats, of each of the slow waves over mels that make a random room
N_WAVES = 4
MAX_JITTER = 0.7  # nats
MASKED_FRAMES, MASKED_MELS = 12, 10
BLURS = ((9, 1), (5, 5), (1, 9), (15, 3), (3, 3))  # frames of 8 ms, mels


def with_noise(pcm: Tensor) -> Tensor:
    """White noise at a random level below each clip's own, none for a third; (B, n)."""
    level_db = _uniform(pcm, QUIETEST_NOISE_DB, LOUDEST_NOISE_DB)[:, None]
    level = pcm.square().mean(1, keepdim=True).sqrt() * 10 ** (level_db / 20)
    level = level * (_uniform(pcm)[:, None] > 1 / 3)
    noise = torch.empty_like(pcm).normal_()
    return pcm + level * noise


def altered(mels: Tensor) -> Tensor:
    """Log-mels in other rooms, of other bandwidths, through worse codecs; (B, T, mels)."""
    mels = _blurred(_jittered(mels))
    mels = _low_passed(mels + _room(mels))
    return _masked(mels)


def _uniform(like: Tensor, low: float = 0, high: float = 1) -> Tensor:
    """A number a clip."""
    drawn = torch.rand(len(like), device=like.device)
    return low + (high - low) * drawn


def _room(mels: Tensor) -> Tensor:
    positions = (torch.arange(mels.shape[2], device=mels.device) + 0.5) / mels.shape[2]
    waves = torch.arange(1, N_WAVES + 1, device=mels.device)
    shapes = torch.cos(math.pi * waves[:, None] * positions)  # (waves, mels)
    weights = [_uniform(mels, -MAX_TILT, MAX_TILT) for _ in range(N_WAVES)]
    return (torch.stack(weights, 1) @ shapes)[:, None]


def _jittered(mels: Tensor) -> Tensor:
    """Smooth random deviations, as of a codec with too few codes."""
    noise = torch.empty_like(mels).normal_()
    smooth = 3 * F.avg_pool2d(noise, 3, 1, padding=1)  # of unit variance still
    strength = _uniform(mels, -MAX_JITTER, MAX_JITTER).clamp_min(0)
    return mels + strength[:, None, None] * smooth


def _blurred(mels: Tensor) -> Tensor:
    """Averages over time and mels, mixed in to some share; none for half the clips."""
    choice = torch.randint(len(BLURS), (1,), device=mels.device)
    size = BLURS[int(choice)]
    padding = (size[0] // 2, size[1] // 2)
    blurred = F.avg_pool2d(mels, size, 1, padding, count_include_pad=False)
    share = _uniform(mels, -1, 1).clamp_min(0)[:, None, None]
    return torch.lerp(mels, blurred, share)


def _low_passed(mels: Tensor) -> Tensor:
    """The highest mels softer; none for two thirds of the clips."""
    n = mels.shape[2]
    first = _uniform(mels, 0.7 * n, 1.6 * n)[:, None, None]  # 0.7: above 4 kHz
    depth = _uniform(mels, 2, 14)[:, None, None]
    return mels - depth * (torch.arange(n, device=mels.device) >= first)


def _masked(mels: Tensor) -> Tensor:
    """Two short gaps and two narrow bands at the clip's mean."""
    mean = mels.mean((1, 2), keepdim=True)
    for axis, widest in ((1, MASKED_FRAMES), (2, MASKED_MELS)):
        n = mels.shape[axis]
        places = torch.arange(n, device=mels.device)
        for _ in range(2):
            start = _uniform(mels, 0, n)[:, None]
            width = _uniform(mels, 0, widest)[:, None]
            hidden = (places >= start) & (places < start + width)  # (B, n)
            mels = torch.where(hidden.unsqueeze(3 - axis), mean, mels)
    return mels

"""What a voice is made from before it has a colour: pulses at its pitch, and noise.

Pulses are all harmonics alike, as in neural source-filter models (Wang et al., arXiv 1904.12088;
HiFTNet, Li et al., arXiv 2309.09493), here summed in closed form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from csm_chat.codec.spectral.sizes import HOP
from csm_chat.types import SAMPLE_RATE

LOWEST_HZ, HIGHEST_HZ = 50.0, 600.0
_TOP_HZ = SAMPLE_RATE / 2 - 200
_TURN = 2 * math.pi


def phases(hz: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Phase and pitch of each sample between moments HOP apart, pitch changing evenly.

    `hz` is (B, n + 1) and `start` (B,) the phase at the first moment, both float64; returns two
    (B, n * HOP), and the phase at the last moment, (B,), in [0, 2 pi).
    """
    share = torch.arange(HOP, device=hz.device, dtype=hz.dtype) / HOP
    rise = hz[:, 1:] - hz[:, :-1]
    pitch = hz[:, :-1, None] + rise[..., None] * share
    turned = _TURN * HOP / SAMPLE_RATE
    within = turned * (hz[:, :-1, None] * share + rise[..., None] * share.square() / 2)
    ends = start[:, None] + (turned / 2 * (hz[:, 1:] + hz[:, :-1])).cumsum(1)
    begins = torch.cat((start[:, None], ends[:, :-1]), 1)
    end = torch.remainder(ends[:, -1], _TURN)
    return (begins[..., None] + within).flatten(1), pitch.flatten(1), end


def pulses(phase: Tensor, hz: Tensor) -> Tensor:
    """Cosines of all harmonics below 11.8 kHz, of power 1 together; float64 in, float32 out.

    sum(cos(k x)) for k = 1..n is (sin((n + 1/2) x) / sin(x / 2) - 1) / 2, and n where x is 0.
    """
    n = (_TOP_HZ / hz).floor()
    half = torch.remainder(phase, _TURN) / 2
    below = half.sin()
    is_crest = below.abs() < 1e-7
    total = (((2 * n + 1) * half).sin() / torch.where(is_crest, 1.0, below) - 1) / 2
    return (torch.where(is_crest, n, total) * (2 / n).sqrt()).float()

"""Pulses for the decoder: in the original's places, or its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from csm_chat.codec.spectral.nets import TAIL
from csm_chat.codec.spectral.sizes import HOP, WINDOW
from csm_chat.codec.spectral.source import phases, pulses
from csm_chat.types import SAMPLE_RATE


def given_source(hz: Tensor, phase: Tensor, n: int) -> Tensor:
    """Pulses in the original's own places, and noise: (2, B, n + TAIL).

    `hz` and `phase`, (B, moments), are the original's: between moments pitch is bent so that each
    phase is met.
    """
    turned = 2 * math.pi * HOP / SAMPLE_RATE
    hz, phase = hz.double(), phase.double()
    steps = turned / 2 * (hz[:, 1:] + hz[:, :-1])
    missed = phase[:, 1:] - phase[:, :-1] - steps
    missed = torch.remainder(missed + math.pi, 2 * math.pi) - math.pi
    running, pitch, _ = phases(hz, phase[:, 0])
    share = torch.arange(HOP, device=hz.device, dtype=hz.dtype) / HOP
    before = functional.pad(missed.cumsum(1)[:, :-1], (1, 0))
    bent = running + (before[..., None] + missed[..., None] * share).flatten(1)
    tone = pulses(bent, pitch)[:, : n + TAIL]
    return torch.stack((tone, torch.randn_like(tone)))


def own_source(hz: Tensor) -> Tensor:
    """Pulses at pitch (B, steps) where windows end, and noise: (2, B, steps * HOP + TAIL)."""
    moments = torch.cat((hz[:, :1].expand(-1, WINDOW // HOP), hz), 1)
    phase, pitch, _ = phases(moments.double(), moments.new_zeros(len(hz)).double())
    tone = pulses(phase, pitch)
    return torch.stack((tone, torch.randn_like(tone)))

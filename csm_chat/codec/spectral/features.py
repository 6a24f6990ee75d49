"""The spectra of a clip, every 10 ms."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.codec.spectral.sizes import HOP, N_MELS, N_SPECTRA, WINDOW
from csm_chat.types import SAMPLE_RATE

_SIZE = 1024  # samples
_FLOOR = 3e-4  # magnitudes below are silence


class Mels(nn.Module):
    """Log magnitudes of mel bands, in nats, around the middle of each step's window."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", unit_window(_SIZE), persistent=False)
        self.register_buffer("filters", mel_filters(_SIZE, N_MELS), persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        """(B, frames * 1920) to (B, frames, N_SPECTRA)."""
        before = (_SIZE - WINDOW) // 2
        padded = functional.pad(pcm, (before, _SIZE - HOP - before))
        spectra = torch.fft.rfft(padded.unfold(1, _SIZE, HOP) * self.window)
        bands = spectra.abs() @ self.filters.mT
        logs: Tensor = (bands + _FLOOR).log()  # (B, steps, N_MELS)
        return logs.reshape(len(pcm), -1, N_SPECTRA)


def unit_window(size: int) -> Tensor:
    """Hann's, by which noise of power 1 has spectra of power 1."""
    window = torch.hann_window(size)
    return window / window.square().sum().sqrt()


def mel_filters(size: int, n_mels: int) -> Tensor:
    """Triangles of equal weight, evenly spaced in mel (the usual 2595 log10 form); (n_mels, bins).

    Bands narrower than a bin take the nearest one.
    """
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, n_mels + 2) / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = torch.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    filters = triangles.clamp(min=0)
    from_middle = (bins - middle).abs()
    nearest = (from_middle == from_middle.amin(dim=1, keepdim=True)).float()
    filters = torch.where(filters.sum(dim=1, keepdim=True) > 0, filters, nearest)
    return filters / filters.sum(dim=1, keepdim=True)


def bands_to_bins(n_mels: int, n_bins: int) -> Tensor:
    """Weights, (n_mels, n_bins), by which log bands become log magnitudes of bins between them."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    hz = torch.linspace(0, SAMPLE_RATE / 2, n_bins)
    places = 2595 * (1 + hz / 700).log10() / top * (n_mels + 1) - 1
    places = places.clamp(0, n_mels - 1)
    bands = torch.arange(n_mels, device=hz.device)[:, None]
    return (1 - (places - bands).abs()).clamp(min=0)

"""How far a codec's sound is from the original. Knows waveforms, no codec."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.types import SAMPLE_RATE

# window lengths of the short-time spectra, each with its mel bands; hops are a quarter of them.
# Long windows see the harmonics, which mel bands alone do not: without the linear terms pitch
# was not followed
SCALES = ((2048, 80), (1024, 80), (512, 40), (256, 20))
_FLOOR = 1e-3  # magnitudes below are silence; ten times as much hid soft consonants


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the parts in the sum."""

    mel: float = 2.0
    log_magnitude: float = 1.0
    convergence: float = 0.5
    waveform: float = 0.05


class SpectralLoss(nn.Module):
    """Mel, linear-frequency and waveform distances; each is averaged over the scales."""

    def __init__(self, weights: Weights | None = None) -> None:
        super().__init__()
        self._weights = weights or Weights()
        for size, n_mels in SCALES:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)
            self.register_buffer(f"mel_{size}", mel_filters(size, n_mels), persistent=False)

    def forward(self, heard: Tensor, original: Tensor) -> dict[str, Tensor]:
        """Both (B, n), float32. Returns each part and their weighted sum, "spectral_loss"."""
        weights = self._weights
        parts = [self._at(size, heard, original) for size, _ in SCALES]
        mel, log_magnitude, convergence = (
            torch.stack(values).mean() for values in zip(*parts, strict=True)
        )
        waveform = (heard - original).abs().sum() / original.abs().sum().clamp(min=1.0)
        total = (
            weights.mel * mel
            + weights.log_magnitude * log_magnitude
            + weights.convergence * convergence
            + weights.waveform * waveform
        )
        return {
            "spectral_loss": total,
            "mel": mel,
            "log_magnitude": log_magnitude,
            "convergence": convergence,
            "waveform": waveform,
        }

    def _at(self, size: int, heard: Tensor, original: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        window, filters = self.get_buffer(f"window_{size}"), self.get_buffer(f"mel_{size}")
        ours = magnitudes(heard, size, window)  # (B, bins, frames)
        with torch.no_grad():
            theirs = magnitudes(original, size, window)
        mel = functional.l1_loss(_log(filters @ ours), _log(filters @ theirs))
        log_magnitude = functional.l1_loss(_log(ours), _log(theirs))
        # over the batch: a silent clip by itself would be divided by nothing
        convergence = (ours - theirs).norm() / theirs.norm().clamp(min=1.0)
        return mel, log_magnitude, convergence


def magnitudes(pcm: Tensor, size: int, window: Tensor) -> Tensor:
    """(B, n) to (B, size / 2 + 1, frames), scaled so that sizes are comparable."""
    spectrum = torch.stft(
        pcm, size, size // 4, window=window, center=True, normalized=True, return_complex=True
    )
    # the square root's gradient at zero is infinite
    return (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()


def _log(values: Tensor) -> Tensor:
    return (values + _FLOOR).log()


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
    nearest = functional.one_hot((bins - middle).abs().argmin(dim=1), len(bins)).float()
    filters = torch.where(filters.sum(dim=1, keepdim=True) > 0, filters, nearest)
    return filters / filters.sum(dim=1, keepdim=True)

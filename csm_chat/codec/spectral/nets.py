"""The decoder: frames to spectra, and these to samples.

After Vocos (Siuzdak, arXiv 2306.00814): all work is done at 12.5 to 100 Hz, and an inverse STFT
makes the samples. Vocos says magnitude and phase of every bin anew; here spectra of pulses and of
noise are coloured instead, so that phases run on from window to window by themselves, and begin as
the frame's own spectra say.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.codec.spectral.blocks import Blocks, Past
from csm_chat.codec.spectral.features import bands_to_bins
from csm_chat.codec.spectral.quantizer import Frames, pitch_of
from csm_chat.codec.spectral.sizes import (
    CONTOUR,
    FRAME_TAPS,
    HOP,
    N_BINS,
    N_MELS,
    N_SPECTRA,
    SLOW_STEPS,
    STEP_TAPS,
    STEPS,
    WINDOW,
    Sizes,
)
from csm_chat.codec.spectral.source import HIGHEST_HZ, LOWEST_HZ

_FAST = STEPS // SLOW_STEPS
_LEVEL, _SPREAD = -5.0, 2.0  # of log magnitudes, about
_SHARE = -0.35  # log gain to begin with, of two that add up
_LOUDEST, _SOFTEST = 5.0, -14.0
_BEND = 0.1  # octaves that pitch may be moved by, at most
TAIL = WINDOW - HOP  # samples that windows reach beyond their step


class Decoder(nn.Module):
    """Frames to what colours pulses and noise, every 10 ms; sees nothing ahead."""

    window: Tensor
    bins: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        wide = sizes.widening
        self.begin = nn.Linear(N_SPECTRA + CONTOUR, sizes.frame_width)
        self.frames = Blocks(
            sizes.frame_layers, sizes.frame_width, wide, FRAME_TAPS, is_causal=True
        )
        self.to_slow = nn.Linear(sizes.frame_width, SLOW_STEPS * sizes.width)
        self.slow = Blocks(sizes.slow_layers, sizes.width, wide, STEP_TAPS, is_causal=True)
        self.to_steps = nn.Linear(sizes.width, _FAST * sizes.width)
        self.from_spectra = nn.Linear(N_MELS + 2, sizes.width)
        self.steps = Blocks(sizes.step_layers, sizes.width, wide, STEP_TAPS, is_causal=True)
        self.norm = nn.LayerNorm(sizes.width)
        self.colours = nn.Linear(sizes.width, 4 * N_BINS)
        self.bend = nn.Linear(sizes.width, 1)
        self.register_buffer("window", torch.hann_window(WINDOW).sqrt(), persistent=False)
        self.register_buffer("bins", bands_to_bins(N_MELS, N_BINS), persistent=False)
        with torch.no_grad():
            bias = self.colours.bias.view(4, N_BINS)
            bias.zero_()
            bias[:2] = _SHARE
            bias[2] = 1.0
            self.colours.weight.mul_(0.3)
            self.bend.weight.zero_()
            self.bend.bias.zero_()

    def forward(self, frames: Frames, past: Past | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Complex colours of pulses and gains of noise, (B, steps, N_BINS) both, and pitch in Hz,
        (B, steps), as it is where each step's window ends.
        """
        level = (frames.spectra - _LEVEL) / _SPREAD
        x = self.frames(self.begin(torch.cat((level, frames.contour), -1)), past)
        x = _steps(self.to_slow(x), SLOW_STEPS)
        x = _steps(self.to_steps(self.slow(x, past)), _FAST)
        bands = _steps(level, STEPS)
        pitch = torch.stack([_steps(part, STEPS)[..., 0] for part in frames.contour.chunk(2, 2)], 2)
        x = self.norm(self.steps(x + self.from_spectra(torch.cat((bands, pitch), -1)), past))
        voiced, noisy, real, imag = self.colours(x).float().unflatten(2, (4, N_BINS)).unbind(2)
        base = (bands.float() * _SPREAD + _LEVEL) @ self.bins
        loud, noise = ((base + y).clamp(_SOFTEST, _LOUDEST).exp() for y in (voiced, noisy))
        turn = torch.complex(real, imag) / (real.square() + imag.square() + 1e-6).sqrt()
        hz = pitch_of(frames.contour) * torch.exp2(_BEND * self.bend(x).float().squeeze(2).tanh())
        return loud * turn, noise, hz.clamp(LOWEST_HZ, HIGHEST_HZ)

    def coloured(self, source: Tensor, colours: Tensor) -> Tensor:
        """What windows of a source, (B, steps * HOP + TAIL), become: (B, steps, WINDOW)."""
        window = self.window
        spectra = torch.fft.rfft(source.unfold(1, WINDOW, HOP) * window)
        windows: Tensor = torch.fft.irfft(spectra * colours, WINDOW) * (window / 2)
        return windows


def overlapped(windows: Tensor) -> Tensor:
    """Windows HOP apart, (B, steps, WINDOW), added up: (B, steps * HOP + TAIL)."""
    steps = windows.shape[1]
    parts = windows.reshape(len(windows), steps, -1, HOP)  # (B, steps, 4, HOP)
    n = parts.shape[2]
    total = windows.new_zeros(windows.shape[0], steps + n - 1, HOP)
    for i in range(n):
        total = total + functional.pad(parts[:, :, i], (0, 0, i, n - 1 - i))
    return total.flatten(1)


def _steps(x: Tensor, n: int) -> Tensor:
    """(B, m, n * width) to (B, m * n, width)."""
    return x.reshape(len(x), n * x.shape[1], -1)

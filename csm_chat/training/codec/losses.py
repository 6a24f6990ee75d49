"""How far a codec's sound is from the original. Knows waveforms, no codec."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE

# A window is heard either for harmonics or for what follows what. Short ones see the single pulses
# of a low voice. Where these fall is not in the codes, so that noise came nearer to them than
# pulses in other places, and low voices lost their pitch: spectra of short windows are averaged
# over a pulse and more.
HARMONICS = 2048  # window length that tells apart the harmonics of 90 Hz
MELS = ((1024, 80, 3), (512, 40, 5), (256, 20, 8))  # window length, bands, spectra averaged
LOW_HZ = 1500  # below, harmonics are what is heard as pitch
PITCH_WINDOW = 1024  # holds four periods of a low voice
PITCH_LAGS = (48, 320)  # samples: 75 to 500 Hz
WAVES_HZ = 1000  # below, a voice's waves are compared as they are
MAX_SHIFT = 400  # samples: half a period of the lowest voice, and some
QUIET_WAVES = 3e-3  # of the loudest frame's power: frames below it count less
# Magnitudes below are silence. Many a voice has less than 1e-3 above 2.5 kHz, where it is told from
# others, and consonants from each other; 1e-2 hid these whole.
_FLOOR = 3e-4
_TIMBRE_FLOOR = 1e-4  # where someone speaks
_STAYING = 3.0  # weight of what stays of levels over a crop, to each frame's own
_SPOKEN = 2.0  # nats of magnitude below loud spectra
_QUIET = 1e-3  # of the clip's loudest power: added to a spectrum's own before it divides


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the parts in the sum."""

    mel: float = 2.0
    timbre: float = 8.0
    log_magnitude: float = 1.0
    low: float = 1.0
    convergence: float = 1.0
    pitch: float = 5.0


class SpectralLoss(nn.Module):
    """Distances of mel bands over time and of harmonics."""

    def __init__(self, weights: Weights | None = None) -> None:
        super().__init__()
        self._weights = weights or Weights()
        for size, n_mels, _ in MELS:
            self.register_buffer(f"mel_{size}", mel_filters(size, n_mels), persistent=False)
        for size in (HARMONICS, PITCH_WINDOW, *(size for size, _, _ in MELS)):
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, heard: Tensor, original: Tensor) -> dict[str, Tensor]:
        """Both (B, n), float32. Returns each part and their weighted sum, "spectral_loss"."""
        bands = [self._mels(*mel, heard, original) for mel in MELS]
        apart = [(_log(one) - _log(other)).abs().mean() for one, other in bands]
        ours, theirs = (_log(each, _TIMBRE_FLOOR) for each in bands[0])
        parts = {
            "mel": torch.stack(apart).mean(),
            "timbre": _staying(ours - theirs, theirs),
            **self._harmonics(heard, original),
            "pitch": self._pitch(heard, original),
        }
        total = torch.stack([getattr(self._weights, name) * x for name, x in parts.items()]).sum()
        return {"spectral_loss": total, **parts}

    def levels(self, original: Tensor, n_frames: int) -> Tensor:
        """How loud each band of MELS' first is in each of the frames, in nats above a thousandth.

        (B, bands, n_frames): around zero, where a head that has learned nothing begins.
        """
        size = MELS[0][0]
        spectra = magnitudes(original, size, self.get_buffer(f"window_{size}"))
        averaged = functional.adaptive_avg_pool1d(
            self.get_buffer(f"mel_{size}") @ spectra, n_frames
        )
        return _log(1e3 * averaged, 1e3 * _TIMBRE_FLOOR)

    def _mels(
        self, size: int, n_mels: int, n_averaged: int, heard: Tensor, original: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both ones' magnitudes, (B, bands, spectra)."""
        filters = self.get_buffer(f"mel_{size}")

        def bands(magnitudes: Tensor) -> Tensor:
            return filters @ functional.avg_pool1d(
                magnitudes, n_averaged, stride=max(1, n_averaged // 2)
            )

        ours, theirs = self._both(size, heard, original)
        return bands(ours), bands(theirs)

    def _harmonics(self, heard: Tensor, original: Tensor) -> dict[str, Tensor]:
        ours, theirs = self._both(HARMONICS, heard, original)
        log_distance = (_log(ours) - _log(theirs)).abs()
        n_low = LOW_HZ * HARMONICS // SAMPLE_RATE
        error, power = (x.square().sum(1) for x in (ours - theirs, theirs))  # (B, spectra)
        loudest = power.amax(1, keepdim=True).clamp(min=1e-6)
        # the square root's gradient at zero is infinite
        ratio = (error / (power + _QUIET * loudest) + 1e-8).sqrt() - 1e-4
        weight = (power / loudest) ** 0.25  # soft spectra count, loud ones more
        convergence = (ratio * weight).sum() / weight.sum().clamp(min=1.0)
        return {
            "log_magnitude": log_distance.mean(),
            "low": log_distance[:, :n_low].mean(),
            "convergence": convergence,
        }

    def _pitch(self, heard: Tensor, original: Tensor) -> Tensor:
        """How far from the original's the likeness is of waves to those a period before.

        Noise of the right colour has none, wherever the pulses of a voice fall.
        """
        ours, (theirs, power) = self._likeness(heard)[0], self._likeness(original)
        weight = (power / power.amax(1, keepdim=True).clamp(min=1e-6)) ** 0.25
        distance = (ours - theirs).abs().mean(1)  # (B, windows)
        return (distance * weight).sum() / weight.sum().clamp(min=1.0)

    def _likeness(self, pcm: Tensor) -> tuple[Tensor, Tensor]:
        """Autocorrelations at the lags of pitch, (B, lags, windows), and power, (B, windows)."""
        size, window = 2 * PITCH_WINDOW, self.get_buffer(f"window_{PITCH_WINDOW}")
        spectra = torch.stft(
            pcm, size, PITCH_WINDOW // 2, PITCH_WINDOW, window, normalized=True, return_complex=True
        )
        power = spectra.real.square() + spectra.imag.square()
        correlations = torch.fft.irfft(power, dim=1)
        total = correlations[:, 0]
        return correlations[:, slice(*PITCH_LAGS)] / (total[:, None] + 1e-6), total

    def _both(self, size: int, heard: Tensor, original: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitudes (B, bins, spectra); the second ones give no gradients."""
        window = self.get_buffer(f"window_{size}")
        with torch.no_grad():
            theirs = magnitudes(original, size, window)
        return magnitudes(heard, size, window), theirs


def wave_distance(heard: Tensor, original: Tensor, shifts: Tensor, is_voiced: Tensor) -> Tensor:
    """How far waves below WAVES_HZ are from the original's, frame by frame; 1 is like silence.

    Each frame of the original is taken `shifts` samples on, so that a crest of its fundamental is
    in the frame's middle: then pitch alone says where waves are, and codes need not. Waves are
    (B, n), `shifts` and `is_voiced` (B, n / FRAME_SAMPLES); the others give no gradients.
    """
    window = torch.hann_window(FRAME_SAMPLES, periodic=False, device=heard.device)
    n_bins = WAVES_HZ * FRAME_SAMPLES // SAMPLE_RATE
    n_frames = shifts.shape[1]
    padded = functional.pad(original, (MAX_SHIFT, MAX_SHIFT))
    starts = torch.arange(n_frames, device=heard.device) * FRAME_SAMPLES + MAX_SHIFT
    starts = starts + shifts.clamp(-MAX_SHIFT, MAX_SHIFT)
    places = starts[..., None] + torch.arange(FRAME_SAMPLES, device=heard.device)
    shifted = padded.gather(1, places.flatten(1)).view(*shifts.shape, -1)
    theirs = torch.view_as_real(torch.fft.rfft(shifted * window)[..., :n_bins])
    ours = torch.view_as_real(torch.fft.rfft(heard.view(*shifts.shape, -1) * window)[..., :n_bins])
    error, power = (x.square().sum((-2, -1)) for x in (ours - theirs, theirs))  # (B, frames)
    loudest = power.amax(1, keepdim=True)
    ratio = (error / (power + QUIET_WAVES * loudest + 1e-6) + 1e-6).sqrt()
    return (ratio * is_voiced).sum() / is_voiced.sum().clamp(min=1)


def magnitudes(pcm: Tensor, size: int, window: Tensor) -> Tensor:
    """(B, n) to (B, size / 2 + 1, frames), scaled so that sizes are comparable."""
    spectrum = torch.stft(
        pcm, size, size // 4, window=window, center=True, normalized=True, return_complex=True
    )
    # the square root's gradient at zero is infinite
    return (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()


def levels_distance(said: Tensor, levels: Tensor) -> Tensor:
    """How far levels (B, bands, frames) are from what codes say of them, (B, frames, bands)."""
    apart = said.mT - levels
    return apart.abs().mean() + _STAYING * _staying(apart, levels)


def _staying(apart: Tensor, levels: Tensor) -> Tensor:
    """How far levels are apart in the mean where someone speaks, of (B, bands, time) both.

    What stays over a second or more is whose voice it is.
    """
    loudness = levels.mean(1, keepdim=True)
    is_spoken = loudness > loudness.quantile(0.9, dim=2, keepdim=True) - _SPOKEN
    return ((apart * is_spoken).sum(2) / is_spoken.sum(2)).abs().mean()


def _log(values: Tensor, floor: float = _FLOOR) -> Tensor:
    return (values + floor).log()


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

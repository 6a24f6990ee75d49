"""How far a codec's sound is from the original."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.codec.spectral.features import mel_filters, unit_window
from csm_chat.types import SAMPLE_RATE

_SIZES = (2048, 1024, 512, 256)  # window lengths; hops are a quarter
_MEL_SIZE, _N_MELS = 1024, 80
_FLOOR = 3e-4  # magnitudes below are silence
_SMOOTH = (9, 3)  # bins and spectra that power is averaged over
_COHERENT_SIZE = 1024
_WAVES_HZ = 800  # below, waves are compared as they are
_TEXTURE_HZ = 6000
_PATCH = (15, 3)  # bins and spectra, within which only one phase is free
_SOFT = 1e-7  # power that has no texture
_QUIET = 1e-6  # power that counts as none


class SpectralLoss(nn.Module):
    """Distances of log magnitudes, at several resolutions."""

    def __init__(self) -> None:
        super().__init__()
        for size in _SIZES:
            self.register_buffer(f"window_{size}", unit_window(size), persistent=False)
        self.register_buffer("mels", mel_filters(_MEL_SIZE, _N_MELS), persistent=False)

    def forward(self, heard: Tensor, original: Tensor, pulses: Tensor) -> dict[str, Tensor]:
        """All (B, n), float32; `pulses` is the part of `heard` that pulses made."""
        apart, convergence = [], []
        figures: dict[str, Tensor] = {}
        for size in _SIZES:
            ours = _magnitudes(self._spectra(heard, size))
            with torch.no_grad():
                whole = self._spectra(original, size)
                theirs = _magnitudes(whole)
            apart.append((_log(ours) - _log(theirs)).abs().mean())
            error = (ours - theirs).square().sum((1, 2)) + 1e-6
            convergence.append((error / (theirs.square().sum((1, 2)) + 1e-3)).sqrt().mean())
            if size == _MEL_SIZE:
                mels = self.get_buffer("mels")
                figures["mel"] = (_log(mels @ ours) - _log(mels @ theirs)).abs().mean()
            if size == _COHERENT_SIZE:
                figures |= _phases_apart(self._spectra(pulses, size), whole)
        figures["log_magnitude"] = torch.stack(apart).mean()
        figures["convergence"] = torch.stack(convergence).mean()
        return figures

    def _spectra(self, pcm: Tensor, size: int) -> Tensor:
        window = self.get_buffer(f"window_{size}")
        return torch.stft(pcm, size, size // 4, window=window, center=False, return_complex=True)


def _phases_apart(ours: Tensor, theirs: Tensor) -> dict[str, Tensor]:
    """How far pulses are from the original: as waves where these are long, else in texture.

    Asked to be the same waves everywhere, pulses fell silent above 2 kHz, where phases of harmonics
    are not to be known, and voices were whispered. Texture lets each patch of the spectrum turn as
    it may, and be as loud as it may.
    """
    low, high = (hz * _COHERENT_SIZE // SAMPLE_RATE for hz in (_WAVES_HZ, _TEXTURE_HZ))
    return {
        "waves": _incoherence(ours[:, :low], theirs[:, :low]),
        "texture": _unlikeness(ours[:, :high], theirs[:, :high]),
    }


def _incoherence(ours: Tensor, theirs: Tensor) -> Tensor:
    """How much of the original, bin by bin, is not what pulses say; 1 is like silence.

    Relative to the power around each bin.
    """
    around = _around(_power(theirs), _SMOOTH)
    return (_power(ours - theirs) / (around + _QUIET)).clamp(max=10).mean()


def _unlikeness(ours: Tensor, theirs: Tensor) -> Tensor:
    """One less the coherence of patches, (B, bins, spectra) both; 0 where one is the other."""
    product = ours.conj() * theirs
    real, imag = (_around(part, _PATCH) for part in (product.real, product.imag))
    power = _around(_power(theirs), _PATCH)
    both = _around(_power(ours), _PATCH) * power
    coherence = ((real.square() + imag.square() + 1e-16) / (both + 1e-14)).clamp(max=1).sqrt()
    is_heard = power > _SOFT
    return ((1 - coherence) * is_heard).sum() / is_heard.sum().clamp(min=1)


def _around(values: Tensor, patch: tuple[int, int]) -> Tensor:
    padding = (patch[0] // 2, patch[1] // 2)
    return functional.avg_pool2d(values[:, None], patch, 1, padding)[:, 0]


def _power(spectra: Tensor) -> Tensor:
    return spectra.real.square() + spectra.imag.square()


def _magnitudes(spectra: Tensor) -> Tensor:
    # the square root's gradient at zero is infinite
    return (spectra.real.square() + spectra.imag.square() + 1e-9).sqrt()


def _log(values: Tensor) -> Tensor:
    return (values + _FLOOR).log()

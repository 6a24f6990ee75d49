"""Codebooks: what is heard in a frame to codes, and back.

Codebook 0 says what phonemes are heard, as Mimi's does (arXiv 2410.00037, 3.3.2), codebook 1 how
high the voice is; the others say how a frame's spectra differ from the mean of codebook 0's entry,
along their principal components, of which each codebook has some to itself: a distance there is one
of log magnitudes. So nothing but the listener is learned by descent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.codec.spectral.sizes import CONTOUR, N_MELS, N_SPECTRA, STEPS, Sizes

VOICED, OCTAVES = 1.5, 6.0  # of a contour's distance, for a moment's voicing and an octave
_MIDDLE_HZ = 150.0
_LEVEL, _SPREAD = -5.0, 2.0  # of log magnitudes, about
_HIGH_BAND, _HIGH = 86, 0.5  # from 8 kHz on an error counts less


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What codes are made from."""

    spectra: Tensor  # (B, frames, N_SPECTRA), nats
    contour: Tensor  # (B, frames, CONTOUR)


class Listener(nn.Module):
    """Tells phonemes by a frame's spectra and its neighbours'."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.wide = nn.Linear(3 * N_SPECTRA, sizes.listener_width)
        self.narrow = nn.Linear(sizes.listener_width, sizes.said_width)

    def forward(self, spectra: Tensor) -> Tensor:
        """(B, frames, N_SPECTRA) to (B, frames, said width)."""
        n = spectra.shape[1]
        padded = functional.pad(spectra - _LEVEL, (0, 0, 1, 1)) + _LEVEL
        return self.of_middles([padded[:, i : i + n] for i in range(3)])

    def of_middles(self, around: Sequence[Tensor]) -> Tensor:
        """What is heard in the second of three frames, each (..., N_SPECTRA)."""
        level = (torch.cat([*around], -1) - _LEVEL) / _SPREAD
        said: Tensor = self.narrow(functional.gelu(self.wide(level)))
        return said


class Quantizer(nn.Module):
    audible: Tensor  # (N_SPECTRA,): what an error counts
    mean: Tensor  # (N_SPECTRA,)
    basis: Tensor  # (N_SPECTRA, coefficients), orthonormal columns, of spectra times `audible`
    said: Tensor  # (entries, said width)
    said_means: Tensor  # (entries, coefficients): where frames of codebook 0's entries are
    gains: Tensor  # (coefficients,): of what is said of each; means vary less than what they are of
    contours: Tensor  # (entries, CONTOUR)
    heard: Tensor  # (entries, coefficients): each codebook's are in the columns of its share

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        entries, size = sizes.entries, sizes.coefficients
        self.listener = Listener(sizes)
        band_errors = torch.where(torch.arange(N_MELS) < _HIGH_BAND, 1.0, _HIGH)
        self.register_buffer("audible", band_errors.repeat(STEPS), persistent=False)
        self.register_buffer("mean", torch.zeros(N_SPECTRA))
        self.register_buffer("basis", torch.zeros(N_SPECTRA, size))
        self.register_buffer("said", torch.zeros(entries, sizes.said_width))
        self.register_buffer("said_means", torch.zeros(entries, size))
        self.register_buffer("gains", torch.ones(size))
        self.register_buffer("contours", torch.zeros(entries, CONTOUR))
        self.register_buffer("heard", torch.zeros(entries, size))
        self._shares = [*sizes.shares]

    def books(self) -> tuple[Tensor, ...]:
        """The entries of each codebook from FIRST_HEARD on, (entries, share): views."""
        return torch.split(self.heard, self._shares, 1)

    def coefficients(self, spectra: Tensor) -> Tensor:
        return ((spectra - self.mean) * self.audible) @ self.basis

    def encode(self, frames: Frames) -> Tensor:
        """Codes (B, frames, codebooks)."""
        said = nearest(self.said, self.listener(frames.spectra))
        codes = [said, nearest(self.contours, frames.contour)]
        rest = self.coefficients(frames.spectra) - self.said_means[said]
        parts = torch.split(rest, self._shares, -1)
        codes += [nearest(book, part) for book, part in zip(self.books(), parts, strict=True)]
        return torch.stack(codes, -1)

    def decode(self, codes: Tensor) -> Frames:
        """Of (B, frames, n); n may be less than all codebooks."""
        said, contour, *others = codes.unbind(-1)
        parts = [book[entry] for book, entry in zip(self.books(), others, strict=False)]
        parts.append(self.mean.new_zeros(*said.shape, sum(self._shares[len(others) :])))
        total = self.said_means[said] + torch.cat(parts, -1)
        spectra = (total * self.gains) @ self.basis.mT / self.audible + self.mean
        return Frames(spectra, self.contours[contour])


def contour_of(hz: Tensor, is_voiced: Tensor) -> Tensor:
    """Of pitch at moments, (B, frames * STEPS): (B, frames, CONTOUR)."""
    octaves = (hz / _MIDDLE_HZ).log2().reshape(len(hz), -1, STEPS)
    voiced = is_voiced.reshape(len(hz), -1, STEPS)
    octaves = octaves * voiced.any(2, keepdim=True)  # where none is heard none is told
    return torch.cat((OCTAVES * octaves, VOICED * voiced), -1)


def pitch_of(contour: Tensor) -> Tensor:
    """In Hz, (B, frames * STEPS)."""
    return _MIDDLE_HZ * torch.exp2(contour[..., :STEPS] / OCTAVES).flatten(1)


def nearest(book: Tensor, vectors: Tensor) -> Tensor:
    """Which entries, of (entries, width), are nearest to (..., width) vectors."""
    scores = vectors @ book.mT - book.square().sum(1) / 2
    return scores.argmax(-1)

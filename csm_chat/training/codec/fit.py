"""Fit what turns clips into codes: principal components, a listener, and means.

All but the listener is computed, not descended to: codes of half an hour of speech say spectra
better after minutes than those of an encoder that learned by descent for half an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from csm_chat.codec.spectral.analysis import frames_of
from csm_chat.codec.spectral.features import Mels
from csm_chat.codec.spectral.quantizer import Frames, Quantizer
from csm_chat.codec.spectral.sizes import Sizes
from csm_chat.training.codec.data import Clip, floats, sounds_in, whole_frames
from csm_chat.training.speech.sounds import N_SOUNDS, SOUNDS_A_FRAME, sounds_loss

_ROUNDS = 7, 2  # of k-means: over some frames, and over all
_SOME = 40_000
_VARIED = 1.5  # above 1, since a decoder that learned by regression evens out as well
_STILL, _LOUDEST = 1e-9, 4.0  # variance that counts as none, and a gain
_PIECE = 512  # frames whose distances are found at once
_BATCH = 1024  # frames
_RATE = 2e-3
_BLUR = 0.2  # of what the listener says, so that entries near it mean the same


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """All frames there are, clip after clip."""

    frames: Frames  # as a batch of one
    sounds: Tensor  # (frames, SOUNDS_A_FRAME)


def heard(clips: Sequence[Clip]) -> Heard:
    mels = Mels()
    each = [frames_of(whole_frames(floats(clip)), mels, clip.track.heard) for clip in clips]
    counts = [found.spectra.shape[1] for found in each]
    sounds = [sounds_in(clip, 0, n) for clip, n in zip(clips, counts, strict=True)]
    spectra = torch.cat([found.spectra for found in each], 1)
    contour = torch.cat([found.contour for found in each], 1)
    return Heard(Frames(spectra, contour), torch.cat([torch.from_numpy(x) for x in sounds]))


def fit(sizes: Sizes, found: Heard, listener_steps: int) -> Quantizer:
    """A quantiser for these frames."""
    quantizer = Quantizer(sizes)
    _teach(quantizer, found, listener_steps)
    with torch.no_grad():
        _lay_out(quantizer, found.frames)
    return quantizer.requires_grad_(False)


def _teach(quantizer: Quantizer, found: Heard, steps: int) -> None:
    """The listener learns phonemes."""
    head = nn.Linear(quantizer.listener.narrow.out_features, SOUNDS_A_FRAME * N_SOUNDS)
    optimiser = torch.optim.Adam([*quantizer.listener.parameters(), *head.parameters()], _RATE)
    spectra, n = found.frames.spectra[0], found.frames.spectra.shape[1]
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - step / steps)
        middles = torch.randint(1, n - 1, (_BATCH,))
        said = quantizer.listener.of_middles([spectra[middles + i] for i in (-1, 0, 1)])
        blurred = said + _BLUR * said.detach().std() * torch.randn_like(said)
        logits = head(blurred).unflatten(-1, (SOUNDS_A_FRAME, N_SOUNDS))
        loss = sounds_loss(logits, found.sounds[middles])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimiser.step()


def _lay_out(quantizer: Quantizer, frames: Frames) -> None:
    """Set components, and codebooks in their order."""
    spectra = frames.spectra[0]
    quantizer.mean.copy_(spectra.mean(0))
    centred = (spectra - quantizer.mean) * quantizer.audible
    _, axes = torch.linalg.eigh(centred.mT @ centred / len(centred))
    quantizer.basis.copy_(axes.flip(1)[:, : quantizer.basis.shape[1]])
    said = quantizer.listener(frames.spectra)[0]
    quantizer.said.copy_(means(said, len(quantizer.said)))
    quantizer.contours.copy_(means(frames.contour[0], len(quantizer.contours)))
    found = quantizer.coefficients(spectra)
    codes = _nearest(quantizer.said, said)
    quantizer.said_means.copy_(averages(found, codes, quantizer.said_means))
    told = quantizer.said_means[codes]
    begin = 0
    for book in quantizer.books():
        columns = slice(begin, begin + book.shape[1])
        rest = found[:, columns] - told[:, columns]
        book.copy_(means(rest, len(book)))
        told[:, columns] += book[_nearest(book, rest)]
        begin = columns.stop
    even = (found.var(0) / told.var(0).clamp(min=_STILL)).sqrt()  # as much as in originals
    quantizer.gains.copy_((even**_VARIED).clamp(max=_LOUDEST))


def means(vectors: Tensor, n: int, rounds: tuple[int, int] = _ROUNDS) -> Tensor:
    """k-means of (m, width): (n, width). Entries that nothing is near begin anew elsewhere."""
    found = vectors[torch.randint(len(vectors), (n,))].clone()
    some = vectors[torch.randperm(len(vectors))[:_SOME]]
    for of, count in zip((some, vectors), rounds, strict=True):
        for _ in range(count):
            codes = _nearest(found, of)
            found = averages(of, codes, found)
            unused = torch.bincount(codes, minlength=n) == 0
            found[unused] = of[torch.randint(len(of), (int(unused.sum()),))]
    return found


def _nearest(book: Tensor, vectors: Tensor) -> Tensor:
    """`nearest`, of many: what a piece needs stays in a core's caches."""
    half, columns = book.square().sum(1) / 2, book.mT.contiguous()
    pieces = (torch.addmm(-half, piece, columns).numpy() for piece in torch.split(vectors, _PIECE))
    return torch.cat([torch.from_numpy(scores.argmax(1)) for scores in pieces])


def averages(vectors: Tensor, codes: Tensor, before: Tensor) -> Tensor:
    """The mean of the vectors of each code; `before`, (n, width), where a code has none."""
    counts = torch.bincount(codes, minlength=len(before))
    sums = torch.zeros_like(before).index_add_(0, codes, vectors)
    return torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], before)


def perplexity(codes: Tensor, entries: int) -> float:
    """How many entries are in use, counted by their share; 1 to `entries`."""
    shares = torch.bincount(codes.flatten(), minlength=entries) / codes.numel()
    return float(torch.special.entr(shares).sum().exp())


def report(quantizer: Quantizer, found: Heard) -> dict[str, float]:
    """How well codes say frames that nothing was fitted to."""
    codes = quantizer.encode(found.frames)
    back = quantizer.decode(codes)
    pitch = (back.contour - found.frames.contour)[0]
    steps = pitch.shape[1] // 2
    is_voiced = found.frames.contour[0, :, steps:] > 0
    return {
        "nats": float((back.spectra - found.frames.spectra).abs().mean()),
        "octaves": float((pitch[:, :steps].abs() / 6)[is_voiced].mean()),
        "use_0": perplexity(codes[..., 0], len(quantizer.said)),
        "use_last": perplexity(codes[..., -1], len(quantizer.said)),
        "sounds": _purity(codes[0, :, 0], found.sounds[:, 1]),
    }


def _purity(codes: Tensor, sounds: Tensor) -> float:
    """The share of frames whose middle is the phoneme most frames of their code have."""
    table = torch.zeros(int(codes.max()) + 1, N_SOUNDS)
    known = sounds >= 0
    table.index_put_((codes[known], sounds[known]), torch.ones(int(known.sum())), accumulate=True)
    return float(table.amax(1).sum() / known.sum())

"""What a CSM is asked: the next row's codebook 0, and the codes behind it. Knows no data, no loop.

The frame that ends speech is a target like any other: all codes 0. Positions are masked, codes
never are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from csm_chat.training.csm_batch import Batch
from csm_chat.training.csm_model import CsmTrainer
from csm_chat.training.sounds import NO_CHARACTER, sounds_loss

_NEAR = 2  # characters; espeak-ng tells where words begin, not which letter is which phoneme


@dataclass(frozen=True, slots=True)
class LossSettings:
    depth_share: float = 1 / 3  # of the frames, drawn anew each time; ends of speech always
    first_codebook_weight: float = 1.0  # against all other codebooks together
    fading: float = 0.7  # weight of each codebook after those, to the one before it
    sounds_weight: float = 1.0  # of what phonemes the next frame holds, where they are known
    pitches_weight: float = 1.0  # of how high the voice is in it
    looks_weight: float = 0.5  # of where in the text the next frame is, where that is known


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Means in nats; `total` is what is minimised, the others are detached."""

    total: Tensor
    first: Tensor  # codebook 0 of frames
    end: Tensor  # codebook 0 of the frame that ends speech
    depth: Tensor  # a codebook after the first, of frames
    sounds: Tensor  # a phoneme of frames; 0 where none is known
    pitches: Tensor  # the pitch class of frames
    looks: Tensor  # how little the guided heads look at what is said next; 0 where that is unknown


def losses(
    model: CsmTrainer,
    batch: Batch,
    settings: LossSettings,
    generator: torch.Generator | None = None,
) -> Losses:
    """`generator`, on the cpu, draws which frames the depth decoder learns; None: torch's own."""
    hidden, logits = model.hidden_and_looks(batch.tokens, batch.mask)
    where = batch.learned.nonzero(as_tuple=True)
    assert len(where[0]), "a batch has rows to learn"
    states = hidden[where]  # (N, width)
    frames = batch.tokens[where[0], where[1] + 1, :-1]  # (N, codebooks)
    ends = batch.ends[where]
    first = _entropy(model.first_logits(states), frames[:, 0])  # (N,)

    drawn = torch.rand(len(ends), generator=generator).to(ends.device) < settings.depth_share
    chosen = drawn | ends
    depth = _entropy(model.depth_logits(states[chosen], frames[chosen]), frames[chosen, 1:])
    sounds, pitches = _sounds_and_pitches(model, hidden, batch)
    weights = settings.fading ** torch.arange(depth.shape[1], device=depth.device)
    faded = depth * (weights / weights.mean())
    total = settings.first_codebook_weight * first.mean() + _mean(faded)
    looks = _looks(logits, batch)
    total = total + settings.sounds_weight * sounds + settings.pitches_weight * pitches
    total = total + settings.looks_weight * looks
    with torch.no_grad():
        of_frames = _mean(first[~ends]), _mean(first[ends]), _mean(depth[~ends[chosen]])
        return Losses(total, *of_frames, sounds.detach(), pitches.detach(), looks.detach())


def _sounds_and_pitches(model: CsmTrainer, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Which letters are being said is what a state has to know to say them, and how high.

    Codes tell it too, but take many times the steps: half of what is in codebook 0 is how, not
    what, and the others' losses teach a state of the backbone little about whom to sound like.
    """
    sequence, row = batch.frames
    is_asked = batch.learned[sequence, row - 1]
    states = hidden[sequence[is_asked], row[is_asked] - 1]
    sounds = sounds_loss(model.sound_logits(states).float(), batch.sounds[is_asked])
    return sounds, _mean(_entropy(model.pitch_logits(states), batch.pitches[is_asked]))


def _looks(looks: Sequence[Tensor], batch: Batch) -> Tensor:
    """Minus the log of the attention that falls within some characters of what is said next.

    After Tachibana et al., arXiv 1710.08969: heads that nobody guides take thousands of steps to
    find out that text is said in order.
    """
    sequence, row = batch.frames
    is_asked = batch.learned[sequence, row - 1] & (batch.places != NO_CHARACTER)
    sequence, row, place = sequence[is_asked], row[is_asked] - 1, batch.places[is_asked]
    columns = torch.arange(batch.tokens.shape[1], device=row.device)
    is_later = columns > row[:, None]
    is_elsewhere = (columns - place[:, None]).abs() > _NEAR
    missed = []
    for logits in looks:
        seen = logits[sequence, row].float().masked_fill(is_later, -torch.inf)  # (N, S)
        near = seen.masked_fill(is_elsewhere, -torch.inf).logsumexp(1)
        missed.append(seen.logsumexp(1) - near)
    return _mean(torch.stack(missed))


def _entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross entropy of each code, shaped as `codes`, in float32."""
    flat = F.cross_entropy(logits.flatten(0, -2).float(), codes.flatten(), reduction="none")
    return flat.view(codes.shape)


def _mean(values: Tensor) -> Tensor:
    """The mean; 0 of none."""
    return values.sum() / max(values.numel(), 1)

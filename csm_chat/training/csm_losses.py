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
from csm_chat.training.csm_model import CsmTrainer, Looks
from csm_chat.training.sounds import NO_CHARACTER, sounds_loss

_NEAR = 2  # characters; espeak-ng tells where words begin, not which letter is which phoneme


@dataclass(frozen=True, slots=True)
class LossSettings:
    depth_share: float = 1 / 3  # of the frames, drawn anew each time; ends of speech always
    first_codebook_weight: float = 1.0  # against all other codebooks together
    fading: float = 0.7  # weight of each codebook after those, to the one before it
    sounds_weight: float = 1.0  # of what phonemes the next frame holds, where they are known
    pitches_weight: float = 1.0  # of how high the voice is in it
    timbres_weight: float = 1.0  # of how it sounds
    looks_weight: float = 0.5  # of where in the text the next frame is, where that is known
    voices_weight: float = 0.5  # of where its speaker was heard before, in lines after the first


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Means in nats; `total` is what is minimised, the others are detached."""

    total: Tensor
    first: Tensor  # codebook 0 of frames
    end: Tensor  # codebook 0 of the frame that ends speech
    depth: Tensor  # a codebook after the first, of frames
    sounds: Tensor  # a phoneme of frames; 0 where none is known
    pitches: Tensor  # the pitch class of frames
    timbres: Tensor  # how far the levels of a frame's line are from what its state says
    looks: Tensor  # how little guided heads look at what is said next; 0 where that is unknown
    voices: Tensor  # how little others look at the speaker's earlier lines; 0 where there are none


def losses(
    model: CsmTrainer,
    batch: Batch,
    settings: LossSettings,
    generator: torch.Generator | None = None,
) -> Losses:
    """`generator`, on the cpu, draws which frames the depth decoder learns; None: torch's own."""
    hidden, looks = model.hidden_and_looks(batch.tokens, batch.mask)
    where = batch.learned.nonzero(as_tuple=True)
    assert len(where[0]), "a batch has rows to learn"
    states = hidden[where]  # (N, width)
    frames = batch.tokens[where[0], where[1] + 1, :-1]  # (N, codebooks)
    ends = batch.ends[where]
    first = _entropy(model.first_logits(states), frames[:, 0])  # (N,)

    drawn = torch.rand(len(ends), generator=generator).to(ends.device) < settings.depth_share
    chosen = drawn | ends
    depth = _entropy(model.depth_logits(states[chosen], frames[chosen]), frames[chosen, 1:])
    weights = settings.fading ** torch.arange(depth.shape[1], device=depth.device)
    faded = depth * (weights / weights.mean())
    total = settings.first_codebook_weight * first.mean() + _mean(faded)
    asked = {**_states_asked(model, hidden, batch), **_looks_asked(looks, batch)}
    total = total + sum(getattr(settings, f"{name}_weight") * x for name, x in asked.items())
    with torch.no_grad():
        of_frames = _mean(first[~ends]), _mean(first[ends]), _mean(depth[~ends[chosen]])
        return Losses(total, *of_frames, **{name: x.detach() for name, x in asked.items()})


def _states_asked(model: CsmTrainer, hidden: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Which letters are being said is what a state has to know to say them, how high and by whom.

    Codes tell it too, but take many times the steps: half of what is in codebook 0 is how, not
    what, and the others' losses teach a state of the backbone little about whom to sound like.
    """
    sequence, row = batch.frames
    is_asked = batch.learned[sequence, row - 1]
    states = hidden[sequence[is_asked], row[is_asked] - 1]
    known = batch.known.changed(lambda each: each[is_asked])
    return {
        "sounds": sounds_loss(model.sound_logits(states).float(), known.sounds),
        "pitches": _mean(_entropy(model.pitch_logits(states), known.pitches)),
        "timbres": _mean((model.timbres(states).float() - known.timbres).abs()),
    }


def _looks_asked(looks: Looks, batch: Batch) -> dict[str, Tensor]:
    """Minus the log of the attention that guided heads pay to what they should look at.

    After Tachibana et al., arXiv 1710.08969: heads that nobody guides take thousands of steps to
    find out that text is said in order, and did not find out whose voice is asked for when they had
    heard another one since.
    """
    sequence, row = batch.frames
    known, n_rows = batch.known, batch.tokens.shape[1]
    columns = torch.arange(n_rows, device=row.device)
    is_place = (columns - known.places[:, None]).abs() <= _NEAR  # (frames, S)
    speakers, lines = (
        torch.full(batch.ends.shape, -1, device=row.device).index_put((sequence, row), each)
        for each in (known.speakers, known.lines)
    )
    is_own = speakers[sequence] == known.speakers[:, None]
    is_own &= lines[sequence] < known.lines[:, None]
    is_learned = batch.learned[sequence, row - 1]

    def missed(kind: Sequence[Tensor], is_wanted: Tensor, is_asked: Tensor) -> Tensor:
        asked = is_learned & is_asked
        is_later = columns >= row[asked, None]
        is_elsewhere = ~is_wanted[asked]
        found = []
        for logits in kind:
            seen = logits[sequence[asked], row[asked] - 1].float()  # (N, S)
            seen = seen.masked_fill(is_later, -torch.inf)
            near = seen.masked_fill(is_elsewhere, -torch.inf).logsumexp(1)
            found.append(seen.logsumexp(1) - near)
        return _mean(torch.stack(found))

    return {
        "looks": missed(looks.said, is_place, known.places != NO_CHARACTER),
        "voices": missed(looks.voice, is_own, is_own.any(1)),
    }


def _entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross entropy of each code, shaped as `codes`, in float32."""
    flat = F.cross_entropy(logits.flatten(0, -2).float(), codes.flatten(), reduction="none")
    return flat.view(codes.shape)


def _mean(values: Tensor) -> Tensor:
    """The mean; 0 of none."""
    return values.sum() / max(values.numel(), 1)

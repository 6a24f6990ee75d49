"""What a CSM is asked: the next row's codebook 0, and the codes behind it.

The frame that ends speech is a target like any other: all codes 0. Positions are masked, codes
never are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from csm_chat.training.csm.batch import Batch
from csm_chat.training.csm.model import CsmTrainer, Looks
from csm_chat.training.speech.sounds import NO_CHARACTER, sounds_loss

_NEAR = 2  # characters; espeak-ng tells where words begin, not which letter is which phoneme


@dataclass(frozen=True, slots=True)
class LossSettings:
    depth_share: float = 0.2  # of the frames, drawn anew each time; ends of speech always
    first_codebook_weight: float = 1.0  # against all other codebooks together
    fading: float = 0.85  # weight of each codebook after those, to the one before it
    sounds_weight: float = 1.0  # of what phonemes the next frame holds, where they are known
    pitches_weight: float = 1.0  # of how high the voice is in it
    timbres_weight: float = 1.0  # of how it sounds
    looks_weight: float = 0.5  # of where in the text the next frame is, where that is known
    numbers_weight: float = 0.5  # of where a line says whose it is
    speakers_weight: float = 0.5  # of whose line it is
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
    numbers: Tensor  # how little a guided head looks at the number of a row's line
    speakers: Tensor  # whose line that is
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
    asked = {**_states_asked(model, hidden, batch), **_looks_asked(model, looks, batch)}
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


def _looks_asked(model: CsmTrainer, looks: Looks, batch: Batch) -> dict[str, Tensor]:
    """How little guided heads look at what they should.

    After Tachibana et al., arXiv 1710.08969: heads that nobody guides take thousands of steps to
    find out that text is said in order.
    """
    sequence, row = batch.frames
    places = batch.known.places
    is_asked = batch.learned[sequence, row - 1] & (places != NO_CHARACTER)
    sequence, row, places = sequence[is_asked], row[is_asked], places[is_asked]
    columns = torch.arange(batch.tokens.shape[1], device=row.device)
    is_said = (columns - places[:, None]).abs() <= _NEAR  # (N, S)
    said = _missed(looks.said, (sequence, row - 1), is_said, columns >= row[:, None])
    return {"looks": said, **_turns_asked(model, looks, batch)}


def _turns_asked(model: CsmTrainer, looks: Looks, batch: Batch) -> dict[str, Tensor]:
    """Where a row's line has its number, whose it is, and where that speaker was heard before.

    Rows of text are asked as well: frames tell by their own sound whom they are like, and a head
    that goes by that finds the wrong voice as soon as a line begins in it. Nobody finds the number
    who is not shown where it is: after 300 steps all ten were as likely.
    """
    shape, device = batch.ends.shape, batch.ends.device
    speakers, lines = (
        torch.full(shape, -1, device=device).index_put(tuple(batch.frames), each)
        for each in (batch.known.speakers, batch.known.lines)
    )
    is_frame, is_text = speakers >= 0, batch.mask[..., -1]
    columns = torch.arange(shape[1], device=device)
    # of each row the next one with a frame: of its own line, if it is text
    owner = torch.where(is_frame, columns, shape[1] - 1).flip(1).cummin(1).values.flip(1)
    begins = is_text & ~(is_text.roll(1, 1) & (columns > 0))
    # a line's first two rows are the begin of text and a bracket
    number = torch.where(begins, columns, 0).cummax(1).values + 2  # (B, S)
    is_asked = is_frame | (is_text & (columns >= number))
    is_asked &= batch.learned.gather(1, owner - 1)
    sequence, row = is_asked.nonzero(as_tuple=True)
    first = owner[sequence, row]
    speaker, line = speakers[sequence, first], lines[sequence, first]
    is_later = columns > row[:, None]  # (N, S)
    is_number = columns == number[sequence, row, None]
    logits = model.speaker_logits(looks)[sequence, row]
    is_known = speaker < logits.shape[-1]

    is_own = lines[sequence] == line[:, None]
    is_earlier = (speakers[sequence] == speaker[:, None]) & (lines[sequence] < line[:, None])
    was_heard = is_earlier.any(1)
    # a line's own frames are neither asked for nor in the way: they are of the speaker too
    where, is_hidden = (sequence[was_heard], row[was_heard]), (is_later | is_own)[was_heard]
    return {
        "numbers": _missed((looks.number,), (sequence, row), is_number, is_later),
        "speakers": _mean(_entropy(logits[is_known], speaker[is_known])),
        "voices": _missed(looks.voice, where, is_earlier[was_heard], is_hidden),
    }


def _missed(
    looks: Sequence[Tensor], rows: tuple[Tensor, Tensor], is_wanted: Tensor, is_hidden: Tensor
) -> Tensor:
    """Minus the log of the attention that rows, (N,) each, pay to wanted ones; 0 of none.

    `is_wanted` and `is_hidden` are (N, S).
    """
    missed = []
    for logits in looks:
        seen = logits[rows].float().masked_fill(is_hidden, -torch.inf)  # (N, S)
        wanted = seen.masked_fill(~is_wanted, -torch.inf).logsumexp(1)
        missed.append(seen.logsumexp(1) - wanted)
    return _mean(torch.stack(missed))


def _entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross entropy of each code, shaped as `codes`, in float32."""
    flat = F.cross_entropy(logits.flatten(0, -2).float(), codes.flatten(), reduction="none")
    return flat.view(codes.shape)


def _mean(values: Tensor) -> Tensor:
    """The mean; 0 of none."""
    return values.sum() / max(values.numel(), 1)

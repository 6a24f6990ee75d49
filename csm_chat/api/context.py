"""What was said before a line, as callers hand it over: encoded, checked, cut to what fits."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from csm_chat import types
from csm_chat.api.segment import SampledCodes, Segment
from csm_chat.conversation import prompt
from csm_chat.errors import ContextError, UsageError
from csm_chat.types import Backend, Prompt, Utterance

log = logging.getLogger(__name__)


def prompt_for(
    backend: Backend,
    utterance: Utterance,
    context: Sequence[Segment | types.Segment],
    n_reserved: int,
    sampled: SampledCodes,
) -> Prompt:
    """The rows of a line and of as much of its context as leaves `n_reserved` rows for speech.

    The first segment of each speaker holds the voice and stays; of the others the oldest go, with
    a warning in the log. Raises UsageError, AudioError, ContextError.
    """
    tokenizer, engine = backend.tokenizer, backend.engine
    segments = [_encoded(backend, segment, i, sampled) for i, segment in enumerate(context)]
    own = len(tokenizer.encode(utterance.text, utterance.speaker))
    room = engine.context_rows - own - n_reserved
    sizes = [len(prompt.segment_rows(tokenizer, s, engine.codebooks).tokens) for s in segments]
    kept = _fitting(segments, sizes, room)
    if len(kept) < len(segments):
        log.warning(
            "the context takes %d rows and there is room for %d: left out the oldest %d of its "
            "%d segments",
            *(sum(sizes), room, len(segments) - len(kept), len(segments)),
        )
    return prompt.build(tokenizer, kept, utterance, engine.codebooks)


def _encoded(
    backend: Backend, segment: Segment | types.Segment, index: int, sampled: SampledCodes
) -> types.Segment:
    """A segment of the context, in codes that the model knows."""
    engine = backend.engine
    if isinstance(segment, Segment):
        segment = segment.encoded(backend.codec, sampled)
    if not isinstance(segment, types.Segment):
        raise UsageError(f"context[{index}] is a {type(segment).__name__}: give a Segment")
    codebooks, highest = segment.codes.shape[1], int(segment.codes.max(initial=0))
    if codebooks != engine.codebooks:
        raise UsageError(
            f"context[{index}] has {codebooks} codebooks, the model {engine.codebooks}"
        )
    if highest >= engine.n_codes:
        raise UsageError(
            f"context[{index}] holds code {highest}; codes run from 0 to {engine.n_codes - 1}"
        )
    return segment


def _fitting(
    segments: Sequence[types.Segment], sizes: Sequence[int], room: int
) -> list[types.Segment]:
    """Segments without the oldest ones that do not fit; the first of each speaker stays."""
    first = {segment.speaker: i for i, segment in reversed([*enumerate(segments)])}
    voices = set(first.values())
    others = [i for i in range(len(segments)) if i not in voices]
    room_beside = room - sum(sizes[i] for i in voices)
    if room_beside < 0:
        each = ", ".join(f"speaker {speaker} {sizes[i]}" for speaker, i in sorted(first.items()))
        raise ContextError(
            f"no room to speak: beside this line the model has {max(0, room)} rows for context, "
            f"and the first segments of its speakers take more ({each or 'none'}); "
            "give shorter or fewer segments, a shorter line or a smaller max_audio_length_ms"
        )
    dropped = set(others[: prompt.n_to_drop(room_beside, [sizes[i] for i in others])])
    return [segment for i, segment in enumerate(segments) if i not in dropped]

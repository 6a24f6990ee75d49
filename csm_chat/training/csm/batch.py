"""From coded conversations to batches of rows. Knows no model and no loss."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from csm_chat.conversation import prompt
from csm_chat.training.csm.known import Coded, CodedLine, Known, joined, known_of
from csm_chat.types import Prompt, Segment, Tokenizer

_T = TypeVar("_T", bound=np.generic)


Conversation: TypeAlias = Sequence[CodedLine]
Learns: TypeAlias = Callable[[int, int], bool]  # a line's index and speaker: is it learned?


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """A line of a conversation."""

    speaker: int
    clip: Coded


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A conversation as the model reads it."""

    prompt: Prompt
    learned: npt.NDArray[np.bool_]  # (rows,): the row after this one is a target
    ends: npt.NDArray[np.bool_]  # (rows,): and it ends speech
    starts: tuple[int, ...]  # the row of each clip's first frame
    counts: tuple[int, ...]  # the frames of each
    known: Known[npt.NDArray[Any]]  # of the frames of all clips


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A batch in NumPy alone: it travels between processes."""

    tokens: npt.NDArray[np.int32]  # (B, S, codebooks + 1)
    mask: npt.NDArray[np.bool_]  # (B, S, codebooks + 1)
    learned: npt.NDArray[np.bool_]  # (B, S)
    ends: npt.NDArray[np.bool_]  # (B, S)
    frames: npt.NDArray[np.int64]  # (2, frames): the rows of frames; (B, S)
    known: Known[npt.NDArray[Any]]  # of these frames


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows to learn from, padded at their ends."""

    tokens: Tensor  # (B, S, codebooks + 1) int64
    mask: Tensor  # (B, S, codebooks + 1) bool
    learned: Tensor  # (B, S) bool; see `Rows`
    ends: Tensor  # (B, S) bool, none of them outside `learned`
    frames: Tensor  # (2, frames) int64: the rows of frames; (B, S)
    known: Known[Tensor]  # of these frames


@dataclass(frozen=True, slots=True)
class BatchSettings:
    batch_rows: int = 6144  # of a batch, padding included; a longer sequence is one of its own
    max_rows: int = 2048  # of a sequence: lines from the first that does not fit are left out
    pool: int = 8  # batches whose sequences are sorted by length at a time
    merged_share: float = 0.1  # of the sequences: several conversations, their lines interleaved
    max_merged: int = 6  # conversations in one sequence


def rows(
    conversation: Conversation,
    tokenizer: Tokenizer,
    codebooks: int,
    max_rows: int,
    learns: Learns = lambda index, speaker: True,
) -> Rows | None:
    """The rows of `speech.prompt` for the lines that fit; None when the first does not.

    Targets are each frame and the end of speech, of the lines that `learns` picks.
    """
    prompts, learned, starts, counts, known, n_rows = [], [], [], [], [], 0
    for i, line in enumerate(conversation):
        codes = line.clip.codes.astype(np.int32)
        segment = Segment(line.speaker, line.clip.text, codes)
        said = prompt.segment_rows(tokenizer, segment, codebooks)
        start = len(said.tokens) - len(codes) - 1
        if n_rows + len(said.tokens) > max_rows:
            break
        targets = np.zeros(len(said.tokens), np.bool_)
        # from the last row of text on, each row is followed by a frame or by the end of speech
        targets[start - 1 : -1] = learns(i, line.speaker)
        prompts.append(said)
        learned.append(targets)
        starts.append(n_rows + start)
        counts.append(len(codes))
        known.append(known_of(line, i, n_rows, n_rows + start))
        n_rows += len(said.tokens)
    if not prompts:
        return None
    all_targets = np.concatenate(learned)
    ends = np.zeros_like(all_targets)
    ends[[start + n - 1 for start, n in zip(starts, counts, strict=True)]] = True
    ends &= all_targets
    rows_of_all = prompt.join(prompts)
    return Rows(rows_of_all, all_targets, ends, tuple(starts), tuple(counts), joined(known))


def draft(sequences: Sequence[Rows]) -> Draft:
    """Pad sequences to one length."""
    frames = [
        np.stack(np.broadcast_arrays(b, start + np.arange(n)))
        for b, sequence in enumerate(sequences)
        for start, n in zip(sequence.starts, sequence.counts, strict=True)
    ]
    return Draft(
        _padded([sequence.prompt.tokens for sequence in sequences]),
        _padded([sequence.prompt.mask for sequence in sequences]),
        _padded([sequence.learned for sequence in sequences]),
        _padded([sequence.ends for sequence in sequences]),
        np.concatenate(frames, axis=1),
        joined([sequence.known for sequence in sequences]),
    )


def _padded(arrays: Sequence[npt.NDArray[_T]]) -> npt.NDArray[_T]:
    n_rows = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), n_rows, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def placed(draft: Draft, device: torch.device) -> Batch:
    """The batch on a device."""

    def there(array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    tokens, frames = there(draft.tokens).long(), there(draft.frames)
    learned, ends = there(draft.learned), there(draft.ends)
    return Batch(tokens, there(draft.mask), learned, ends, frames, draft.known.changed(there))


def merged(
    conversations: Iterable[Conversation], settings: BatchSettings, rng: random.Random
) -> Iterator[Conversation]:
    """Some conversations as they are, others several in one, taking turns at random.

    A model that was never asked to look far back for a voice does not find it in a long scene.
    """
    remaining = iter(conversations)
    for first in remaining:
        parts = [[*first]]
        if rng.random() < settings.merged_share:
            n_more = rng.randint(1, settings.max_merged - 1)
            parts += [[*each] for each in islice(remaining, n_more)]
        yield _interleaved(parts, rng)


def _interleaved(parts: list[list[CodedLine]], rng: random.Random) -> Conversation:
    """Lines in an order that keeps each part's own; speakers of later parts get free numbers."""
    numbers: dict[tuple[int, int], int] = {}
    for i, part in enumerate(parts):
        for speaker in sorted({line.speaker for line in part}):
            taken = set(numbers.values())
            free = next(n for n in count() if n not in taken)
            numbers[i, speaker] = free if speaker in taken else speaker
    turns = [i for i, part in enumerate(parts) for _ in part]
    rng.shuffle(turns)
    queues = [iter(part) for part in parts]
    lines = [(i, next(queues[i])) for i in turns]
    return [Said(numbers[i, line.speaker], line.clip) for i, line in lines]


def drafts(
    conversations: Iterable[Conversation],
    tokenizer: Tokenizer,
    codebooks: int,
    settings: BatchSettings,
    learns: Learns = lambda index, speaker: True,
    seed: int = 0,
) -> Iterator[Draft]:
    """Batches of sequences of about one length, in an order drawn by `seed`."""
    rng = random.Random(seed)
    pool: list[Rows] = []
    n_rows = 0
    for conversation in merged(conversations, settings, rng):
        sequence = rows(conversation, tokenizer, codebooks, settings.max_rows, learns)
        if sequence is None or not sequence.learned.any():
            continue
        pool.append(sequence)
        n_rows += len(sequence.learned)
        if n_rows >= settings.pool * settings.batch_rows:
            yield from _sorted_drafts(pool, settings.batch_rows, rng)
            pool, n_rows = [], 0
    yield from _sorted_drafts(pool, settings.batch_rows, rng)


def _sorted_drafts(pool: list[Rows], batch_rows: int, rng: random.Random) -> Iterator[Draft]:
    groups: list[list[Rows]] = []
    for sequence in sorted(pool, key=lambda sequence: len(sequence.learned)):
        if not groups or (len(groups[-1]) + 1) * len(sequence.learned) > batch_rows:
            groups.append([])
        groups[-1].append(sequence)
    rng.shuffle(groups)
    yield from map(draft, groups)

"""Crops of spoken sentences for the codec, and its held-out clips. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from csm_chat.training.speech import corpus
from csm_chat.training.speech.pitches import heard_pitches
from csm_chat.training.speech.sounds import Named, heard_sounds
from csm_chat.training.text.sentences import Split
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Pcm

_VALID_CLIPS = 24  # of each split
_VALID_FRAMES = 36
_VALID_SEED = 0


class Clip(Protocol):
    """Speech, and what is said in it where that is known."""

    @property
    def pcm(self) -> Pcm: ...
    @property
    def phonemes(self) -> Sequence[Named]: ...


MakeClips: TypeAlias = "Callable[[int], Iterator[Clip]]"  # endless clips from a seed


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """What a step sees, or one crop of it without the first dimension."""

    pcm: npt.NDArray[np.float32]  # (batch, samples)
    sounds: npt.NDArray[np.int64]  # (batch, frames, SOUNDS_A_FRAME), see `sounds`
    pitches: npt.NDArray[np.int64]  # (batch, frames), see `pitches`
    shifts: npt.NDArray[np.int64]  # (batch, frames), see `pitches`


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a step sees."""

    batch: int = 6  # crops
    crop_frames: int = 18
    plain_steps: int = 400  # first ones without quantisation: codes of noise would be thrown away
    plain_share: float = 0.1  # of crops that pass unquantised later on
    whole_share: float = 0.5  # of crops that get all codebooks; the others 1 to all but one
    pool: int = 32  # clips that crops are drawn from
    crops_a_clip: int = 3  # before it leaves the pool
    block_steps: int = 200  # data begin anew, by their own seed: a resume repeats one at most
    lead_share: float = 0.25  # of crops that begin with a clip's beginning


def stream(first_step: int, seed: int, recipe: Recipe, n_workers: int = 1) -> Iterator[Crops]:
    """Crops made by other processes, a few steps ahead, from `first_step` on.

    A step's depend on it, the seed and the number of workers alone, but for the synthesiser's own
    noise, which no seed reaches.
    """
    clips = partial(corpus.clips, split="train")
    make = partial(worker_batches, clips, first_step, seed, recipe, n_workers)
    return corpus.background(make, n_workers, n_ahead=16 * n_workers)


def worker_batches(
    make_clips: MakeClips,
    first_step: int,
    seed: int,
    recipe: Recipe,
    n_workers: int,
    worker: int,
    n_given: int = 0,
) -> Iterator[Crops]:
    """Crops for every `n_workers`th step, from the worker's `n_given`th turn on.

    The same ones wherever a run begins.
    """
    turn, share = divmod(first_step + worker, n_workers)
    return _batches(make_clips, turn + n_given, (seed, share), recipe)


def _batches(
    make_clips: MakeClips, first_turn: int, seeds: tuple[int, int], recipe: Recipe
) -> Iterator[Crops]:
    block = first_turn // recipe.block_steps
    while True:
        rng = np.random.default_rng((*seeds, block))
        clips = make_clips(int(rng.integers(2**62)))
        start = block * recipe.block_steps
        for turn, crops in enumerate(_block(clips, recipe, rng), start):
            if turn >= first_turn:
                yield crops
        block += 1


def _block(clips: Iterator[Clip], recipe: Recipe, rng: np.random.Generator) -> Iterator[Crops]:
    pool = [next(clips) for _ in range(recipe.pool)]
    for _ in range(recipe.block_steps):
        crops = []
        for _ in range(recipe.batch):
            place = int(rng.integers(recipe.pool))
            crops.append(crop(pool[place], recipe, rng))
            if rng.integers(recipe.crops_a_clip) == 0:
                pool[place] = next(clips)
        yield Crops(*(np.stack([getattr(c, each.name) for c in crops]) for each in fields(Crops)))


def crop(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> Crops:
    """A piece of a clip at some loudness, after silence if it is the beginning."""
    n, pcm = recipe.crop_frames * FRAME_SAMPLES, clip.pcm
    if rng.random() < recipe.lead_share:
        start = -int(rng.integers(SAMPLE_RATE // 4))
        pcm = np.pad(pcm, (-start, 0))
    else:
        start = int(rng.integers(max(1, len(pcm) - n // 2)))
        pcm = pcm[start:]
    pcm = np.pad(pcm[:n], (0, max(0, n - len(pcm))))
    gain = 10 ** (rng.uniform(-8, 4) / 20)
    quieter: Pcm = np.clip(pcm * gain, -1, 1).astype(np.float32)
    sounds = heard_sounds(clip.phonemes, recipe.crop_frames, start / SAMPLE_RATE)
    pitches = heard_pitches(quieter, recipe.crop_frames)
    return Crops(quieter, sounds, pitches.classes, pitches.shifts)


def held_out(split: Split) -> Tensor:
    """The same clips at every call, cut to one length; (clips, samples)."""
    clips = corpus.clips(_VALID_SEED, split)
    n = _VALID_FRAMES * FRAME_SAMPLES
    cut = [next(clips).pcm[:n] for _ in range(_VALID_CLIPS)]
    return torch.from_numpy(np.stack([np.pad(pcm, (0, n - len(pcm))) for pcm in cut]))

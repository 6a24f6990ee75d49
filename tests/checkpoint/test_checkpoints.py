"""The tiny checkpoints do what the other tests count on."""

from typing import get_args

import numpy as np
import pytest
import torch

from csm_chat.conversation.tokenizer import load_tokenizer
from csm_chat.types import Prompt, Sampling
from tests import parity
from tests.checkpoints import BINS, Layout, make_checkpoint

CODEBOOKS = 8


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def prompt(folder):
    ids = load_tokenizer(folder).encode("Hello there.", 0)
    tokens = np.zeros((len(ids), CODEBOOKS + 1), np.int32)
    tokens[:, -1] = ids
    mask = np.zeros(tokens.shape, np.bool_)
    mask[:, -1] = True
    return Prompt(tokens, mask)


def takes(folder, seeds, max_frames=60):
    engine, asked = parity.load_torch(folder), prompt(folder)
    for seed in seeds:
        frames = [*engine.frames(asked, Sampling(seed=seed, max_frames=max_frames))]
        yield np.array(frames).reshape(-1, CODEBOOKS)


def test_every_layout_holds_the_same_model(tmp_path):
    first, *others = (
        next(takes(make_checkpoint(tmp_path / layout, layout), [5])) for layout in get_args(Layout)
    )
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("seed", [0, 1])
def test_takes_end_by_themselves_after_about_a_second(tmp_path, seed):
    made = [*takes(make_checkpoint(tmp_path, seed=seed), range(12))]
    lengths = [len(codes) for codes in made]
    assert min(lengths) >= 1
    assert max(lengths) < 60
    assert 6 <= np.mean(lengths) <= 20
    assert len({codes.tobytes() for codes in made}) == len(made)


def test_codes_are_the_codecs_and_none_but_the_end_is_zero(tmp_path):
    codes = np.concatenate([*takes(make_checkpoint(tmp_path), range(3))])
    assert codes.min() >= 1
    assert codes.max() < BINS


def test_a_model_that_never_ends_does_not(tmp_path):
    (codes,) = takes(make_checkpoint(tmp_path, eos_every=None), [0], max_frames=60)
    assert len(codes) == 60

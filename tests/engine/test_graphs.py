"""Frames by graphs: what is recorded reads and writes fixed memory and gives the plain codes.

A graph is stood in for by calling what it recorded again: CUDA's own needs a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest

from csm_chat.checkpoint.sizes import read_sizes
from csm_chat.engine.torch.engine import TorchEngine, only
from csm_chat.engine.torch.graphs import FrameGraphs
from csm_chat.errors import Interrupted
from csm_chat.notices import Notice
from csm_chat.types import Sampling
from csm_chat.wording import words
from tests import parity
from tests.engine.test_engine import EOS, GREEDY, SEEDED, TEXT, codes, long_prompt, tiny


def load(name: str) -> TorchEngine:
    engine = parity.load_torch(parity.PARITY / name)
    assert isinstance(engine, TorchEngine)
    return engine


@dataclass
class Replayed:
    step: Callable[[], None]

    def replay(self) -> None:
        self.step()


def recorded(step: Callable[[], None]) -> Replayed:
    step()  # as a capture's warm-up does
    return Replayed(step)


def graphed(name: str = "tiny-a", capture: Callable[..., Replayed] = recorded) -> TorchEngine:
    sizes = read_sizes(parity.PARITY / name)
    notes: list[Notice] = []
    graphs = partial(FrameGraphs, capture=capture)
    engine = TorchEngine(only(load(name)._model), sizes, graphs, notes.append)
    engine.notes = notes  # type: ignore[attr-defined]
    return engine


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize("name", parity.FOLDERS)
def test_graphs_give_the_plain_loops_codes(name: str, sampling: Sampling) -> None:
    prompt = parity.expected(name).prompt
    np.testing.assert_array_equal(
        codes(graphed(name), prompt, sampling), codes(load(name), prompt, sampling)
    )


def test_a_take_grows_past_the_rows_its_first_graph_looks_at() -> None:
    prompt = parity.joined(TEXT, parity.audio_rows(np.full((240, 8), 9, np.int32)), TEXT)
    long = replace(SEEDED, max_frames=20)
    np.testing.assert_array_equal(codes(graphed(), prompt, long), codes(tiny(), prompt, long))


def test_turns_cancelled_takes_and_other_settings_leave_a_cache_that_is_true() -> None:
    engine = graphed()
    prompt, rng = TEXT, np.random.default_rng(0)
    for turn in range(12):
        sampling = replace(SEEDED, seed=turn, temperature=0.5 + 0.1 * (turn % 6))
        frames = engine.frames(prompt, sampling)
        for _ in range(rng.integers(1, 4)):
            next(frames)
        frames.close()
        said = codes(engine, prompt, sampling)
        np.testing.assert_array_equal(said, codes(tiny(), prompt, sampling))
        own = parity.text_rows([9 + turn] * 3, 8)
        prompt = parity.joined(prompt, parity.audio_rows(said), EOS, own)
        if turn % 5 == 4:  # history is dropped
            prompt = long_prompt()


def test_a_turn_computes_its_own_rows_only() -> None:
    engine = graphed()
    said = codes(engine, TEXT, SEEDED)
    codes(engine, parity.joined(TEXT, parity.audio_rows(said), EOS, TEXT), SEEDED)
    assert engine.prefilled_rows == 1 + 1 + 4


def test_an_interrupt_ends_a_take_at_the_next_frame() -> None:
    engine = graphed()
    frames = engine.frames(TEXT, SEEDED)
    next(frames)
    engine.interrupt()
    with pytest.raises(Interrupted):
        next(frames)
    np.testing.assert_array_equal(codes(engine, TEXT, SEEDED), codes(tiny(), TEXT, SEEDED))


def test_codes_that_a_caller_draws_go_step_by_step() -> None:
    def refuse(step: Callable[[], None]) -> Replayed:
        raise AssertionError("nothing to record")

    last = replace(GREEDY, sampler=lambda logits: len(logits) - 4)
    np.testing.assert_array_equal(
        codes(graphed(capture=refuse), TEXT, last), codes(tiny(), TEXT, last)
    )


def test_a_device_that_cannot_record_says_so_once_and_goes_on() -> None:
    def refuse(step: Callable[[], None]) -> Replayed:
        raise RuntimeError("operation not permitted\nmore of it")

    engine = graphed(capture=refuse)
    for _ in range(2):
        np.testing.assert_array_equal(codes(engine, TEXT, SEEDED), codes(tiny(), TEXT, SEEDED))
    (note,) = engine.notes  # type: ignore[attr-defined]
    assert "operation not permitted (graphs: false)" in words(note)

"""Several takes of one prompt: side by side, by graphs, one after the other: the same codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from csm_chat.errors import ContextError, Interrupted
from csm_chat.types import Codes, Engine, Prompt, Sampling
from tests import parity
from tests.engine.test_engine import EOS, GREEDY, SEEDED, TEXT, codes, long_prompt
from tests.engine.test_graphs import graphed

SEEDS = [7, 8, 1000, 7]


def alone(engine: Engine, prompt: Prompt, sampling: Sampling, seeds: list[int]) -> list[Codes]:
    return [codes(engine, prompt, replace(sampling, seed=seed)) for seed in seeds]


def same(ones: list[Codes], others: list[Codes]) -> None:
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)


@parity.on_each_backend
def test_each_take_is_the_one_its_seed_gives_alone() -> None:
    engine = parity.load_engine(parity.PARITY / "tiny-a")
    for prompt in (TEXT, long_prompt()):
        takes = engine.takes(prompt, SEEDED, SEEDS)
        same(takes, alone(engine, prompt, SEEDED, SEEDS))
    assert not np.array_equal(takes[0], takes[1])
    np.testing.assert_array_equal(takes[0], takes[3])


def test_they_end_each_at_its_own_frame(checkpoint: Path) -> None:
    engine, seeds = parity.load_torch(checkpoint), list(range(12))
    prompt = parity.text_rows([5, 6, 7], engine.codebooks)
    sampling = Sampling(max_frames=20)
    takes = engine.takes(prompt, sampling, seeds)
    assert len({len(take) for take in takes}) > 3
    assert max(map(len, takes)) == sampling.max_frames, "one is cut"
    same(takes, alone(engine, prompt, sampling, seeds))


def test_recorded_ones_are_the_same_and_are_recorded_once_for_so_many() -> None:
    engine, plain = graphed(), parity.load_engine(parity.PARITY / "tiny-a")
    for prompt in (TEXT, parity.joined(TEXT, EOS, TEXT)):
        same(engine.takes(prompt, SEEDED, SEEDS), alone(plain, prompt, SEEDED, SEEDS))
    batch = engine._many
    same(engine.takes(TEXT, SEEDED, SEEDS), alone(plain, TEXT, SEEDED, SEEDS))
    assert batch is not None and engine._many is batch
    same(engine.takes(TEXT, SEEDED, SEEDS[:2]), alone(plain, TEXT, SEEDED, SEEDS[:2]))
    assert engine._many is not None and engine._many.cache.n_takes == 2


def test_what_a_caller_draws_by_is_asked_for_each_take() -> None:
    histories: dict[int, int] = {}

    def count(history: np.ndarray, logits: np.ndarray) -> np.ndarray:
        histories[len(history)] = histories.get(len(history), 0) + 1
        return np.where(np.isin(np.arange(len(logits)), history), -np.inf, logits)

    engine = parity.load_engine(parity.PARITY / "tiny-a")
    sampling = replace(SEEDED, processors=(count,), max_frames=4)
    takes = engine.takes(TEXT, sampling, SEEDS)
    assert histories == dict.fromkeys(range(4), len(SEEDS))
    same(takes, alone(engine, TEXT, sampling, SEEDS))
    last = replace(GREEDY, sampler=lambda logits: int(logits.argmin()))
    same(engine.takes(TEXT, last, [1, 2]), alone(engine, TEXT, last, [1, 2]))


def test_the_prompt_is_computed_once_and_stays_for_the_next_take() -> None:
    engine = parity.load_engine(parity.PARITY / "tiny-a")
    engine.takes(TEXT, SEEDED, SEEDS)
    assert engine.prefilled_rows == len(TEXT.tokens)
    engine.takes(parity.joined(TEXT, EOS), SEEDED, SEEDS)
    assert engine.prefilled_rows == 1
    np.testing.assert_array_equal(
        codes(engine, parity.joined(TEXT, EOS), SEEDED),
        codes(parity.load_engine(parity.PARITY / "tiny-a"), parity.joined(TEXT, EOS), SEEDED),
    )


@pytest.mark.parametrize("load", [graphed, lambda: parity.load_engine(parity.PARITY / "tiny-a")])
def test_they_stop_on_request_and_leave_the_engine_ready(load: Callable[[], Engine]) -> None:
    engine = load()
    n_asked = 0

    def interrupt(history: np.ndarray, logits: np.ndarray) -> np.ndarray:
        nonlocal n_asked
        n_asked += 1
        engine.interrupt()
        return logits

    with pytest.raises(Interrupted):
        engine.takes(TEXT, replace(SEEDED, processors=(interrupt,)), SEEDS)
    assert n_asked == len(SEEDS), "within the first frame"
    same(engine.takes(TEXT, SEEDED, SEEDS), alone(engine, TEXT, SEEDED, SEEDS))


def test_a_prompt_without_room_is_refused() -> None:
    engine = parity.load_engine(parity.PARITY / "tiny-a")
    full = parity.text_rows([5] * engine.context_rows, 8)
    with pytest.raises(ContextError, match="shorten"):
        engine.takes(full, SEEDED, SEEDS)

"""Rows of several sets of voices: what comes back is not computed again, and is what it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from csm_chat.engine.choice import load_engine
from csm_chat.engine.kept import CachedRows, Kept, KeptCaches
from csm_chat.types import Engine, Prompt, Sampling
from tests import parity
from tests.engine.test_engine import codes
from tests.engine.test_graphs import graphed

N_VOICE, N_LINE = 22, 4
GREEDY = Sampling(temperature=0, max_frames=3)


def voice(seed: int, n_frames: int = 17) -> Prompt:
    """4 rows of text, the frames, the end of speech."""
    said = np.random.default_rng(seed).integers(1, 60, (n_frames, 8), np.int32)
    end = np.zeros((1, 8), np.int32)
    return parity.joined(line(seed), parity.audio_rows(said), parity.audio_rows(end))


def line(seed: int) -> Prompt:
    return parity.text_rows([5, 6 + seed % 7, 7, 8], 8)


def prompt(who: Prompt, *then: Prompt) -> Prompt:
    return replace(parity.joined(who, *then), n_pinned=len(who.tokens))


def torch_engine() -> Engine:
    return parity.load_torch(parity.PARITY / "tiny-a")


def packed(mode: str, backend: str) -> Callable[[], Engine]:
    options = parity.on_cpu(quantize=mode, backend=backend)
    return lambda: load_engine(parity.PARITY / "tiny-a", options)


ENGINES: dict[str, Callable[[], Engine]] = {
    "torch": torch_engine,
    "graphs": graphed,
    "int8": packed("int8", "torch"),
    "int4": packed("int4", "torch"),
}
if "mlx" in parity.BACKENDS:
    mlx = parity.on_cpu(backend="mlx")
    ENGINES["mlx"] = lambda: load_engine(parity.PARITY / "tiny-a", mlx)
    ENGINES["mlx-int8"] = packed("int8", "mlx")
on_each_engine = pytest.mark.parametrize("load", ENGINES.values(), ids=ENGINES)


@on_each_engine
def test_voices_that_come_back_cost_the_new_rows_only(load: Callable[[], Engine]) -> None:
    engine = load()
    usual, angry, calm = voice(1), voice(2), voice(3)
    costs = []
    for who in (usual, angry, calm, usual, angry, calm, usual):
        codes(engine, prompt(who, line(len(costs))), GREEDY)
        costs.append(engine.prefilled_rows)
    # text rows 0 to 2 of each voice differ, and so do those of the lines
    assert costs[:3] == [26, 25, 25]
    assert max(costs[3:]) <= N_LINE


@on_each_engine
def test_what_came_back_says_what_it_says_computed_anew(load: Callable[[], Engine]) -> None:
    engine, fresh = load(), load()
    asked = prompt(voice(1), line(4))
    codes(engine, asked, GREEDY)
    codes(engine, prompt(voice(2), line(5)), GREEDY)
    came_back = codes(engine, asked, GREEDY)
    assert engine.prefilled_rows == 1
    np.testing.assert_array_equal(came_back, codes(fresh, asked, GREEDY))


@on_each_engine
def test_turns_said_meanwhile_are_all_that_is_computed(load: Callable[[], Engine]) -> None:
    engine = load()
    first, between = voice(8), voice(9, 5)
    codes(engine, prompt(voice(1), first, line(4)), GREEDY)
    codes(engine, prompt(voice(2), first, line(4)), GREEDY)
    codes(engine, prompt(voice(1), first, between, line(5)), GREEDY)
    # the line of text that began both the take before and the turn is shared in part
    assert 0 < engine.prefilled_rows <= len(between.tokens) + N_LINE


def test_a_second_voice_that_changes_leaves_the_first_ones_rows() -> None:
    engine = torch_engine()
    first, costs = voice(1), []
    for mood in (2, 3, 2, 3):
        codes(engine, prompt(parity.joined(first, voice(mood)), line(4)), GREEDY)
        costs.append(engine.prefilled_rows)
    # the first token of the second voice's text is the same in each
    assert costs == [2 * N_VOICE + N_LINE, N_VOICE - 1 + N_LINE, 1, 1]


def test_nothing_is_kept_of_prompts_without_voices() -> None:
    engine = torch_engine()
    for seed in (1, 2, 1):
        codes(engine, parity.joined(voice(seed), line(4)), GREEDY)
        assert engine.prefilled_rows >= N_VOICE


def test_forgetting_forgets_what_was_kept() -> None:
    engine = torch_engine()
    for seed in (1, 2):
        codes(engine, prompt(voice(seed), line(4)), GREEDY)
    engine.forget()
    codes(engine, prompt(voice(1), line(4)), GREEDY)
    assert engine.prefilled_rows == N_VOICE + N_LINE


def test_prefilling_ahead_brings_voices_back() -> None:
    engine = torch_engine()
    for seed in (1, 2):
        codes(engine, prompt(voice(seed), line(4)), GREEDY)
    assert engine.prefill(prompt(voice(1)), lambda: True)
    codes(engine, prompt(voice(1), line(5)), GREEDY)
    assert engine.prefilled_rows <= N_LINE


def rows(seed: int, n: int) -> CachedRows:
    held = CachedRows(n, 9)
    asked = prompt(voice(seed, n - 5))
    held.add(asked.tokens, asked.mask)
    held.n_pinned = n
    return held


def test_the_oldest_go_where_there_is_no_room() -> None:
    kept = KeptCaches[str](60)
    for seed in (1, 2, 3):
        kept.add(Kept(rows(seed, 25), f"voice {seed}"))
    assert kept.n_rows == 50
    assert kept.take(prompt(voice(1, 20)), 3) is None
    found = kept.take(prompt(voice(3, 20)), 3)
    assert found and (found[0].saved, found[1]) == ("voice 3", 25)
    assert kept.n_rows == 25


def test_more_than_there_is_room_for_is_not_kept() -> None:
    kept = KeptCaches[str](20)
    kept.add(Kept(rows(1, 25), "too long"))
    assert kept.n_rows == 0


def test_memory_of_kept_rows_is_theirs_alone() -> None:
    engine = torch_engine()
    codes(engine, prompt(voice(1), line(4)), GREEDY)
    keys, values = engine._saved(10)
    assert keys.shape[3] == 10
    assert keys.untyped_storage().nbytes() == keys.numel() * keys.element_size()
    before = values.clone()
    codes(engine, prompt(voice(2), line(4)), GREEDY)
    assert bool((values == before).all())

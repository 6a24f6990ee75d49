"""Callers' samplers and logits processors, and how many codes the filters keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from csm_chat.engine import choice
from csm_chat.engine.torch.sampling import Noise, Sampler
from csm_chat.errors import UsageError
from csm_chat.types import Codes, Engine, Sampling
from tests import parity
from tests.parity import load_engine, on_each_backend

TEXT = parity.text_rows([5, 6, 7, 8], 8)
GREEDY = Sampling(temperature=0, max_frames=6)
SEEDED = Sampling(seed=7, max_frames=6)
VOCAB = 67

Array = npt.NDArray[Any]


@pytest.fixture(scope="module", params=parity.BACKENDS)
def engine(request: pytest.FixtureRequest) -> Engine:
    return choice.load_engine(parity.PARITY / "tiny-a", parity.on_cpu(backend=request.param))


def codes(engine: Engine, sampling: Sampling) -> Codes:
    return np.stack(list(engine.frames(TEXT, sampling)))


def drawn(sampler: Sampler) -> set[int]:
    """Codes that come up for shares of 0.5, 0.25, 0.125 ..., likeliest first."""
    logits = torch.log(0.5 ** torch.arange(1, 9))
    (noise,) = Noise([0], 2000, sampler.n_kept, torch.device("cpu")).frame()
    return set(sampler(logits.expand(len(noise), -1), noise).flatten().tolist())


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p", "min_kept", "n_drawn"),
    [
        (0, 0.1, 0.0, 1, 1),
        (0, 0.1, 0.0, 3, 3),
        (0, 0.7, 0.0, 1, 2),
        (0, 1.0, 0.9, 1, 1),
        (0, 1.0, 0.9, 4, 4),
        (0, 0.1, 0.9, 2, 2),
        (0, 0.9, 0.0, 2, 4),
        (2, 0.1, 0.9, 5, 2),
        (0, 0.1, 0.0, 100, 8),
    ],
)
def test_filters_keep_the_likeliest_as_many_as_asked(
    top_k: int, top_p: float, min_p: float, min_kept: int, n_drawn: int
) -> None:
    assert drawn(Sampler(8, 1.0, top_k, top_p, min_p, min_kept)) == set(range(n_drawn))


def test_min_tokens_to_keep_reaches_every_codebook(engine: Engine) -> None:
    one = replace(SEEDED, top_p=0.0)
    np.testing.assert_array_equal(codes(engine, one), codes(engine, GREEDY))
    more = codes(engine, replace(one, min_tokens_to_keep=VOCAB, top_k=0))
    np.testing.assert_array_equal(more, codes(engine, replace(SEEDED, top_k=0)))


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_a_processor_that_changes_nothing_changes_nothing(
    engine: Engine, sampling: Sampling
) -> None:
    same = replace(sampling, processors=(lambda history, logits: logits,))
    np.testing.assert_array_equal(codes(engine, same), codes(engine, sampling))


def test_a_sampler_that_takes_the_likeliest_is_greedy(engine: Engine) -> None:
    mine = replace(SEEDED, sampler=lambda logits: int(logits.argmax()))
    np.testing.assert_array_equal(codes(engine, mine), codes(engine, GREEDY))


def test_a_processor_sees_codebook_0_and_its_history(engine: Engine) -> None:
    seen: list[Array] = []
    shapes = []

    def look(history: Array, logits: Array) -> Array:
        seen.append(history)
        shapes.append((history.dtype, logits.dtype, logits.shape))
        return logits

    said = codes(engine, replace(SEEDED, processors=(look,)))
    assert [each.tolist() for each in seen] == [said[:n, 0].tolist() for n in range(len(said))]
    assert set(shapes) == {(np.dtype(np.int32), np.dtype(np.float32), (VOCAB,))}


def test_a_bias_rules_codebook_0_alone_and_processors_run_in_turn(engine: Engine) -> None:
    def only_9(history: Array, logits: Array) -> Array:
        logits[:] = -np.inf
        logits[9] = 0.0
        return logits

    def then_11(history: Array, logits: Array) -> Array:
        assert np.isfinite(logits).sum() == 1
        return np.where(np.arange(VOCAB) == 11, np.float32(1), logits)

    said = codes(engine, replace(SEEDED, processors=(only_9,)))
    assert set(said[:, 0]) == {9}
    assert len(set(said[:, 1:].flat)) > 1
    assert set(codes(engine, replace(GREEDY, processors=(only_9, then_11)))[:, 0]) == {11}


def test_history_begins_anew_with_each_take(engine: Engine) -> None:
    lengths: list[int] = []

    def look(history: Array, logits: Array) -> Array:
        lengths.append(len(history))
        return logits

    sampling = replace(SEEDED, max_frames=2, processors=(look,))
    codes(engine, sampling)
    codes(engine, sampling)
    assert lengths == [0, 1, 0, 1]


@on_each_backend
def test_a_sampler_draws_every_codebook_and_never_what_has_no_sound(tmp_path: Any) -> None:
    folder = parity.copy("tiny-a", tmp_path)
    parity.write_config(folder, parity.config("tiny-a") | {"codec_config": {"codebook_size": 64}})
    calls: list[Array] = []

    def likeliest(logits: Array) -> np.int64:
        calls.append(logits)
        return np.int64(logits.argmax())

    said = codes(load_engine(folder), replace(SEEDED, max_frames=2, sampler=likeliest))
    assert said.shape == (2, 8) and len(calls) == 16
    assert all(np.isneginf(logits[64:]).all() for logits in calls)


def write_nan(history: Array, logits: Array) -> Array:
    logits[3] = np.nan
    return logits


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        (lambda history, logits: logits[:-1], r"float32 of shape \(66,\)"),
        (lambda history, logits: logits[np.newaxis], r"float32 of shape \(1, 67\)"),
        (lambda history, logits: None, "object of shape"),
        (lambda history, logits: "no", "of shape"),
        (write_nan, "processor write_nan returned NaN"),
        (lambda history, logits: logits + np.inf, r"\+inf"),
        (lambda history, logits: logits - np.inf, "ruled every code out"),
    ],
)
def test_a_processor_that_answers_no_logits_is_named(
    engine: Engine, processor: Callable[[Array, Array], Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        codes(engine, replace(SEEDED, processors=(processor,)))
    assert "\n" not in str(raised.value)
    assert len(codes(engine, GREEDY)) == 6  # the engine is ready for the next take


@pytest.mark.parametrize("answer", [67, -1, 1.5, None, "3", [1, 2], 10**30])
def test_a_sampler_that_answers_no_code_is_refused(engine: Engine, answer: object) -> None:
    with pytest.raises(UsageError, match=r"^sampler <lambda> returned ") as raised:
        codes(engine, replace(SEEDED, sampler=lambda logits: answer))  # type: ignore[arg-type, return-value]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("answer", [np.int32(5), np.array([5]), torch.tensor(5), 5])
def test_a_sampler_may_answer_any_kind_of_integer(engine: Engine, answer: Any) -> None:
    assert (codes(engine, replace(SEEDED, sampler=lambda logits: answer)) == 5).all()


def test_a_callable_s_own_error_reaches_its_author(engine: Engine) -> None:
    def broken(history: Array, logits: Array) -> Array:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        codes(engine, replace(SEEDED, processors=(broken,)))


@on_each_backend
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_callables_get_float32_whatever_the_model_computes_in(dtype: str) -> None:
    engine = load_engine(parity.PARITY / "tiny-a", dtype)
    seen = []

    def look(history: Array, logits: Array) -> Array:
        seen.append(logits.dtype)
        return logits

    same = codes(engine, replace(GREEDY, processors=(look,)))
    np.testing.assert_array_equal(same, codes(engine, GREEDY))
    assert set(seen) == {np.dtype(np.float32)}

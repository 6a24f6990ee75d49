"""Long conversations on the real engine and codec, over a small checkpoint."""

from __future__ import annotations

import gc
import resource
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

import csm_chat
from csm_chat.config.settings import ContextConfig, SamplingConfig
from csm_chat.conversation.session import Session
from csm_chat.types import (
    FRAME_SAMPLES,
    Backend,
    Codes,
    Engine,
    Frame,
    Pcm,
    Prompt,
    Sampling,
    Segment,
    Turn,
    Utterance,
    Voice,
)
from tests.checkpoints import make_checkpoint
from tests.parity import BACKENDS

LINES = ("Hi there.", "Oh, hello. How are you?", "Fine, thank you!", "And the cat?", "Asleep.")


@pytest.fixture(scope="module", params=BACKENDS)
def name(request: pytest.FixtureRequest) -> str:
    """What computes."""
    return str(request.param)


@pytest.fixture(scope="module")
def backend(checkpoint: Path, name: str) -> Backend:
    return load(checkpoint, name)


def load(folder: Path, name: str) -> Backend:
    return csm_chat.load(folder, backend=name, device="cpu", dtype="float32")


def voices(backend: Backend) -> tuple[Voice, ...]:
    random = np.random.default_rng(0)
    pcm = (0.1 * random.standard_normal(20 * FRAME_SAMPLES)).astype(np.float32)
    codes = backend.codec.encode(pcm)
    return tuple(
        Voice(n, name, (Segment(n, "A voice.", codes),)) for n, name in ((0, "a"), (1, "b"))
    )


def start(backend: Backend, **context: int) -> Session:
    sampling = SamplingConfig(seed=5)
    return Session(backend, voices(backend), sampling=sampling, context=ContextConfig(**context))


def say(session: Session, line: str, speaker: int) -> tuple[Pcm, Turn]:
    stream = session.take(Utterance(line, speaker))
    blocks: list[Pcm] = []
    while True:
        try:
            blocks.append(next(stream))
        except StopIteration as end:
            return np.concatenate(blocks), end.value


def talk(session: Session, n_turns: int) -> list[tuple[Pcm, Turn]]:
    return [say(session, LINES[n % len(LINES)], n % 2) for n in range(n_turns)]


def codes_of(said: Sequence[tuple[Pcm, Turn]]) -> list[list[list[int]]]:
    return [turn.segment.codes.tolist() for _, turn in said]


def state(session: Session) -> dict[str, object]:
    """All a session holds, by value."""
    held = {name: value for name, value in vars(session).items() if name != "backend"}
    return {name: repr(value) for name, value in held.items() if name != "_tell"}


def test_twelve_turns_then_clear_is_a_fresh_start(
    checkpoint: Path, name: str, backend: Backend
) -> None:
    fresh = load(checkpoint, name)
    expected = talk(start(fresh), 4)
    session = start(backend)
    at_first = state(session)
    talk(session, 12)
    session.clear()
    assert state(session).keys() == at_first.keys()
    assert {k: v for k, v in state(session).items() if k != "voices"} == {
        k: v for k, v in at_first.items() if k != "voices"
    }
    again = talk(session, 4)
    assert codes_of(again) == codes_of(expected)
    for (pcm, _), (other, _) in zip(again, expected, strict=True):
        assert np.array_equal(pcm, other)


def test_a_turn_costs_its_own_text_and_not_the_past(backend: Backend) -> None:
    session = start(backend)
    for n in range(10):
        before = session.turns[-1:]
        line = LINES[n % len(LINES)]
        say(session, line, n % 2)
        own = len(backend.tokenizer.encode(line, n % 2))
        if before:
            # besides its text: the end of the last turn's speech, and at most its last frame
            assert own <= backend.engine.prefilled_rows <= own + 2
    voices_rows, history = session.rows()
    assert voices_rows + history > 200


def test_what_is_said_does_not_depend_on_what_was_cached(
    checkpoint: Path, name: str, backend: Backend
) -> None:
    warm = start(backend)
    said = talk(warm, 6)
    warm.undo()
    replaced = say(warm, "Something else.", 1)
    cold = start(load(checkpoint, name))
    for turn in [turn for _, turn in said[:5]]:
        cold.restore(turn)
    cold.reseed(replaced[1].seed)
    again = say(cold, "Something else.", 1)
    assert codes_of([again]) == codes_of([replaced])


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_whatever_is_cached_ahead_cancelled_undone_or_dropped_codes_are_those_of_a_cold_start(
    checkpoint: Path, name: str, backend: Backend, temperature: float
) -> None:
    cold = load(checkpoint, name).engine
    session = start(backend, max_turns=5)
    session.sampling = SamplingConfig(seed=5, temperature=temperature)
    engine = Compared(backend.engine, cold)
    session.backend = replace(backend, engine=cast(Engine, engine))
    rng = np.random.default_rng(1)
    for n in range(24):
        match rng.integers(6):
            case 0:
                session.undo()
            case 1:
                stream = session.take(Utterance(LINES[n % len(LINES)], n % 2))
                next(stream)
                stream.close()
            case 2 if session.last:
                for _ in session.retry():
                    pass
            case _:
                say(session, LINES[n % len(LINES)], n % 2)
        n_asked = int(rng.integers(1, 8))
        wanted = iter(range(n_asked))
        session.prepare(lambda wanted=wanted: next(wanted, None) is not None)  # type: ignore[misc]
    assert engine.n_compared > 10
    assert engine.n_rows_reused > 1000


class Compared:
    """An engine whose whole takes are compared with those of another one that begins cold."""

    def __init__(self, engine: Engine, cold: Engine) -> None:
        self._engine, self._cold = engine, cold
        self.n_compared = self.n_rows_reused = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def frames(self, prompt: Prompt, sampling: Sampling) -> Generator[Frame, None, None]:
        said = []
        for frame in self._engine.frames(prompt, sampling):
            said.append(frame)
            yield frame
        self.n_rows_reused += len(prompt.tokens) - self._engine.prefilled_rows
        self._cold.forget()
        expected = list(self._cold.frames(prompt, sampling))
        assert np.array_equal(said, expected)
        self.n_compared += 1


def test_streamed_samples_are_those_of_the_whole(backend: Backend) -> None:
    session = start(backend)
    for pcm, turn in talk(session, 3):
        with backend.codec.decoding() as decode:
            whole = decode(turn.segment.codes)
        assert np.abs(pcm - whole).max() < 1e-4


def test_two_hundred_turns_never_fail_and_keep_memory_flat(name: str, backend: Backend) -> None:
    session = start(backend, max_turns=30)
    for n in range(40):
        say(session, LINES[n % len(LINES)], n % 2)
    gc.collect()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n in range(160 if name == "torch" else 40):  # which on a cpu is what MLX is not made for
        _, turn = say(session, LINES[n % len(LINES)], n % 2)
        assert turn.ended in ("eos", "guard")
        assert sum(session.rows()) <= backend.engine.context_rows
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 20_000


@pytest.mark.parametrize("layout", ["sesame", "mlx"])
def test_every_layout_speaks_the_same(
    layout: str, tmp_path: Path, name: str, backend: Backend
) -> None:
    folder = make_checkpoint(tmp_path / layout, layout)  # type: ignore[arg-type]
    other = load(folder, name)
    assert codes_of(talk(start(other), 3)) == codes_of(talk(start(backend), 3))


def first_codes(backend: Backend, **settings: float) -> Codes:
    session = Session(backend, sampling=SamplingConfig(seed=5, **settings))  # type: ignore[arg-type]
    return say(session, "Hi there, you.", 0)[1].segment.codes


def test_depth_settings_of_their_own_change_what_is_said(backend: Backend) -> None:
    plain, other = first_codes(backend), first_codes(backend, depth_temperature=0.2)
    assert not np.array_equal(plain[:3], other[:3])

"""Moods in a conversation: which clip a line is heard after, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from csm_chat.conversation.session import Session
from csm_chat.conversation.take import whole
from csm_chat.engine.torch.engine import TorchEngine
from csm_chat.errors import EntryError
from csm_chat.types import Backend, Segment, Turn, Utterance, Voice
from tests import parity
from tests.fakes import CODEBOOKS, ByteTokenizer, LevelCodec, ScriptedEngine, fake_backend

ANGRY = Utterance("Out!", 0, "angry")


def clip(speaker: int, text: str, codebooks: int = CODEBOOKS, n_frames: int = 9) -> Segment:
    said = np.random.default_rng(len(text)).integers(1, 50, (n_frames, codebooks), np.int32)
    return Segment(speaker, text, said)


def ana(codebooks: int = CODEBOOKS) -> Voice:
    moods = {m: (clip(0, f"As {m}.", codebooks),) for m in ("angry", "sad")}
    return Voice(0, "Ana", (clip(0, "As usual, this is Ana.", codebooks),), moods)


def ben(codebooks: int = CODEBOOKS) -> Voice:
    return Voice(1, "Ben", (clip(1, "This is Ben.", codebooks),))


def read_texts(engine: ScriptedEngine, call: int) -> str:
    prompt, _ = engine.calls[call]
    ids = prompt.tokens[prompt.mask[:, -1], -1]
    return bytes(int(i) - 3 for i in ids if i >= 3).decode()


def said(session: Session, *utterances: Utterance) -> list[Turn]:
    return [whole(session.take(each))[1] for each in utterances]


def test_the_moods_clip_stands_in_the_place_of_the_usual_one_for_its_line_alone() -> None:
    backend = fake_backend()
    engine = backend.engine
    assert isinstance(engine, ScriptedEngine)
    session = Session(backend, (ana(), ben()))
    said(session, ANGRY, Utterance("So.", 1), Utterance("Well.", 0))
    assert read_texts(engine, 0) == "[0]As angry.[1]This is Ben.[0]Out!"
    assert read_texts(engine, 1).startswith("[0]As usual, this is Ana.[1]This is Ben.[0]Out!")
    assert read_texts(engine, 2).startswith("[0]As usual")


def test_a_turn_keeps_its_mood_when_it_is_said_again() -> None:
    backend = fake_backend()
    engine = backend.engine
    assert isinstance(engine, ScriptedEngine)
    session = Session(backend, (ana(), ben()))
    (turn,) = said(session, ANGRY)
    assert turn.utterance == ANGRY
    _, again = whole(session.retry())
    _, retaken = whole(session.retake(0, turn.utterance))
    assert (again.mood, retaken.mood) == ("angry", "angry")
    assert all(read_texts(engine, call).startswith("[0]As angry") for call in range(3))
    assert session.history() == "Ana (angry): Out!"


def test_a_mood_whose_clip_is_gone_is_refused_and_leaves_all_as_it_was() -> None:
    session = Session(fake_backend(), (ana(), ben()))
    said(session, Utterance("Hi.", 0))
    session.voices = (ben(),)
    with pytest.raises(EntryError, match="speaker 0 has no clip in the mood angry any more"):
        said(session, ANGRY)
    assert session.last == Utterance("Hi.", 0)
    with pytest.raises(EntryError, match="mood angry"):
        session.split(ANGRY)


def real(voices: Sequence[Voice]) -> tuple[Session, TorchEngine]:
    engine = parity.load_torch(parity.PARITY / "tiny-a")
    assert isinstance(engine, TorchEngine)
    codec = LevelCodec()
    backend = Backend(engine, codec, _Small(), "tiny", "cpu", "float32", parity.PARITY)
    return Session(backend, tuple(voices)), engine


class _Small(ByteTokenizer):
    """Ids that the tiny model has."""

    def encode(self, text: str, speaker: int) -> np.ndarray:
        return (super().encode(text, speaker) % 50).astype(np.int32)


def cost(session: Session, engine: TorchEngine, utterance: Utterance) -> tuple[int, int]:
    """Rows computed, and those of the line itself. What is said does not become a turn."""
    for _ in session.take(utterance):
        break
    n_line = len(session._lines.encode(utterance.text, utterance.speaker))
    return engine.prefilled_rows, n_line


def test_coming_back_to_a_mood_costs_the_line_alone() -> None:
    session, engine = real((ana(8), ben(8)))
    n_voices = session.rows()[0]
    usual = Utterance("Oh, well.", 0)
    first = [cost(session, engine, each)[0] for each in (usual, ANGRY)]
    assert all(n > n_voices / 2 for n in first)
    for each in (usual, ANGRY, usual, ANGRY):
        n_rows, n_line = cost(session, engine, each)
        assert n_rows <= n_line


def test_turns_said_meanwhile_are_computed_once_more_unless_there_was_time() -> None:
    session, engine = real((ana(8), ben(8)))
    cost(session, engine, Utterance("Oh.", 0))
    cost(session, engine, ANGRY)
    turn = Turn(clip(1, "Now, now.", 8), 7, "eos", session.warm_up(1))
    cost(session, engine, ANGRY)
    session.restore(turn)
    n_turn = session.rows()[1]
    n_rows, n_line = cost(session, engine, Utterance("Why?", 0))
    assert n_turn < n_rows <= n_turn + n_line
    session.prepare(lambda: True)
    for each in (ANGRY, Utterance("Why?", 0), ANGRY):
        n_rows, n_line = cost(session, engine, each)
        assert n_rows <= n_line

"""Moods and new names at the prompt: typed, shown, completed, listed."""

from __future__ import annotations

import io

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from csm_chat.errors import EntryError
from csm_chat.repl.completer import LineCompleter
from csm_chat.repl.handlers import PromptState
from csm_chat.repl.lexer import NO_SPEAKER, styled
from csm_chat.repl.lines import carry_out, check
from csm_chat.repl.plain import run
from csm_chat.types import Utterance, Voice
from tests.conversation.test_moods import ana, ben
from tests.fake_worker import FakeWorker


@pytest.fixture
def worker() -> FakeWorker:
    worker = FakeWorker()
    worker.of_moods = {0: ("angry", "sad")}
    worker.session.voices = (ana(), ben())
    return worker


@pytest.fixture
def state(worker: FakeWorker) -> PromptState:
    return PromptState(worker)


def offered(state: PromptState, typed: str) -> list[str]:
    found = LineCompleter(state).get_completions(Document(typed), CompleteEvent())
    return [typed[: len(typed) + each.start_position] + each.text for each in found]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ana (", ["ana (angry): ", "ana (sad): "]),
        ("Ana(a", ["Ana(angry): "]),
        ("ana: (s", ["ana: (sad) "]),
        ("(", ["(angry) ", "(sad) "]),
        ("Hi.||(", []),
        ("Hi.||ana (s", ["Hi.||ana (sad): "]),
        ("ben (", []),
        ("Hello (a", []),
    ],
)
def test_tab_completes_moods(state: PromptState, typed: str, expected: list[str]) -> None:
    assert offered(state, typed) == expected


def test_what_is_typed_shows_the_mood_and_what_is_wrong(state: PromptState) -> None:
    assert ("class:chip", "(angry)") in styled(state, "(angry) Out!")
    assert ("class:chip", "ana (angry):") in styled(state, "ana (angry): Out!")
    assert styled(state, "ana (angri): Out!") == [(NO_SPEAKER, "ana (angri): Out!")]
    assert styled(state, "bem: Out!") == [(NO_SPEAKER, "bem: Out!")]
    assert ("class:chip", "Cleo:") in styled(state, "Cleo: Hi!")


def test_a_mood_that_is_typed_is_said(state: PromptState, worker: FakeWorker) -> None:
    carry_out(state, "(angry) Out!||No.")
    assert worker.entries == [(Utterance("Out!", 0, "angry"), Utterance("No.", 1))]


@pytest.mark.parametrize("line", ["ben (angry): Out!", "(angri) Out!", "bem: Hi!"])
def test_what_cannot_be_keeps_the_line(state: PromptState, worker: FakeWorker, line: str) -> None:
    with pytest.raises(EntryError):
        check(state, line)
    with pytest.raises(EntryError):
        carry_out(state, line)
    assert not worker.entries


def test_a_new_speaker_stays_for_the_session(state: PromptState, worker: FakeWorker) -> None:
    carry_out(state, "Cleo: Hi!")
    carry_out(state, "Dan: Ho!")
    carry_out(state, "cleo: Me again.")
    assert [entry[0].speaker for entry in worker.entries] == [2, 3, 2]
    assert offered(state, "cl") == ["Cleo: "]
    carry_out(state, "$SPEAKER cleo$")
    assert state.speaker == 2
    (listed,) = carry_out(state, "$VOICES$")
    assert "  2 Cleo  a random voice" in listed.split("\n")


def test_voices_are_listed_with_their_moods(state: PromptState) -> None:
    (listed,) = carry_out(state, "$VOICES$")
    names = [line[4:].split("  ")[0] for line in listed.split("\n")]
    assert names == ["Ana", "Ana (angry)", "Ana (sad)", "Ben"]


def test_a_line_from_a_pipe_is_said_in_its_mood_and_a_wrong_one_told(worker: FakeWorker) -> None:
    err = io.StringIO()
    lines = io.StringIO("ana (angry): Out!\n(angri) Out!\nCleo: Hi!\n")
    assert run(worker, lines, io.StringIO(), err) == 1
    assert [entry[0].mood for entry in worker.entries] == ["angry", ""]
    assert "line 2: Ana has no mood" in err.getvalue()


def test_voice_keeps_its_moods_when_heard_in_one() -> None:
    voice: Voice = ana()
    assert voice.in_mood("sad").segments == voice.moods["sad"]

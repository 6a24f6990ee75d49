"""The conversation: what enters the context, what leaves it, and what never does."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from csm_chat.config.settings import ContextConfig, SamplingConfig
from csm_chat.conversation.guard import cap_frames
from csm_chat.conversation.reading import Reading
from csm_chat.conversation.session import Session
from csm_chat.conversation.take import whole
from csm_chat.conversation.tokenizer import estimate_s
from csm_chat.errors import ContextError, EntryError, Interrupted
from csm_chat.normalise.lexicon import parse_lexicon
from csm_chat.types import (
    FRAME_SAMPLES,
    FRAMES_PER_S,
    Codes,
    Pcm,
    Prompt,
    Segment,
    Turn,
    Utterance,
    Voice,
)
from tests.fakes import CODEBOOKS, LevelCodec, ScriptedEngine, fake_backend

HI = Utterance("Hi there.", 0)


def finish(stream: Generator[Pcm, None, Turn]) -> tuple[Pcm, Turn]:
    return whole(stream)


def make(
    script: list[object] | None = None,
    *,
    voices: tuple[Voice, ...] = (),
    seed: int | None = 1,
    context: ContextConfig | None = None,
    context_rows: int = 400,
    temperature: float = 0.9,
    reading: Reading | None = None,
) -> tuple[Session, ScriptedEngine, list[str]]:
    notes: list[str] = []
    backend = fake_backend(script or [], context_rows=context_rows)  # type: ignore[arg-type]
    sampling = SamplingConfig(seed=seed, temperature=temperature)
    session = Session(
        backend,
        voices,
        sampling=sampling,
        context=context,
        reading=reading,
        notify=notes.append,
    )
    assert isinstance(backend.engine, ScriptedEngine)
    return session, backend.engine, notes


def voice(speaker: int, n_frames: int, name: str = "ana") -> Voice:
    codes = np.full((n_frames, CODEBOOKS), 7, np.int32)
    return Voice(speaker, name, (Segment(speaker, "a reference", codes),))


def test_takes_to_choose_from_leave_the_conversation_as_it_was() -> None:
    session, engine, notes = make([3, 3, None, [], 4])
    _, turn = finish(session.take(HI))
    takes = session.takes(Utterance("And you?", 1), 3)
    assert session.turns == (turn,)
    assert session.last == HI
    assert [t.seed for t, _ in takes] == [2, 3, 4]
    assert [t.ended for t, _ in takes] == ["eos", "guard", "guard"]
    assert [len(pcm) // FRAME_SAMPLES for _, pcm in takes] == [3, len(takes[1][0].segment.codes), 0]
    assert all(prompt is engine.calls[1][0] for prompt, _ in engine.calls[1:])
    assert engine.calls[1][0].tokens[:, :-1].any(), "what was said before is heard"
    assert sum("stopped" in note for note in notes) == 2
    alone, again = make([3, 3])[0], finish
    again(alone.take(HI))
    pcm, said = again(alone.take(Utterance("And you?", 1)))
    np.testing.assert_array_equal(takes[0][0].segment.codes, said.segment.codes)
    np.testing.assert_array_equal(takes[0][1], pcm)


def test_a_take_that_ends_enters_the_context_with_its_codes() -> None:
    session, engine, _ = make([3])
    pcm, turn = finish(session.take(HI))
    assert turn.ended == "eos"
    assert turn.segment.codes.shape == (3, CODEBOOKS)
    assert len(pcm) == 3 * FRAME_SAMPLES
    assert session.turns == (turn,)
    finish(session.take(Utterance("And you?", 1)))
    tokens = engine.calls[1][0].tokens
    frames = [row[:-1].tolist() for row in tokens if row[:-1].any()]
    assert frames == turn.segment.codes.tolist()


def test_an_abandoned_take_leaves_nothing() -> None:
    session, engine, _ = make([4, None])
    finish(session.take(HI))
    before = session.turns
    stream = session.take(Utterance("Never ends.", 0))
    next(stream)
    stream.close()
    codec = session.backend.codec
    assert isinstance(codec, LevelCodec)
    assert (session.turns, engine.n_running, codec.n_open) == (before, 0, 0)


def test_an_interrupted_take_leaves_nothing() -> None:
    session, engine, _ = make([None])
    stream = session.take(HI)
    next(stream)
    engine.interrupt()
    with pytest.raises(Interrupted):
        next(stream)
    assert session.turns == ()


def test_a_take_without_end_is_stopped_at_the_cap_and_stays_out() -> None:
    session, _, notes = make([None])
    _, turn = finish(session.take(Utterance("Hi.", 0)))
    assert turn.ended == "guard"
    assert len(turn.segment.codes) == cap_frames(estimate_s("Hi."), 25.0)
    assert session.turns == ()
    assert "too long for its text" in notes[0]


def test_a_take_at_max_turn_s_says_so() -> None:
    session, _, notes = make([None], context=ContextConfig(max_turn_s=1.0))
    _, turn = finish(session.take(Utterance("Hi.", 0)))
    assert turn.ended == "limit"
    assert len(turn.segment.codes) == int(FRAMES_PER_S)
    assert "max_turn_s" in notes[0]
    assert session.turns == ()


@pytest.mark.parametrize(
    ("text", "n_frames", "ended"),
    [
        ("Hi.", 1, "eos"),
        ("Oh, hello to you.", 4, "eos"),
        ("Noooooooooooooooooooooooooooooooooooooooooo!", 5, "eos"),
        ("word " * 50, 28, "early"),  # 2.2 s of 250 characters
        ("word " * 50, 100, "eos"),  # 31 characters a second
        ("a rather long line that is over before it is said", 6, "early"),
    ],
)
def test_a_take_that_ends_far_too_early_for_its_text_stays_out(
    text: str, n_frames: int, ended: str
) -> None:
    session, _, notes = make([n_frames], context_rows=1000)
    _, turn = finish(session.take(Utterance(text, 0)))
    assert turn.ended == ended
    assert len(session.turns) == (ended == "eos")
    assert bool(notes) == (ended == "early")
    assert not notes or "far too early for its text" in notes[0]


def test_a_stuck_frame_is_stopped() -> None:
    session, _, notes = make([[9, 9, 8, *[7] * 40]])
    _, turn = finish(session.take(Utterance("A rather long line to say, for once.", 0)))
    assert turn.ended == "guard"
    assert len(turn.segment.codes) == 3 + 11
    assert "same frame" in notes[0]


def test_a_long_silence_is_stopped() -> None:
    # level 0 and yet no frame twice in a row: the first code is the level of the fake codec
    session, engine, notes = make([None])
    engine.frames = silent_frames  # type: ignore[method-assign, assignment]
    _, turn = finish(session.take(Utterance("A rather long line to say, for once.", 0)))
    assert turn.ended == "guard"
    assert "silence" in notes[0]
    assert len(turn.segment.codes) == pytest.approx(2.5 * FRAMES_PER_S, abs=1)


def silent_frames(prompt: object, sampling: object) -> Generator[np.ndarray, None, None]:
    for n in range(200):
        yield np.array([0, n, 1, 1], np.int32)


def test_an_empty_take_is_tried_with_the_next_seeds() -> None:
    session, engine, notes = make([0, 0, 4], seed=10)
    _, turn = finish(session.take(HI))
    assert [sampling.seed for _, sampling in engine.calls] == [10, 11, 12]
    assert (turn.seed, turn.ended) == (12, "eos")
    assert notes == ["seed 10 gave no sound", "seed 11 gave no sound"]


def test_four_empty_takes_end_without_a_crash() -> None:
    session, engine, notes = make([0, 0, 0, 0, 5])
    pcm, turn = finish(session.take(HI))
    assert (len(pcm), turn.ended, len(engine.calls)) == (0, "guard", 4)
    assert turn.segment.codes.shape == (0, CODEBOOKS)
    assert session.turns == ()
    assert "ended before it began" in notes[-1]


def test_an_empty_greedy_take_is_not_tried_again() -> None:
    session, engine, _ = make([0, 5], temperature=0.0)
    finish(session.take(HI))
    assert len(engine.calls) == 1


def test_retry_replaces_the_last_turn() -> None:
    session, engine, _ = make([3, 4, 6])
    _, first = finish(session.take(HI))
    _, second = finish(session.take(Utterance("Two.", 1)))
    _, again = finish(session.retry())
    assert session.turns == (first, again)
    assert again.seed != second.seed
    assert len(engine.calls[2][0].tokens) == len(engine.calls[1][0].tokens)


@pytest.mark.parametrize("script", [[3, None], [3, 0]])
def test_a_retry_that_fails_keeps_the_old_turn(script: list[object]) -> None:
    session, _, _ = make([*script, 0, 0, 0])
    _, first = finish(session.take(HI))
    finish(session.retry())
    assert session.turns == (first,)


def test_retry_of_a_failed_take_adds_it() -> None:
    session, _, _ = make([3, None, 4])
    _, first = finish(session.take(HI))
    finish(session.take(Utterance("Two.", 1)))
    _, again = finish(session.retry())
    assert session.turns == (first, again)


def test_retry_with_nothing_said_is_an_entry_error() -> None:
    session, _, _ = make()
    with pytest.raises(EntryError, match="nothing was said"):
        finish(session.retry())


def test_undo_takes_the_last_turn_out_until_none_is_left() -> None:
    session, _, _ = make()
    _, first = finish(session.take(HI))
    _, second = finish(session.take(HI))
    assert [session.undo(), session.undo(), session.undo()] == [second, first, None]


def test_retry_after_undo_adds_the_line_again() -> None:
    session, _, _ = make()
    _, first = finish(session.take(HI))
    finish(session.take(Utterance("Two.", 1)))
    session.undo()
    _, again = finish(session.retry())
    assert session.turns == (first, again)


def test_undo_brings_back_the_turn_whose_place_was_taken() -> None:
    session, _, _ = make()
    _, first = finish(session.take(HI))
    _, again = finish(session.retry())
    assert session.undo() is again
    assert session.turns == (first,)
    _, third = finish(session.retry())  # which replaces what came back
    assert session.turns == (third,)


def test_takes_of_the_last_line_are_said_as_a_retry_and_one_is_picked() -> None:
    session, engine, _ = make(seed=4)
    _, first = finish(session.take(HI))
    _, second = finish(session.take(Utterance("Two.", 1)))
    takes = session.takes_of_last(3)
    assert session.turns == (first, second)
    assert len(engine.calls[-1][0].tokens) == len(engine.calls[1][0].tokens)
    session.pick(takes[1][0])
    assert session.turns == (first, takes[1][0])
    assert session.last == Utterance("Two.", 1)
    assert session.undo() is takes[1][0]
    assert session.turns == (first, second)


def test_a_take_that_did_not_end_by_itself_cannot_be_picked() -> None:
    session, _, _ = make([3, None])
    _, first = finish(session.take(HI))
    _, broken = finish(session.take(HI))
    with pytest.raises(EntryError, match="did not end by itself"):
        session.pick(broken)
    assert session.turns == (first,)


def test_a_turn_said_anew_answers_those_before_it_and_keeps_those_behind() -> None:
    session, engine, _ = make()
    turns = [finish(session.take(Utterance(text, 0)))[1] for text in ("One.", "Two.", "Three.")]
    _, new = finish(session.retake(1, Utterance("Zwei.", 1)))
    assert session.turns == (turns[0], new, turns[2])
    assert new.segment.text == "Zwei."
    assert len(engine.calls[-1][0].tokens) < len(engine.calls[2][0].tokens)
    assert session.undo() is new
    assert session.turns == tuple(turns)
    with pytest.raises(EntryError, match="no longer part"):
        finish(session.retake(3, HI))


def test_turns_said_anew_together_are_taken_back_together() -> None:
    session, _, _ = make()
    turns = [finish(session.take(Utterance(text, 0)))[1] for text in ("One.", "Two.")]
    finish(session.retake(0, Utterance("Uno.", 0)))
    finish(session.retake(1, Utterance("Two.", 0), is_one_change=False))
    session.undo()
    assert session.turns == tuple(turns)


def test_clear_keeps_voices_and_starts_seeds_anew() -> None:
    session, engine, _ = make(voices=(voice(0, 5),), seed=4)
    fresh = [finish(session.take(HI))[1] for _ in range(3)]
    session.clear()
    again = [finish(session.take(HI))[1] for _ in range(3)]
    assert [turn.seed for turn in fresh] == [turn.seed for turn in again] == [4, 5, 6]
    for before, after in zip(engine.calls[:3], engine.calls[3:], strict=True):
        assert np.array_equal(before[0].tokens, after[0].tokens)


def test_the_oldest_turns_go_whole_and_are_named() -> None:
    session, _, notes = make([60] * 8, context_rows=400)
    texts = [f"This is line number {n}." for n in range(8)]
    for text in texts:
        _, turn = finish(session.take(Utterance(text, 0)))
        assert turn.ended == "eos"
    kept = [turn.segment.text for turn in session.turns]
    assert kept == texts[-len(kept) :]
    assert 1 < len(kept) < 8
    assert notes[0].startswith("context: dropped the oldest, ")
    assert texts[0][:20] in notes[0]


def test_the_room_kept_free_is_what_the_line_may_need() -> None:
    session, engine, _ = make([60] * 8)
    for n in range(8):
        finish(session.take(Utterance(f"This is line number {n}.", 0)))
    for prompt, sampling in engine.calls:
        assert len(prompt.tokens) + sampling.max_frames <= engine.context_rows


def test_max_turns_limits_history() -> None:
    session, _, _ = make(context=ContextConfig(max_turns=4))
    for _ in range(9):
        finish(session.take(HI))
        assert len(session.turns) <= 4 + 1
    assert make(context=ContextConfig(max_turns=0))[0].context.max_turns == 0


def test_what_goes_for_the_next_line_goes_before_it_is_typed() -> None:
    session, engine, notes = make([60] * 9, context_rows=400)
    for n in range(8):
        finish(session.take(Utterance(f"This is line number {n}.", 0)))
        kept, n_notes = session.turns, len(notes)
        session.prepare(lambda: True)
        assert (session.turns, len(notes)) == (kept, n_notes)
        ahead = engine.prefills[-1].tokens
    assert notes
    finish(session.take(Utterance("This is the last line.", 1)))
    assert len(notes) == n_notes or session.turns[0] != kept[0]
    asked = engine.calls[-1][0].tokens
    assert np.array_equal(asked[: len(ahead)], ahead)
    assert len(asked) - len(ahead) == len("[1]This is the last line.") + 2


def test_nothing_is_prepared_without_voices_and_history_or_without_room() -> None:
    session, engine, notes = make()
    session.prepare(lambda: True)
    finish(session.take(HI))
    session.voices = (voice(0, 500),)
    session.prepare(lambda: True)
    assert not engine.prefills and not notes


def test_longer_voices_since_a_long_line_spoil_no_short_one() -> None:
    session, _, _ = make([5, 5])
    finish(session.take(Utterance("This is a line of so many words that it takes a while.", 0)))
    session.voices = (voice(0, 210),)
    _, turn = finish(session.take(Utterance("Yes.", 0)))
    assert turn.ended == "eos" and session.turns[-1] is turn


def test_no_history_at_all_with_max_turns_0() -> None:
    session, engine, _ = make(context=ContextConfig(max_turns=0))
    finish(session.take(HI))
    finish(session.take(HI))
    assert len(engine.calls[0][0].tokens) == len(engine.calls[1][0].tokens)


def test_a_cancelled_take_gives_dropped_turns_back() -> None:
    session, _, _ = make(context=ContextConfig(max_turns=2))
    for _ in range(3):
        finish(session.take(HI))
    before = session.turns
    stream = session.take(HI)
    next(stream)
    stream.close()
    assert session.turns == before


def test_voices_that_do_not_fit_are_reported_with_their_sizes() -> None:
    session, _, _ = make(voices=(voice(0, 200, "ana"), voice(1, 180, "ben")))
    with pytest.raises(ContextError) as error:
        finish(session.take(HI))
    assert "ana 218" in str(error.value)
    assert "ben 198" in str(error.value)
    assert "400 rows" in str(error.value)


def test_a_line_too_long_is_split_at_sentence_ends_and_all_parts_enter() -> None:
    session, _, notes = make([100] * 3, context_rows=2048)
    sentences = [f"Sentence number {n} is about the sea and the wind." for n in range(12)]
    blocks = session.say(Utterance(" ".join(sentences), 2))
    while True:
        try:
            next(blocks)
        except StopIteration as end:
            turns = end.value
            break
    assert len(turns) > 1
    assert session.turns == turns
    assert " ".join(turn.segment.text for turn in turns) == " ".join(sentences)
    assert all(turn.segment.text.endswith(".") for turn in turns)
    assert f"{len(turns)} turns" in notes[0]


@pytest.mark.parametrize("text", ["x" * 5000, "🙂 a" * 400, "1" * 900, "a b " * 700])
def test_text_without_sentence_ends_never_fails(text: str) -> None:
    session, _, _ = make(context_rows=2048)
    for piece in session.split(Utterance(text, 0)):
        finish(session.take(piece))


@pytest.mark.parametrize("text", ["...", "***", "?", "🙂", "<break/>", "", "🙂" * 400])
def test_a_text_without_a_word_never_reaches_the_model(text: str) -> None:
    session, engine, _ = make()
    for say in (session.take, session.say):
        with pytest.raises(EntryError, match="nothing to say"):
            finish(say(Utterance(text, 0)))
    with pytest.raises(EntryError, match="nothing to say"):
        session.takes(Utterance(text, 0), 2)
    assert engine.calls == [] and session.turns == () and session.last is None


def test_a_piece_without_a_word_is_left_out_of_a_long_text() -> None:
    session, _, _ = make(context=ContextConfig(max_turn_s=5.0))
    text = "One sentence is here to be said. " + "*** " * 30 + "Another one is there to be said."
    pieces = session.split(Utterance(text, 0))
    assert len(pieces) > 1
    assert all(any(c.isalpha() for c in piece.text) for piece in pieces)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Привет, мир.", "Cyrillic"),
        ("مرحبا بالعالم", "Arabic"),
        ("שלום", "Hebrew"),
        ("你好。", "Chinese"),
        ("Hello and こんにちは.", "Japanese"),
        ("안녕하세요", "Korean"),
        ("\u03b3\u03b5\u03b9\u03ac", "Greek"),
        ("नमस्ते", "Devanagari"),
    ],
)
def test_a_script_that_is_not_spoken_is_told_once_and_speech_goes_on(
    text: str, script: str
) -> None:
    session, engine, notes = make()
    for _ in range(2):
        finish(session.take(Utterance(text, 0)))
    finish(session.take(Utterance("Ещё раз.", 0)))
    session.takes(Utterance(text, 0), 2)
    warning = f"the model speaks English: of {script} letters it makes sounds, and no words"
    assert notes == [warning]
    assert len(engine.calls) == 5


@pytest.mark.parametrize(
    "text", ["Café naïve, Łódź, straße.", "The π meson.", "\uff28\uff49 there", "2 µm"]
)
def test_letters_that_english_readers_meet_are_no_foreign_script(text: str) -> None:
    session, _, notes = make()
    finish(session.take(Utterance(text, 0)))
    assert notes == []


def test_history_is_the_dialogue_with_names() -> None:
    session, _, _ = make(voices=(voice(0, 5, "Ana"),))
    finish(session.take(HI))
    finish(session.take(Utterance("Oh, hello.", 1)))
    assert session.history() == "Ana: Hi there.\n1: Oh, hello."


def test_rows_are_those_of_the_prompt() -> None:
    session, engine, _ = make(voices=(voice(0, 20),))
    finish(session.take(HI))
    finish(session.take(HI))
    voices, history = session.rows()
    finish(session.take(HI))
    own = len(session.backend.tokenizer.encode(HI.text, HI.speaker))
    assert len(engine.calls[-1][0].tokens) == voices + history + own


def test_the_model_reads_words_for_digits_in_lines_history_and_references() -> None:
    session, engine, _ = make(voices=(voice(0, 5),))
    _, turn = finish(session.take(Utterance("Room 12", 0)))
    assert turn.segment.text == session.turns[0].segment.text == "Room 12"
    assert session.history() == "ana: Room 12"
    finish(session.take(Utterance("At 5 p.m.", 1)))
    texts = ["[0]a reference.", "[0]Room twelve.", "[1]At five PM."]
    assert read_by(engine.calls[-1][0]) == texts
    session.reading = Reading(normalize=False)
    finish(session.take(Utterance("At 5 p.m.", 1)))
    assert read_by(engine.calls[-1][0])[1:] == ["[0]Room 12", "[1]At 5 p.m.", "[1]At 5 p.m."]


def test_words_are_read_as_the_lexicon_says_in_lines_history_and_references() -> None:
    lexicon, _ = parse_lexicon(["reference = recording", "Nguyen = no. 1 win"])
    session, engine, _ = make(
        voices=(voice(0, 5),), reading=Reading(normalize=True, lexicon=lexicon)
    )
    finish(session.take(Utterance("Ask Nguyen", 0)))
    finish(session.take(Utterance("nguyen?", 1)))
    texts = ["[0]a recording.", "[0]Ask number one win.", "[1]nguyen?"]
    assert read_by(engine.calls[-1][0]) == texts
    assert session.turns[0].segment.text == "Ask Nguyen"
    session.reading = Reading(normalize=False, lexicon=lexicon)
    assert session.read("Ask Nguyen") == "Ask no. 1 win"


def test_a_line_of_which_the_lexicon_leaves_no_word_has_nothing_to_say() -> None:
    lexicon, _ = parse_lexicon(["ahem ="])
    session, engine, _ = make(reading=Reading(lexicon=lexicon))
    with pytest.raises(EntryError, match='nothing to say in "Ahem!"'):
        finish(session.take(Utterance("Ahem!", 0)))
    assert engine.calls == []


def test_dropped_directions_are_told_once_a_session() -> None:
    session, engine, notes = make()
    finish(session.take(Utterance("*laughs* Hi.", 0)))
    finish(session.take(Utterance("(sighs) You.", 0)))
    assert read_by(engine.calls[-1][0]) == ["[0]Hi.", "[0]You."]
    (told,) = notes
    assert "as *laughs*, are not read" in told and "keep" in told
    session.reading = Reading(directions="keep")
    finish(session.take(Utterance("[coughs] Me.", 0)))
    assert read_by(engine.calls[-1][0])[-1] == "[0][coughs] Me."
    assert len(notes) == 1


def read_by(prompt: Prompt) -> list[str]:
    """The texts of a prompt, out of the ids of the tokenizer of fakes."""
    ids = [int(row[-1]) for row, mask in zip(prompt.tokens, prompt.mask, strict=True) if mask[-1]]
    between = "".join("\n" if id == 2 else chr(id - 3) for id in ids if id != 1)
    return between.splitlines()


def test_how_long_a_line_may_last_is_judged_by_its_words() -> None:
    digits = Utterance("$1,234,567.89 " * 4, 0)
    session, engine, _ = make(context_rows=2048, context=ContextConfig(max_turn_s=90.0))
    finish(session.take(digits))
    assert engine.calls[0][1].max_frames == cap_frames(estimate_s(session.read(digits.text)), 90.0)
    assert engine.calls[0][1].max_frames > cap_frames(estimate_s("one million " * 8), 90.0)
    session.context = ContextConfig(max_turn_s=15.0)
    assert len(session.split(digits)) > 1


def test_random_seeds_differ_and_reproduce() -> None:
    session, _, _ = make(seed=None)
    _, first = finish(session.take(HI))
    _, second = finish(session.take(HI))
    assert first.seed != second.seed
    session.clear()
    session.reseed(first.seed)
    _, again = finish(session.take(HI))
    assert np.array_equal(first.segment.codes, again.segment.codes)


def test_sampling_settings_reach_the_engine() -> None:
    session, engine, _ = make()
    session.sampling = SamplingConfig(temperature=0.5, top_k=7, depth_top_k=3, min_p=0.1, seed=9)
    finish(session.take(HI))
    sampling = engine.calls[0][1]
    assert (sampling.temperature, sampling.top_k, sampling.depth_top_k) == (0.5, 7, 3)
    assert (sampling.min_p, sampling.seed) == (0.1, 9)


def test_two_hundred_turns_keep_memory_flat_and_never_fail() -> None:
    session, engine, _ = make([40] * 230, context_rows=600)

    def talk(n_turns: int) -> None:
        for n in range(n_turns):
            _, turn = finish(session.take(Utterance(f"Turn {n} of a long evening.", n % 3)))
            assert turn.ended == "eos"
            engine.calls.clear()

    talk(30)
    gc.collect()
    tracemalloc.start()
    talk(200)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 300_000, grown


def test_warm_up_leaves_no_trace() -> None:
    session, engine, _ = make(voices=(voice(0, 20),), seed=3)
    engine.first_s = 0.2  # what computing the prompt takes
    timings = session.warm_up(4)
    assert timings.audio_s == pytest.approx(4 / FRAMES_PER_S)
    assert timings.first_audio_s >= 0.2
    assert timings.running_rtf is not None
    assert timings.running_rtf < 0.2 / (3 / FRAMES_PER_S)
    assert session.turns == ()
    assert session.last is None
    finish(session.take(HI))
    assert engine.calls[-1][1].seed == 3


def test_each_text_is_read_once_however_often_it_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, _, _ = make()
    encoded: list[str] = []
    encode = session.backend.tokenizer.encode

    class Counting:
        def encode(self, text: str, speaker: int) -> npt.NDArray[np.int32]:
            encoded.append(text)
            return encode(text, speaker)

    session.backend = replace(session.backend, tokenizer=Counting())
    session.reading = Reading()  # lines are worked out by the backend's tokenizer from here on
    for text in ("One.", "Two.", "Three."):
        finish(session.take(Utterance(text, 0)))
        session.rows()
        session.prepare(lambda: True)
    assert sorted(encoded) == ["One.", "Three.", "Two."]


def test_a_restored_turn_is_remembered_as_one_that_was_said() -> None:
    said, restored = (Session(fake_backend(), context=ContextConfig(max_turns=2)) for _ in "ab")
    for text in ("One.", "Two.", "Three."):
        _, turn = finish(said.take(Utterance(text, 1)))
        restored.restore(turn)
    assert restored.history() == said.history()
    assert restored.rows() == said.rows()
    assert restored.last == said.last


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_codec_that_gives_no_numbers_ends_the_take_before_them(
    broken: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, engine, notes = make([[20, 20, 30, 20]])

    @contextmanager
    def decoding(codec: LevelCodec) -> Iterator[Callable[[Codes], Pcm]]:
        def decode(codes: Codes) -> Pcm:
            levels = codes[:, 0] / np.float32(100)
            return np.repeat(np.where(codes[:, 0] == 30, broken, levels), FRAME_SAMPLES)

        yield decode

    monkeypatch.setattr(LevelCodec, "decoding", decoding)
    pcm, turn = finish(session.take(HI))
    assert (len(pcm), turn.ended, len(turn.segment.codes)) == (2 * FRAME_SAMPLES, "guard", 2)
    assert np.isfinite(pcm).all()
    assert "no numbers" in notes[0]
    assert not session.turns and len(engine.calls) == 1


def test_a_take_that_is_silent_throughout_is_no_turn() -> None:
    session, _, notes = make([[0, 0, 0]])
    _, turn = finish(session.take(HI))
    assert turn.ended == "guard"
    assert "silent throughout" in notes[0]
    assert not session.turns

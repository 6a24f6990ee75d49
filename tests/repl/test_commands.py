import re
import subprocess
import sys

import numpy as np
import pytest

from csm_chat.config.override import named
from csm_chat.conversation.session import Session
from csm_chat.errors import EntryError
from csm_chat.normalise.lexicon import parse_lexicon
from csm_chat.repl.commands import BY_NAME, COMMANDS, help_markdown, help_text, match
from csm_chat.repl.handlers import PromptState
from csm_chat.repl.lines import carry_out, check
from csm_chat.types import Segment, Utterance, Voice
from tests.fake_worker import FakeWorker
from tests.fakes import fake_backend


@pytest.fixture
def state():
    return PromptState(FakeWorker())


def answers(state, line):
    """What a line answers, at once or through the queue."""
    before = len(state.worker.view.notes)
    at_once = carry_out(state, line)
    return "\n".join([*at_once, *(text for _, text in state.worker.view.notes[before:])])


def speak(session, text):
    for _ in session.say(Utterance(text, 0)):
        pass


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("$CLEAR$", "CLEAR", ""),
        ("  $clear$ ", "CLEAR", ""),
        ("$Clear", "CLEAR", ""),
        ("$SPEAKER ben$", "SPEAKER", "ben"),
        ("$speaker mary ann", "SPEAKER", "mary ann"),
        ("$SPEAKER$", "SPEAKER", ""),
        ("$SEED 42", "SEED", "42"),
        ("$SEED Random$", "SEED", "Random"),
        ("$SET temperature 0.8$", "SET", "temperature 0.8"),
        ("$SET audio.device My USB Thing$", "SET", "audio.device My USB Thing"),
        ("$REPLAY 3$", "REPLAY", "3"),
        ("$REPLAY$", "REPLAY", ""),
        ("$AUDIO$", "AUDIO", ""),
        ("$SAY it costs $5, or so", "SAY", "it costs $5, or so"),
        ("$SAY it costs 5$$", "SAY", "it costs 5$"),
        ("$AUDIO  USB $", "AUDIO", "USB"),
        ("$EDIT 3 Hi there, you.$", "EDIT", "3 Hi there, you."),
        ("$edit! 12 Hi there, you.", "EDIT!", "12 Hi there, you."),
    ],
)
def test_commands_are_told_by_name_whatever_their_case(line, name, argument):
    assert match(line) == (BY_NAME[name], argument)


@pytest.mark.parametrize(
    "line",
    [
        "$5 please",
        "$HOME sweet home",
        "$BACK to the future",
        "$Wow!$",
        "$Hello! you",
        "$SET the table for two",
        "$CLEAR$ my mind",
        "\\$CLEAR$",
        "a $CLEAR$",
        "$",
        "$$",
        "$ CLEAR$",
        "CLEAR",
        "",
    ],
)
def test_everything_else_is_speech(line):
    assert match(line) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("$CLAER$", "Unknown command $CLAER$. Did you mean $CLEAR$?"),
        ("$hlep$", "Did you mean $HELP$?"),
        ("$xyzzy$", "$HELP$ lists the commands"),
        ("$CLEAR all$", "$CLEAR$ is how it is typed"),
        ("$SEED$", "$SEED n|random$ is how it is typed"),
        ("$SEED", "$SEED n|random$ is how it is typed"),
        ("$SEED many$", "$SEED n|random$"),
        ("$SET temperature$", "$SET key value$"),
        ("$REPLAY 3-5$", "$REPLAY [n]$"),
        ("$TAKES$", "$TAKES n$"),
        ("$TAKES -1$", "$TAKES n$"),
        ("$PICK best$", "$PICK n$"),
        ("$EDIT 3$", "$EDIT n text$"),
        ("$EDIT! Hi.$", "$EDIT! n text$"),
    ],
)
def test_wrong_command_is_refused_with_help_and_a_way_to_speak_it(line, words):
    with pytest.raises(EntryError) as refused:
        match(line)
    assert words in str(refused.value)
    assert f"\\{line} would speak it" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert 0 < refused.value.position <= len(line)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_runs(command, state):
    arguments = {"SEED": "5", "SET": "top_k 20", "SAY": "Hi.", "TAKES": "3", "PICK": "2"}
    arguments |= {"EDIT": "3 Hi.", "EDIT!": "3 Hi."}
    argument = arguments.get(command.name, "")
    carry_out(state, f"${command.name} {argument}$")
    assert bool(state.worker.entries) == (command.name == "DEMO"), "no other one is spoken"


def test_speaker_moves_on_and_back_and_never_below_zero(state):
    assert answers(state, "$SWAP$") == "Now speaking: Ben."
    assert answers(state, "$SWAP$") == "Now speaking: speaker 2."
    carry_out(state, "$BACK$")
    carry_out(state, "$BACK$")
    assert "first" in answers(state, "$BACK$")
    assert state.speaker == 0


def test_speaker_is_chosen_by_number_or_name(state):
    assert answers(state, "$SPEAKER BEN$") == "Now speaking: Ben."
    assert state.speaker == 1
    carry_out(state, "$SPEAKER 12$")
    assert state.speaker == 12
    listed = answers(state, "$SPEAKER$")
    assert "Ana" in listed and "12" in listed and "(now)" in listed.splitlines()[-1]


@pytest.mark.parametrize(("who", "words"), [("bne", "Did you mean Ben?"), ("1000", "0 - 999")])
def test_unknown_speaker_is_refused(state, who, words):
    with pytest.raises(EntryError, match=re.escape(words)):
        carry_out(state, f"$SPEAKER {who}$")
    assert state.speaker == 0


def test_entries_speak_as_the_current_speaker(state):
    carry_out(state, "$SWAP$")
    carry_out(state, "Hi!||Oh.0")
    assert state.worker.entries == [(Utterance("Hi!", 1), Utterance("Oh.", 1))]


def test_blank_line_does_nothing(state):
    assert carry_out(state, "  ") == ()
    assert state.worker.calls == []


def test_queued_commands_reach_the_worker_in_order(state):
    for line in ("$RETRY$", "$REPLAY$", "$REPLAY 7$", "$RELOAD$", "$AUDIO usb$", "$AUDIO$"):
        assert carry_out(state, line) == ()
    assert state.worker.calls == [
        ("retry",),
        ("replay", None),
        ("replay", 7),
        ("reload",),
        ("set_audio", "usb"),
        ("set_audio", None),
    ]


def test_takes_and_changes_reach_the_worker_in_order(state):
    for line in ("$TAKES 4$", "$PICK 2$", "$EDIT 3 Hi  there.$", "$EDIT! 3 Hi!"):
        assert carry_out(state, line) == ()
    assert state.worker.calls == [
        ("takes", 4),
        ("pick", 2),
        ("edit", 3, "Hi  there.", False),
        ("edit", 3, "Hi!", True),
    ]


@pytest.mark.parametrize("n", [0, 1, 9, 50])
def test_too_many_takes_are_refused_while_the_line_can_be_changed(state, n):
    with pytest.raises(EntryError, match=f"{n} takes at once cannot be had: ask for 2 to 8"):
        carry_out(state, f"$TAKES {n}$")
    assert state.worker.calls == []


def test_settings_are_checked_before_they_are_queued(state):
    with pytest.raises(EntryError, match="top_k"):
        carry_out(state, "$SET top_k many$")
    with pytest.raises(EntryError, match="Did you mean"):
        carry_out(state, "$SET temprature 1$")
    with pytest.raises(EntryError, match="model is read at the start"):
        carry_out(state, "$SET model elsewhere$")
    with pytest.raises(EntryError, match="latency_s is read at the start"):
        carry_out(state, "$SET latency_s 0.5$")
    assert state.worker.calls == []
    carry_out(state, "$SET top_k 20$")
    assert state.worker.calls == [("set", "top_k", "20")]


def test_say_shows_what_would_be_read_and_speaks_nothing(state):
    shown = answers(state, "$SAY It costs $5!||Room 12, at 10:30$")
    assert shown.splitlines() == ["It costs five dollars!", "Room twelve, at ten thirty."]
    long = " ".join(
        f"This is sentence {number} of a long story about the sea." for number in range(9)
    )
    carry_out(state, "$SET max_turn_s 15$")
    lines = answers(state, f"$SAY {long}$").splitlines()
    assert len(lines) > 1
    assert lines[0].startswith("This is sentence zero of") and lines[0].endswith("the sea.")
    assert state.worker.entries == []


def test_say_follows_the_setting_at_once_and_needs_no_model(state):
    carry_out(state, "$SET normalize false$")
    assert answers(state, "$SAY Room 12$") == "Room 12"
    state.worker.lexicon, _ = parse_lexicon(["Room = Chamber"])
    assert answers(state, "$SAY Room 12$") == "Chamber 12"
    assert ("ask",) not in state.worker.calls


def test_an_entry_of_the_lexicon_holds_at_once_and_is_listed(state):
    assert "lexicon.txt" in answers(state, "$LEXICON$")
    carry_out(state, "$LEXICON Nguyen = win$")
    carry_out(state, "$lexicon /S(\\d+)/ = season \\1")  # no mark at its end is needed
    assert answers(state, "$SAY Nguyen, S2$") == "win, season two."
    assert answers(state, "$LEXICON$") == "Nguyen = win\n/S(\\d+)/ = season \\1"
    assert list(BY_NAME["LEXICON"].complete(state)) == ["Nguyen = win", "/S(\\d+)/ = season \\1"]
    assert ("ask",) not in state.worker.calls


def test_directions_are_read_by_the_setting_at_once(state):
    for line in ("*laughs*", "*laughs*||(sighs)", "$SAY *laughs*$"):
        with pytest.raises(EntryError, match="stage directions are not read"):
            carry_out(state, line)
    assert answers(state, "$SAY *laughs* Hi$") == "Hi."
    carry_out(state, "$SET directions keep$")
    assert answers(state, "$SAY *laughs* Hi$") == "*laughs* Hi."
    carry_out(state, "*laughs*")
    assert state.worker.entries == [(Utterance("*laughs*", 0),)]


def test_a_long_lexicon_is_listed_from_its_end(state):
    for number in range(45):
        carry_out(state, f"$LEXICON word{number} = x$")
    listed = answers(state, "$LEXICON$").splitlines()
    assert listed[:2] == ["... 5 before", "word5 = x"]
    assert listed[-1] == "word44 = x"


@pytest.mark.parametrize("bad", ["Nguyen", "= win", "/(/ = x", "/a*/ = x"])
def test_a_bad_entry_is_one_line_and_nothing_changes(state, bad):
    with pytest.raises(EntryError, match="Nothing was changed") as refused:
        carry_out(state, f"$LEXICON {bad}$")
    assert "\n" not in str(refused.value)
    assert state.worker.lexicon.entries == ()
    assert state.worker.calls == []


def test_offsets_are_read_by_the_setting_at_once(state):
    carry_out(state, "$SET offsets classic$")
    carry_out(state, "a||room 12")
    assert state.worker.entries == [(Utterance("a", 0), Utterance("room 1", 2))]


def test_same_seed_again_starts_counting_anew(state):
    session = state.worker.session
    for line in ("$SEED 5$", "One.", "Two.", "$SEED 5$", "Three."):
        carry_out(state, line)
        if not line.startswith("$"):
            speak(session, line)
    assert [turn.seed for turn in session.turns] == [5, 6, 5]
    assert ("set", "sampling.seed", "5") in state.worker.calls
    carry_out(state, "$SEED random$")
    assert session.sampling.seed is None


def test_dialogue_is_shown_undone_and_cleared(state):
    session = state.worker.session
    assert answers(state, "$HISTORY$") == "Nothing was said yet."
    assert "no turn" in answers(state, "$UNDO$")
    for text in ("One.", "Two."):
        speak(session, text)
    assert "Two." in answers(state, "$HISTORY$")
    undone = answers(state, "$UNDO$")
    assert '"Two."' in undone and 'ends with "One."' in undone
    assert "forgotten" in answers(state, "$CLEAR$")
    assert session.turns == ()


def test_what_undo_brings_back_is_named(state):
    session = state.worker.session
    for text in ("One.", "Two."):
        speak(session, text)
    for _ in session.retake(0, Utterance("Eins.", 0)):
        pass
    undone = answers(state, "$UNDO$")
    assert undone.startswith('"Eins." is no longer part of the dialogue')
    assert undone.endswith('"One." came back.')


def test_voices_are_listed_with_what_they_say(state):
    assert "random" in answers(state, "$VOICES$")
    segment = Segment(
        3, "So the thing about the sea is that it never really stops.", np.ones((25, 4))
    )
    state.worker.session = Session(fake_backend(), (Voice(3, "cleo", (segment,)),))
    assert answers(state, "$VOICES$") == (
        '  3 cleo   2.0 s  "So the thing about the sea is that it ne..."'
    )


def test_exit_leaves(state):
    carry_out(state, "$exit$")
    assert state.leaving


def test_error_is_placed_in_the_text_of_several_lines(state):
    text = "Hi!\na||b!-5\n"
    with pytest.raises(EntryError) as refused:
        check(state, text)
    assert text[refused.value.position :] == "-5\n"


def test_lines_after_a_command_are_not_checked_ahead_of_it(state):
    check(state, "$SPEAKER 5$\na!-1||b")


def test_help_and_readme_name_every_command():
    shown, section = help_text(), help_markdown()
    for command in COMMANDS:
        assert command.usage in shown and command.help in shown
        assert command.usage.replace("|", "\\|") in section
    for row in section.splitlines():
        assert not row or len(re.findall(r"(?<!\\)\|", row)) == 3


def test_settings_offered_are_settings(state):
    offered = set(BY_NAME["SET"].complete(state))
    assert "sampling.temperature" in offered
    assert "ana.speed" in offered
    assert all(named(key).live for key in offered)


def test_importing_the_table_loads_no_terminal():
    code = "import csm_chat.repl.commands, sys; print('prompt_toolkit' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_demo_shows_and_says_a_scene_of_two(state):
    shown = answers(state, "$DEMO$").splitlines()
    (scene,) = state.worker.entries
    assert {u.speaker for u in scene} == {0, 1}
    assert shown == [f"{state.names[u.speaker]}: {u.text}" for u in scene]

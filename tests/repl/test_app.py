import asyncio
import signal
import stat
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from csm_chat.config.settings import Config
from csm_chat.conversation.ports import Rows, Status
from csm_chat.repl.app import run
from csm_chat.types import Segment, Timings, Turn, Utterance
from tests.fake_worker import FakeWorker
from tests.terminal import on_terminal

ENTER, ALT_ENTER, TAB, CTRL_C, CTRL_D, CTRL_R = "\r", "\x1b\r", "\t", "\x03", "\x04", "\x12"
UP, F3, F4 = "\x1b[A", "\x1bOR", "\x1bOS"
PASTE_START, PASTE_END = "\x1b[200~", "\x1b[201~"


@pytest.fixture
def worker():
    return FakeWorker()


def test_line_is_spoken_on_enter(worker):
    async def script(terminal):
        await terminal.type("Hi!||Oh.0" + ENTER)
        await terminal.until(lambda: worker.entries)

    assert on_terminal(script, worker) == 0
    assert worker.entries == [(Utterance("Hi!", 0), Utterance("Oh.", 0))]


def test_screen_while_typing_a_scene(worker):
    worker.now = Status("ready", audio="off", rows=Rows(410, 96, 1736), first_audio_s=0.41, rtf=0.6)

    async def script(terminal):
        await terminal.type("Hi!||Hello.0||Yes.")
        await terminal.shows("speaker 2: Yes.")
        lines = terminal.screen.text.splitlines()
        assert lines[:2] == ["banner", "Ana> Hi!||Hello.0 →Ana||Yes."]
        assert lines[-2:] == [
            " Ana: Hi!   Ana: Hello.   speaker 2: Yes.",
            " ready │ audio: off │ 1.7x faster than real time │ first sound 0.41 s",
        ]
        shown = terminal.screen.shown.buffer[1]
        colours = {shown[column].fg for column in (5, 14, -1 + len(lines[1]))}
        assert len(colours) == 2  # speakers 0, 0 and 2
        # the chip is drawn, not typed: the cursor stands behind it, the line is as typed
        assert terminal.screen.shown.cursor.x == len(lines[1])
        assert terminal.line == "Hi!||Hello.0||Yes."

    on_terminal(script, worker)


def test_cursor_moves_over_chips(worker):
    async def script(terminal):
        await terminal.type("a.1||b" + "\x1b[D" * 3)
        await terminal.until(lambda: terminal.screen.shown.cursor.x == len("Ana> a.1"))
        await terminal.type("\x1b[C")
        await terminal.until(lambda: terminal.screen.shown.cursor.x == len("Ana> a.1 →Ben|"))

    on_terminal(script, worker)


def test_screen_is_ascii_where_the_encoding_is(worker):
    async def script(terminal):
        await terminal.type("Hi!||Hello.0")
        await terminal.shows("Hello.0 ->Ana")
        await terminal.shows("ready | audio: off")
        assert terminal.screen.text.isascii()

    on_terminal(script, worker, encoding="ascii")


def test_narrow_screen_keeps_a_long_line_and_the_toolbar(worker):
    async def script(terminal):
        await terminal.type("word " * 20 + "||the end")
        await terminal.shows("Ben: the end")
        await terminal.shows("ready")
        assert "word" in terminal.screen.text.splitlines()[2]

    on_terminal(script, worker, columns=40, rows=12)


def test_line_without_reading_stays_with_the_reason_and_the_cursor_at_it(worker):
    async def script(terminal):
        await terminal.type("Hi!||No.-3" + ENTER)
        await terminal.shows("speaker -3")
        buffer = terminal.prompt.session.default_buffer
        assert (buffer.text, buffer.cursor_position) == ("Hi!||No.-3", 8)
        await terminal.type("x")
        await terminal.until(lambda: "would be said" not in terminal.screen.text)

    on_terminal(script, worker)
    assert worker.entries == []


@pytest.mark.parametrize(
    ("line", "answer"),
    [("$CLAER$", "Did you mean $CLEAR$?"), ("$SPEAKER bem$", "Did you mean Ben?")],
)
def test_a_command_that_is_not_understood_is_not_spoken_and_brings_its_line_back(
    worker, line, answer
):
    async def script(terminal):
        await terminal.type(line + ENTER)
        await terminal.shows(answer)
        await terminal.until(lambda: terminal.line == line)

    on_terminal(script, worker)
    assert worker.entries == []


def test_command_answers_above_the_prompt_which_changes(worker):
    async def script(terminal):
        await terminal.type("$SWAP$" + ENTER)
        await terminal.shows("Now speaking: Ben.\nBen>")
        await terminal.type("$SPEAKER 7$" + ENTER)
        await terminal.shows("\n7>")

    on_terminal(script, worker)


def test_ctrl_c_while_speaking_stops_and_keeps_the_typed_text(worker):
    worker.now = Status("speaking", part=1, parts=1)

    async def script(terminal):
        await terminal.type("half a li")
        await terminal.type(CTRL_C)
        await terminal.until(lambda: ("cancel",) in worker.calls)
        assert terminal.line == "half a li"
        await terminal.type("ne" + ENTER)
        await terminal.until(lambda: worker.entries)

    on_terminal(script, worker)
    assert worker.entries == [(Utterance("half a line", 0),)]
    assert ("drop_queue",) not in worker.calls[: worker.calls.index(("say", (0, "half a line")))]


def test_second_ctrl_c_drops_the_queue_and_still_keeps_the_text(worker):
    worker.now = Status("generating", part=1, parts=1, n_queued=2)

    async def script(terminal):
        await terminal.type("half" + CTRL_C + CTRL_C)
        await terminal.shows("2 more lines dropped")
        assert terminal.line == "half"

    on_terminal(script, worker)


def test_double_ctrl_c_with_an_empty_queue_keeps_the_text(worker):
    worker.now = Status("speaking", part=1, parts=1)

    async def script(terminal):
        await terminal.type("half" + CTRL_C + CTRL_C)
        await terminal.until(lambda: worker.calls.count(("cancel",)) == 2)
        assert terminal.line == "half"

    on_terminal(script, worker)


def test_ctrl_c_when_idle_clears_the_line_then_hints(worker):
    async def script(terminal):
        await terminal.type("Hi!" + CTRL_C)
        await terminal.until(lambda: terminal.line == "")
        assert "Ctrl-D" not in terminal.screen.text
        await terminal.type(CTRL_C)
        await terminal.shows("(Ctrl-D or $EXIT$ to leave)")

    assert on_terminal(script, worker) == 0


def test_ctrl_c_twice_drops_lines_that_wait_for_the_model(worker):
    worker.now = Status("loading", n_queued=1)

    async def script(terminal):
        await terminal.type(CTRL_C + CTRL_C)
        await terminal.shows("1 more line dropped")

    on_terminal(script, worker)


@pytest.mark.parametrize("state", ["loading", "ready", "generating", "speaking"])
def test_ctrl_d_on_an_empty_line_leaves_in_every_state(worker, state):
    worker.now = Status(state)

    async def script(terminal):
        await terminal.type(CTRL_D)

    assert on_terminal(script, worker) == 0
    assert worker.calls[-1] == ("close",)


def test_ctrl_d_does_not_leave_a_line(worker):
    async def script(terminal):
        await terminal.type("Hi" + CTRL_D + "!" + ENTER)
        await terminal.until(lambda: worker.entries)

    on_terminal(script, worker)


def test_exit_command_leaves(worker):
    async def script(terminal):
        await terminal.type("$EXIT$" + ENTER)
        await terminal.until(lambda: ("close",) in worker.calls)

    assert on_terminal(script, worker) == 0


def test_enter_after_a_failed_start_tries_again(worker):
    worker = FakeWorker(state="failed")

    async def script(terminal):
        await terminal.shows("no model: Enter tries again")
        await terminal.type(ENTER)
        await terminal.until(lambda: ("retry_loading",) in worker.calls)
        worker.now = replace(worker.now, state="failed")

    assert on_terminal(script, worker) == 3


def test_empty_line_says_nothing(worker):
    async def script(terminal):
        await terminal.type(ENTER + "  " + ENTER + "Hi!" + ENTER)
        await terminal.until(lambda: worker.entries)

    on_terminal(script, worker)
    assert worker.entries == [(Utterance("Hi!", 0),)]
    assert ("retry_loading",) not in worker.calls


def test_lines_of_one_text_are_entries_in_order(worker):
    async def script(terminal):
        await terminal.type("One." + ALT_ENTER + "$SWAP$" + ALT_ENTER + "Two." + ENTER)
        await terminal.until(lambda: len(worker.entries) == 2)
        await terminal.type(f"{PASTE_START}Three.\r\n\r\nFour.\r\n{PASTE_END}")
        assert len(worker.entries) == 2
        await terminal.type(ENTER)
        await terminal.until(lambda: len(worker.entries) == 4)

    on_terminal(script, worker)
    spoken = [(each.speaker, each.text) for (each,) in worker.entries]
    assert spoken == [(0, "One."), (1, "Two."), (1, "Three."), (1, "Four.")]


def test_function_and_alt_keys_are_commands(worker):
    async def script(terminal):
        await terminal.type("typing" + F4)
        await terminal.shows("Ben> typing")
        await terminal.type(F3)
        await terminal.shows("Ana> typing")
        await terminal.type("\x1br\x1bp\x1bu")
        await terminal.until(lambda: ("run",) in worker.calls)
        assert terminal.line == "typing"

    on_terminal(script, worker)
    assert worker.calls[1:4] == [("retry",), ("replay", None), ("run",)]


def test_tab_completes_commands_names_and_arguments(worker):
    async def script(terminal):
        await terminal.type("$cle")
        await terminal.shows("forget the dialogue")
        await terminal.type(TAB)
        await terminal.until(lambda: terminal.line == "$CLEAR$")
        await terminal.type(CTRL_C + "Hi!||be" + TAB)
        await terminal.until(lambda: terminal.line == "Hi!||Ben: ")
        await terminal.type(CTRL_C + "$speaker b")
        await terminal.shows("  Ben")
        await terminal.type(TAB)
        await terminal.until(lambda: terminal.line == "$speaker Ben$")
        await terminal.type(CTRL_C + "$set depth_temp")
        await terminal.shows("  sampling.depth_temperature")
        await terminal.type(TAB)
        await terminal.until(lambda: terminal.line == "$set sampling.depth_temperature ")
        await terminal.type(CTRL_C + "$pick 3")
        await terminal.shows("          3")
        await terminal.type(TAB)
        await terminal.until(lambda: terminal.line == "$pick 3$")
        await terminal.type(CTRL_C + "$edit! 3")
        await terminal.shows("  3 Oh, hello.")
        await terminal.type(TAB)
        await terminal.until(lambda: terminal.line == "$edit! 3 Oh, hello.")

    on_terminal(script, worker)


def test_enter_on_a_chosen_completion_does_not_run_it(worker):
    async def script(terminal):
        await terminal.type("$re")
        await terminal.shows("look at the references folder again")
        await terminal.type(TAB)
        await terminal.until(lambda: terminal.line == "$RETRY$")
        await terminal.type(ENTER)
        assert worker.calls == [("start",)]
        await terminal.type(ENTER)
        await terminal.until(lambda: ("retry",) in worker.calls)

    on_terminal(script, worker)


def test_typed_lines_are_kept_for_the_next_session_and_only_for_the_owner(worker, tmp_path):
    history = tmp_path / "state" / "history"

    async def first(terminal):
        await terminal.type("Remember me.\r")
        await terminal.until(lambda: worker.entries)

    async def second(terminal):
        await terminal.type(UP)
        await terminal.until(lambda: terminal.line == "Remember me.")
        await terminal.type(CTRL_C)
        await terminal.type(CTRL_R + "member" + ENTER)
        await terminal.until(lambda: len(worker.entries) == 1 and terminal.line == "Remember me.")

    on_terminal(first, worker, history=history)
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    on_terminal(second, worker, history=history)


def test_history_can_be_turned_off(worker, tmp_path):
    async def script(terminal):
        await terminal.type("Secret." + ENTER)
        await terminal.until(lambda: worker.entries)
        await terminal.type(UP)
        await terminal.until(lambda: terminal.line == "Secret.")

    on_terminal(script, worker, Config(history=False), history=tmp_path / "history")
    assert list(tmp_path.iterdir()) == []


def test_history_that_cannot_be_kept_is_said_once_and_kept_in_memory(worker, tmp_path):
    (tmp_path / "file").touch()

    async def script(terminal):
        await terminal.shows("cannot be written")
        await terminal.type("Hi!" + ENTER)
        await terminal.until(lambda: worker.entries)
        await terminal.type(UP)
        await terminal.until(lambda: terminal.line == "Hi!")
        assert terminal.screen.text.count("cannot be written") == 1

    on_terminal(script, worker, history=tmp_path / "file" / "history", columns=200)


def test_what_the_worker_tells_appears_above_the_line_being_typed(worker):
    turn = Turn(Segment(1, "Hello.", np.zeros((20, 4), np.int32)), 7, "eos", Timings(0.3, 0.8, 1.6))

    def tell():
        worker.view.note("voices: two")
        worker.view.turn(3, turn)
        worker.view.saved(Path("takes/a/003-ben.wav"))
        worker.view.saved(Path("takes/a/004-ben.wav"))

    async def script(terminal):
        await terminal.type("half a line")
        thread = threading.Thread(target=tell)
        thread.start()
        await terminal.shows("takes are saved in takes/a")
        thread.join()
        lines = terminal.screen.text.splitlines()
        assert lines[1] == "voices: two"
        assert lines[2] == " 3 Ben  Hello.   1.6 s · first sound 0.30 s · seed 7"
        assert lines[4] == "Ana> half a line"

    on_terminal(script, worker)


HOSTILE = "\x1b]0;title\x07\x9b31m\x9d52;c;Zm9v\x9c\x7f\u202e\x1b[2J"


def test_nothing_from_outside_steers_the_terminal(worker):
    worker.names = {0: f"Ana{HOSTILE}", 1: f"Anb{HOSTILE}"}
    worker.now = Status("loading", detail=HOSTILE, audio=HOSTILE, model=HOSTILE)
    turn = Turn(Segment(1, HOSTILE, np.zeros((20, 4), np.int32)), 7, "eos", Timings(0.3, 0.8, 1.6))

    async def script(terminal):
        worker.view.note(f"a note {HOSTILE}\nand its end", "error")
        worker.view.turn(1, turn)
        worker.view.saved(Path(f"{HOSTILE}\nforged") / "001.wav")
        await terminal.shows(r"a note \x1b]0;title\x07\x9b31m")
        await terminal.shows("and its end")
        await terminal.shows(r"saved in \x1b]0;title")
        await terminal.type(f"{PASTE_START}{HOSTILE}Hi!||{HOSTILE}Oh.{PASTE_END}")
        await terminal.type("\x01An" + TAB)
        worker.now = replace(worker.now, state="ready")
        worker.view.changed()
        await terminal.shows("ready")
        await terminal.type(f"$SPEAKER {HOSTILE}${ENTER}")
        shown = terminal.screen.written
        for control in ("\x07", "\x7f", "\x9b", "\x9d", "\x1b]", "\x1b[2J"):
            assert control not in shown, f"{control!r}\n{terminal.screen.text}"
        assert not any(line.startswith("forged") for line in terminal.screen.text.splitlines())

    on_terminal(script, worker)


def test_a_path_is_not_cut_on_a_narrow_screen(worker):
    path = "/somewhere/deep/in/folders/of-a-long-name/001.wav"

    async def script(terminal):
        worker.view.note(f"cannot read {path}: no such file, so it is left out")
        await terminal.until(lambda: "left out" in terminal.screen.text)
        rows = terminal.screen.shown.display
        assert path in "".join(row for row in rows)

    on_terminal(script, worker, columns=20)


def test_toolbar_follows_the_worker(worker):
    async def script(terminal):
        await terminal.shows(" ready")
        worker.now = Status("speaking", speaker=1, part=1, parts=2, level=1.0)
        worker.view.changed()
        await terminal.shows("speaking Ben 1/2 ▁▂▃▄▅▆▇█")
        worker.now = replace(worker.now, level=0.0)  # moves by itself, nobody tells
        await terminal.until(lambda: "▁" not in terminal.screen.text)

    on_terminal(script, worker)


def test_idle_prompt_draws_nothing(worker):
    async def script(terminal):
        await terminal.shows(" ready")
        app = terminal.prompt.session.app
        for _ in range(10):  # the first picture may take its time
            n_drawn = app.render_counter
            await asyncio.sleep(0.3)
            if app.render_counter == n_drawn:
                return
        raise AssertionError("drawn again and again")

    on_terminal(script, worker)


def test_signal_is_a_ctrl_c(worker):
    worker.now = Status("speaking")

    async def script(terminal):
        await terminal.type("half")
        signal.raise_signal(signal.SIGINT)
        await terminal.until(lambda: ("cancel",) in worker.calls)
        assert terminal.line == "half"

    assert on_terminal(script, worker) == 0


def test_run_prompts_until_left_and_starts_the_worker_before_anything_is_said(worker, tmp_path):
    worker.config = Config(speaker=1)
    with create_pipe_input() as keys:
        keys.send_text("Hi!" + ENTER + "$EXIT$" + ENTER)
        code = run(
            worker,
            "banner",
            history=tmp_path / "history",
            input=keys,
            output=DummyOutput(),
        )
    assert code == 0
    assert worker.calls[:2] == [("start",), ("say", (1, "Hi!"))]
    assert worker.calls[-1] == ("close",)


def test_escape_sequences_in_text_do_not_reach_the_terminal(worker):
    async def script(terminal):
        worker.view.note("before \x1b[2J\x1b[31mafter")
        await terminal.shows("after")
        assert "banner" in terminal.screen.text

    on_terminal(script, worker)


def test_a_long_line_is_broken_between_words(worker):
    long = "reference7.wav has no transcript: write what is said in it to references/reference7.txt"

    async def script(terminal):
        terminal.prompt.note(long)
        await terminal.shows("reference7.txt")
        shown = terminal.screen.text.splitlines()
        assert shown[1] == "reference7.wav has no transcript: write what is"
        assert shown[2] == "  said in it to references/reference7.txt"

    assert on_terminal(script, worker, columns=50) == 0

import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from csm_chat.conversation.ports import Status
from csm_chat.repl.plain import run, wanted
from csm_chat.types import Segment, Timings, Turn, Utterance
from tests.fake_worker import FakeWorker


def talk(worker, text):
    """Exit code, what went to stdout, what to stderr."""
    out, err = io.StringIO(), io.StringIO()
    code = run(worker, io.StringIO(text), out, err)
    return code, out.getvalue(), err.getvalue()


def test_lines_are_carried_out_in_order_then_waited_for():
    worker = FakeWorker()
    assert talk(worker, "Hi!||Oh.\n\n$SWAP$\r\nYes.\n$RETRY$\nlast")[0] == 0
    assert worker.calls == [
        ("start",),
        ("say", (0, "Hi!"), (1, "Oh.")),
        ("say", (1, "Yes.")),
        ("retry",),
        ("say", (1, "last")),
        ("hear_all",),
        ("wait",),
        ("drop_queue",),
        ("close",),
    ]


def test_exit_command_ends_the_reading_and_waits():
    worker = FakeWorker()
    assert talk(worker, "Hi!\n$EXIT$\nnever\n")[0] == 0
    assert worker.entries == [(Utterance("Hi!", 0),)]
    assert ("wait",) in worker.calls


def test_paths_go_to_stdout_and_everything_else_to_stderr():
    worker = FakeWorker()
    worker.saves = True
    turn = Turn(Segment(1, "Oh.", np.zeros((20, 4), np.int32)), 7, "eos", Timings(0.3, 0.8, 1.6))
    worker.on_wait = lambda: worker.view.turn(1, turn)
    code, out, err = talk(worker, "Oh.\n$HELP$\n")
    assert code == 0
    assert out == f"{Path('takes/001.wav')}\n"
    assert "$CLEAR$" in err
    assert " 1 Ben  Oh.   1.6 s, first sound 0.30 s, 2.0x faster than real time, seed 7" in err


def test_line_without_reading_is_reported_and_the_rest_spoken():
    worker = FakeWorker()
    code, _, err = talk(worker, "One.\n$CLAER$\n||\n***\nTwo.\n")
    assert code == 1
    assert "line 2: Unknown command $CLAER$" in err and err.count(": There is nothing to say") == 2
    assert [entry[0].text for entry in worker.entries] == ["One.", "Two."]


def test_failed_entry_is_exit_code_1():
    worker = FakeWorker()

    def fail():
        worker.n_failed = 1

    worker.on_wait = fail
    assert talk(worker, "One.\n")[0] == 1


def test_failed_model_is_its_own_exit_code():
    assert talk(FakeWorker(state="failed"), "One.\n$CLAER$\n")[0] == 3


def test_notes_on_how_a_line_was_read_are_told():
    assert "part 2 is empty" in talk(FakeWorker(), "Hi!||\n")[2]


def test_a_pipe_is_read_in_the_encoding_that_it_shows():
    typed = "$SWAP$\nCafé there!\n"
    for given, n_remarks in (
        (b"\xef\xbb\xbf$SWAP$\nCaf\xe9 there!\n", 1),
        (typed.encode("utf-8-sig"), 0),
        (typed.encode("utf-16"), 0),
        (typed.encode("utf-16-be"), 0),
    ):
        worker, err = FakeWorker(), io.StringIO()
        lines = io.TextIOWrapper(io.BytesIO(given), "ascii")  # as a POSIX locale has it
        assert run(worker, lines, io.StringIO(), err) == 0
        assert worker.entries == [(Utterance("Café there!", 1),)]
        assert err.getvalue().count("standard input is not UTF-8: read as") == n_remarks


def test_a_line_of_a_pipe_is_carried_out_before_the_next_is_written():
    reading, writing = os.pipe()
    worker = FakeWorker()
    os.write(writing, b"Hi.\n")

    def say_more(utterances):
        if len(worker.entries) == 1:
            os.write(writing, b"Caf\xe9.\n")
            os.close(writing)

    worker.on_say = say_more
    with os.fdopen(reading) as lines:
        assert run(worker, lines, io.StringIO(), io.StringIO()) == 0
    assert [entry[0].text for entry in worker.entries] == ["Hi.", "Café."]


def test_reader_that_went_away_ends_it_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    worker = FakeWorker()
    worker.saves = True
    err = io.StringIO()
    with os.fdopen(writing, "w") as out:
        assert run(worker, io.StringIO("One.\nTwo.\n"), out, err) == 1
    assert len(worker.entries) == 1
    assert worker.calls[-1] == ("close",)
    assert err.getvalue() == ""


def test_reader_that_goes_away_ends_the_waiting():
    reading, writing = os.pipe()
    worker = FakeWorker()
    never = threading.Event()

    def wait():
        os.close(reading)
        worker.view.saved(Path("takes/001.wav"))
        never.wait(10)

    worker.on_wait = wait
    started = time.monotonic()
    with os.fdopen(writing, "w") as out:
        assert run(worker, io.StringIO("One.\n"), out, io.StringIO()) == 1
    assert time.monotonic() - started < 5
    never.set()


def test_interrupt_stops_and_is_exit_code_130():
    worker = FakeWorker()
    worker.on_wait = lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    assert talk(worker, "One.\n")[0] == 130
    assert worker.calls[-2:] == [("drop_queue",), ("close",)]


class Typist(io.StringIO):
    """A simple terminal: each readline is the next of `events`, or raises it."""

    def __init__(self, *events):
        super().__init__()
        self._events = list(events)

    def isatty(self):
        return True

    def readline(self, size=-1):
        event = self._events.pop(0) if self._events else ""
        if event is KeyboardInterrupt:
            raise KeyboardInterrupt
        return event() if callable(event) else event


def test_simple_terminal_prompts_by_name_and_reads_scenes_back():
    worker, err = FakeWorker(), io.StringIO()
    typist = Typist("Hi!||Oh.\n", "$SWAP$\n", "$CLAER$\n", "Yes.\n")
    assert run(worker, typist, io.StringIO(), err) == 0
    assert err.getvalue().startswith("Ana> Ana: Hi!   Ben: Oh.\nAna> Now speaking: Ben.\nBen> ")
    assert ("wait",) not in worker.calls
    assert len(worker.entries) == 2


def loading(monkeypatch, term):
    """What a terminal of that kind is written while a model is loaded."""
    monkeypatch.setenv("TERM", term)
    worker, err = FakeWorker(), io.StringIO()
    err.isatty = lambda: True

    def load():
        for detail in ("downloading 1 %", "downloading 22 %", "the codec", "the codec", ""):
            worker.now = Status("loading", detail=detail)
            worker.view.changed()

    worker.on_wait = load
    assert run(worker, io.StringIO("One.\n"), io.StringIO(), err) == 0
    return err.getvalue()


def test_stages_of_loading_are_a_line_each_where_nothing_can_be_redrawn(monkeypatch):
    assert loading(monkeypatch, "dumb") == "downloading 1 %\nthe codec\n"
    assert "\rthe codec       \r" in loading(monkeypatch, "xterm")


def test_interrupt_at_a_simple_terminal_stops_speech_or_hints():
    worker, err = FakeWorker(), io.StringIO()
    worker.now = Status("speaking")
    typist = Typist(KeyboardInterrupt, KeyboardInterrupt, "Yes.\n")
    assert run(worker, typist, io.StringIO(), err) == 0
    assert worker.calls[1:3] == [("cancel",), ("cancel",)]
    assert err.getvalue().count("Ctrl-D") == 1
    assert worker.entries


def test_empty_line_at_a_simple_terminal_tries_a_failed_model_again():
    worker = FakeWorker(state="failed")

    def ready():
        worker.now = replace(worker.now, state="ready")
        return ""

    assert run(worker, Typist("\n", ready), io.StringIO(), io.StringIO()) == 0
    assert ("retry_loading",) in worker.calls


def test_a_terminal_that_can_redraw_is_not_plain():
    leader, follower = pty.openpty()
    with os.fdopen(leader, "w"), os.fdopen(follower, "r") as terminal:
        assert not wanted(terminal, terminal, {"TERM": "xterm"})
        assert wanted(terminal, terminal, {"TERM": "dumb"})
        assert wanted(io.StringIO(), terminal, {"TERM": "xterm"})
        assert wanted(terminal, io.StringIO(), {"TERM": "xterm"})


def test_without_a_terminal_no_terminal_library_is_loaded():
    code = "import csm_chat.repl.plain, sys; print('prompt_toolkit' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"

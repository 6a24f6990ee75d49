from dataclasses import replace

import numpy as np
import pytest

from csm_chat.conversation.grammar import parts
from csm_chat.conversation.ports import Rows, Status
from csm_chat.repl.toolbar import meter, plain, preview, shorten, stats, toolbar, turn_line, width
from csm_chat.types import Segment, Timings, Turn

NAMES = {0: "Ana", 1: "Ben"}
READY = Status(
    "ready",
    "fake on cpu, float32",
    rows=Rows(410, 96, 1736),
    first_audio_s=0.41,
    rtf=0.6,
    seed=7,
    audio="Speakers",
)
SPEAKING = replace(
    READY, state="speaking", speaker=1, part=2, parts=3, level=0.3, n_queued=2, n_gaps=1, seed=None
)


@pytest.mark.parametrize(
    ("status", "columns", "shown"),
    [
        (READY, 40, " ready │ 1.7x faster than real time"),
        (READY, 60, " ready │ 1.7x faster than real time │ first sound 0.41 s"),
        (
            READY,
            80,
            " ready │ 1.7x faster than real time │ first sound 0.41 s │ context 410/96/1230",
        ),
        (
            READY,
            120,
            " ready │ 1.7x faster than real time │ first sound 0.41 s │"
            " voices 410 history 96 free 1230 │ seed 7 │ Speakers",
        ),
        (SPEAKING, 40, " speaking Ben 2/3 ▁▂▃▄▅▆   │ 2 queued"),
        (SPEAKING, 60, " speaking Ben 2/3 ▁▂▃▄▅▆   │ 2 queued │ 1 gap"),
        (
            SPEAKING,
            120,
            " speaking Ben 2/3 ▁▂▃▄▅▆   │ 2 queued │ 1 gap │ Ctrl-C stops"
            " │ 1.7x faster than real time │ first sound 0.41 s",
        ),
        (
            replace(READY, state="generating", seconds=1.44, speaker=5),
            60,
            " generating speaker 5 1.4 s │ Ctrl-C stops",
        ),
        (Status("loading", detail="model 41 %"), 60, " loading: model 41 %"),
        (Status("failed"), 60, " no model: Enter tries again, Ctrl-D leaves"),
        (Status("loading", detail="a long tale of files"), 20, " loading: a long t…"),
    ],
)
def test_toolbar_keeps_what_fits(status, columns, shown):
    assert plain(toolbar(status, NAMES, columns)) == shown
    assert width(shown) <= columns


def test_toolbar_is_ascii_where_the_terminal_is():
    for status in (SPEAKING, replace(SPEAKING, state="loading", detail="x" * 200)):
        assert plain(toolbar(status, NAMES, 120, unicode=False)).isascii()


@pytest.mark.parametrize(
    ("level", "lit"), [(0, 0), (0.001, 0), (0.05, 3), (0.3, 6), (1, 8), (1.5, 8)]
)
def test_meter_shows_decibels_in_a_fixed_width(level, lit):
    for unicode in (True, False):
        bar = meter(level, unicode)[1]
        assert len(bar) == 8
        assert len(bar.rstrip(" .")) == lit


def test_meter_is_marked_close_to_full_scale():
    assert meter(0.95)[0] == "class:error" != meter(0.8)[0]


@pytest.mark.parametrize(
    ("rtf", "words"),
    [
        (0.5, "2.0x faster than real time"),
        (0.99, "as fast as real time"),
        (1.0, "as fast as real time"),
        (1.4, "1.4x slower than real time"),
        (9, "9.0x slower than real time"),
    ],
)
def test_speed_is_said_in_words(rtf, words):
    assert words in plain(toolbar(replace(READY, rtf=rtf), NAMES, 80))


def who_says(line, columns=60, speaker=0):
    return plain(preview(parts(line, speaker, NAMES), speaker, NAMES, columns))


def test_preview_names_who_says_what():
    assert who_says("Hi!||Hello.||Yes.0") == " Ana: Hi!   Ben: Hello.   Ana: Yes."
    assert who_says("a||b||c") == " Ana: a   Ben: b   speaker 2: c"
    assert who_says("ben: Hi!") == " Ben: Hi!"
    assert who_says("a!-1||b") == " speaker -1: a!   Ben: b"


@pytest.mark.parametrize("line", ["", "Hi!", "ana: Hi!", "||"])
def test_preview_says_nothing_of_a_plain_line(line):
    assert who_says(line) == ""


@pytest.mark.parametrize("columns", range(20, 70))
def test_preview_shows_the_end_of_what_does_not_fit(columns):
    shown = who_says("It was a dark night.||Was it?||Quite, and \u591c was cold too.0", columns)
    assert width(shown) <= columns
    assert "Ana: Quite" in shown


def turn(text="Great! Shall we start?", ended="eos", rtf=0.6):
    segment = Segment(1, text, np.zeros((20, 4), np.int32))
    return Turn(segment, 2211, ended, Timings(0.38, 1.6 * rtf, 1.6))


def test_take_is_one_line():
    assert plain(turn_line(3, turn(), NAMES, 120)) == (
        " 3 Ben  Great! Shall we start?"
        "   1.6 s · first sound 0.38 s · 1.7x faster than real time · seed 2211"
    )


@pytest.mark.parametrize(
    ("ended", "words"), [("cut", "cut"), ("limit", "longest"), ("guard", "run")]
)
def test_take_that_did_not_end_by_itself_says_so(ended, words):
    assert words in plain(turn_line(3, turn(ended=ended), NAMES, 120))


def test_take_line_shortens_its_text_first():
    shown = plain(turn_line(3, turn("word " * 40), NAMES, 120))
    assert width(shown) <= 120
    assert "w…" in shown and "seed 2211" in shown


def test_wide_characters_count_twice():
    assert width("\u591c\u0301a") == 3
    assert shorten("\u591c\u591c\u591c", 5) == "\u591c\u591c…"


def test_stats_name_what_is_known():
    assert "410" in stats(READY) and "1.7x faster" in stats(READY)
    assert "nothing was said yet" in stats(Status("loading"))

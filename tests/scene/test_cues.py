"""Subtitles as scripts: who says what, what a cue's marks become, and our own read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pysubs2
import pytest
import srt
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.errors import EntryError, UsageError
from csm_chat.scene import subtitles
from csm_chat.scene.cues import cue_script
from csm_chat.scene.mix import Piece, lay_out
from csm_chat.scene.read import read_script
from csm_chat.scene.script import Script
from csm_chat.types import SAMPLE_RATE

NAMES = {0: "Ana", 1: "Ben"}

SRT = """\
1
00:00:01,000 --> 00:00:02,500 X1:40 X2:600
<i>Hello</i> there, {\\an8}I am

2
00:00:02,600 --> 00:00:04,000
<font color="#ff0000">not</font> here.

3
00:00:09,000 --> 00:00:10,000
...

4
00:00:10,100 --> 00:00:12,000
Ben: Is that so?

5
00:00:12,100 --> 00:00:13,000
Cleo: It is.
Ana: Yes!

6
00:00:13,100 --> 00:00:14,000
- Really?
- Really. $5 || #1
"""

VTT = """\
WEBVTT - a scene

NOTE
00:00 is no time here

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start
<v Ana>Hi &amp; <c.yellow>hello</c>, <00:00:02.000>you.

00:02.600 --> 00:03.000
<v.loud Old Man>Well.</v> <v ana>Well what?

00:00:03.000 --> 00:00:04.000
Nobody: knows, says <b>who</b>.
"""


def read(text: str, names: dict[int, str] = NAMES, speaker: int = 0) -> Script:
    return cue_script(text, Path("a.srt"), speaker, names)


def said(script: Script) -> list[tuple[int, str]]:
    return [(turn.utterance.speaker, turn.utterance.text) for turn in script.turns]


def test_subrip_is_read_as_cues() -> None:
    script = read(SRT)
    assert said(script) == [
        (0, "Hello there, I am not here."),
        (1, "Is that so?"),
        (2, "It is."),
        (0, "Yes!"),
        (0, "Really?"),
        (1, "Really. $5 || #1"),
    ]
    assert script.names == {0: "Ana", 1: "Ben", 2: "Cleo"}
    assert [turn.line for turn in script.turns] == [2, 14, 18, 18, 23, 23]
    assert [turn.pause_s for turn in script.turns] == [None, 6.1, None, None, None, None]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_webvtt_is_read_as_cues_with_voices(newline: str) -> None:
    script = read(VTT.replace("\n", newline))
    assert said(script) == [
        (0, "Hi & hello, you."),
        (3, "Well."),
        (0, "Well what?"),
        (2, "knows, says who."),
    ]
    assert script.names == {0: "Ana", 2: "Nobody", 3: "Old Man"}


def test_who_has_no_name_is_the_speaker_that_is_set() -> None:
    assert said(read(SRT, {}, speaker=4))[0] == (4, "Hello there, I am not here.")


def test_a_small_word_before_a_colon_is_text_and_a_slip_of_the_pen_is_told() -> None:
    cue = "1\n00:00:01,000 --> 00:00:02,000\n{}\n"
    assert said(read(cue.format("warning: stop."))) == [(0, "warning: stop.")]
    with pytest.raises(EntryError, match=r"a\.srt:2  .*did you mean Ana\?"):
        read(cue.format("Anna: stop."))


def test_subtitles_without_a_word_are_refused() -> None:
    with pytest.raises(EntryError, match=r"a\.srt: has no cue"):
        read("1\n00:00:01,000 --> 00:00:02,000\n...\n")


@pytest.mark.parametrize("name", ["a.srt", "a.vtt", "a.txt"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_a_file_of_cues_is_known_whatever_it_is_called(
    tmp_path: Path, name: str, encoding: str
) -> None:
    path = tmp_path / name
    path.write_bytes(SRT.replace("Yes!", "Café!").encode(encoding))
    script = read_script(path, 0, NAMES, "strict")
    assert said(script)[3] == (0, "Café!")
    assert bool(script.notes) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.docx", b"PK\x03\x04\0", "Word document.*plain text"),
        ("a.txt", b"PK\x03\x04\0", "Word document"),
        ("a.pdf", b"%PDF-1.7", "pdftotext"),
        ("notes", b"%PDF-1.7\0", "is a PDF"),
        ("a.rtf", b"{\\rtf1", "rich text"),
        ("a.odt", b"PK", "OpenDocument"),
        ("a.html", b"<p>Hi.</p>", "web page"),
        ("a.txt", b"\xef\xbb\xbf\n<!DOCTYPE HTML>", "web page"),
        ("a.json", b"{}", "data"),
        ("a.fountain", b"INT. HOUSE", "screenplay"),
        ("A.ASS", b"[Script Info]", "Advanced SubStation.*ffmpeg"),
        ("a.txt", b"[Script Info]", "Advanced SubStation"),
        ("a.ttml", b"<tt/>", "TTML"),
        ("a.sbv", b"0:00:01.000,0:00:02.000", "subtitles of another kind"),
        ("a.mp3", b"ID3", "csm-chat transcribe"),
    ],
)
def test_other_formats_are_refused_by_name_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as refused:
        read_script(path, 0, NAMES, "strict")
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)


# as we write them, and as others do

BITS = ["b", "de", "é", "<b>", "</i>", "{", "}", "{\\an8}", "&", "&amp;", "<", "->", "'", "-"]
WORD = st.lists(st.sampled_from(BITS), max_size=3).map(lambda bits: "be" + "".join(bits))
SENTENCE = st.tuples(st.lists(WORD, min_size=1, max_size=30), st.sampled_from(".?!")).map(
    lambda made: " ".join(made[0]) + made[1]
)
TURN = st.tuples(st.integers(0, 2), st.lists(SENTENCE, min_size=1, max_size=3).map(" ".join))


@given(st.lists(TURN, min_size=1, max_size=6), st.sampled_from(["srt", "vtt"]))
def test_what_is_written_of_a_scene_is_read_back(turns: list[tuple[int, str]], kind: str) -> None:
    names = {0: "Ana", 1: "Old Man", 2: "speaker 2"}
    n = SAMPLE_RATE * 3
    silence = np.zeros(n, np.float32)
    pieces = [Piece(who, names[who], text, n, lambda: silence) for who, text in turns]
    scene = lay_out(pieces, 0.35, 0.0, match=False)
    written = subtitles.srt(scene) if kind == "srt" else subtitles.vtt(scene)
    assert said(read(written, {0: "Ana", 1: "Old Man"})) == turns


def test_a_pause_of_a_scene_is_read_back() -> None:
    pcm = np.zeros(SAMPLE_RATE, np.float32)
    pieces = [Piece(0, "Ana", "Hi.", len(pcm), lambda: pcm, pause_s) for pause_s in (None, 2.5, 99)]
    script = read(subtitles.srt(lay_out(pieces, 0.35, 0.0, match=False)))
    assert [turn.pause_s for turn in script.turns] == [None, 2.5, 60.0]


LINES = st.tuples(
    st.lists(st.just("Ana: Yes."), max_size=1),
    st.lists(st.sampled_from(["Hi.", "So it is", "1984", "<i>Oh</i>, no!"])),
).map(lambda made: [*made[0], *made[1]] or ["Hi."])


@given(st.lists(LINES, min_size=1, max_size=5))
def test_cues_that_others_write_have_the_words_that_others_read(cues: list[list[str]]) -> None:
    events = [
        pysubs2.SSAEvent(start=4000 * n, end=4000 * n + 2000, text="\\N".join(lines))
        for n, lines in enumerate(cues)
    ]
    file = pysubs2.SSAFile()
    file.events = events
    written = file.to_string("srt").replace("{\\i1}", "<i>")
    theirs = [cue.content for cue in srt.parse(written)]
    words = " ".join(theirs).replace("<i>", "").replace("</i>", "").replace("Ana: ", "").split()
    assert " ".join(text for _, text in said(read(written))).split() == words


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                "1\n",
                "00:00:01,000 --> 00:00:02,000\n",
                "WEBVTT\n",
                "\n",
                "<v Ana>",
                "Ana: ",
                "- ",
                "Hi.",
                "-->",
                "&lt;",
                "{\\i}",
                "\u2060",
                "so",
            ]
        )
    ).map("".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        script = read(text)
    except EntryError as error:
        assert str(error)
        return
    assert all(turn.utterance.text and turn.utterance.speaker >= 0 for turn in script.turns)

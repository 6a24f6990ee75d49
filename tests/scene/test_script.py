"""Scripts: what a file asks to be said, by whom, after which silence, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.errors import EntryError, UsageError
from csm_chat.scene.read import read_script
from csm_chat.scene.script import Script, parse_script

NAMES = {0: "Ana", 1: "Ben"}
PATH = Path("market.txt")


def read(text: str, names: dict[int, str] = NAMES, speaker: int = 0) -> Script:
    return parse_script(text, PATH, speaker, names)


def said(script: Script) -> list[tuple[int, str]]:
    return [(turn.utterance.speaker, turn.utterance.text) for turn in script.turns]


def pauses(script: Script) -> list[float | None]:
    return [turn.pause_s for turn in script.turns]


def problems(text: str, names: dict[int, str] = NAMES) -> list[str]:
    with pytest.raises(EntryError) as refused:
        read(text, names)
    return str(refused.value).split("\n")


def test_thousands_of_problems_are_told_in_few_lines() -> None:
    lines = problems("(pause soon)\n" * 3_000)
    assert len(lines) == 21 and lines[-1] == "and 2980 more"


def test_lines_are_read_as_at_the_prompt() -> None:
    script = read("# a comment\n\nHi!||Hello.||How are you?0\n  # another\nben: Fine.\nAnd you?\n")
    assert said(script) == [
        *((0, "Hi!"), (1, "Hello."), (0, "How are you?"), (1, "Fine."), (0, "And you?")),
    ]
    assert [turn.line for turn in script.turns] == [3, 3, 3, 5, 6]
    assert pauses(script) == [None] * 5
    assert script.names == NAMES


def test_a_line_begins_with_the_speaker_that_is_set() -> None:
    assert said(read("Hi!||Hello.", speaker=4)) == [(4, "Hi!"), (5, "Hello.")]


@pytest.mark.parametrize(
    ("text", "expected", "tail_s"),
    [
        ("Hi.\n(pause 0.8)\nYes.", [("Hi.", None), ("Yes.", 0.8)], 0.0),
        ("(pause 1)\n(pause .5)\nHi.\n(pause 2)", [("Hi.", 1.5)], 2.0),
        ("(pause 1) Hi.||Yes. (pause 2)", [("Hi.", 1.0), ("Yes.", None)], 2.0),
        ("Hi. (pause 1)||(pause 2) Yes.", [("Hi.", None), ("Yes.", 3.0)], 0.0),
        ("Hi.||(pause 0.5)||Yes.", [("Hi.", None), ("Yes.", 0.5)], 0.0),
        ("Hi. (Pause 1s) So.", [("Hi.", None), ("So.", 1.0)], 0.0),
        ("Ana: (pause 1) Hi.", [("Hi.", 1.0)], 0.0),
        ("(pause 1) Ana: Hi.", [("Hi.", 1.0)], 0.0),
        ('Hi.<break time="500ms"/>So.', [("Hi.", None), ("So.", 0.5)], 0.0),
        ("Hi.\n<break time='2s'></break>\nYes.", [("Hi.", None), ("Yes.", 2.0)], 0.0),
        ('Hi <break time="0.2s"/> so.', [("Hi", None), ("so.", 0.2)], 0.0),
        ("Hi (beat) so. <break/>", [("Hi", None), ("so.", 0.5)], 0.75),
        ('\\Hi <break time="2s"/>', [('Hi <break time="2s"/>', None)], 0.0),
        ("Hi.\n...\nYes.", [("Hi.", None), ("Yes.", 1.0)], 0.0),
        ("Hi.\n* * *\n(pause 2) --- (pause 1)\nYes.\n…", [("Hi.", None), ("Yes.", 5.0)], 1.0),
        ("Hi.\nBen: ...\nYes.", [("Hi.", None), ("Yes.", 1.0)], 0.0),
        ("Hi. (pause 1) ... (pause 1) So.", [("Hi.", None), ("So.", 3.0)], 0.0),
        ("Hi. (pause 1) ?", [("Hi.", None)], 1.0),
        ("Hi. (pause 0)\nYes.", [("Hi.", None), ("Yes.", 0.0)], 0.0),
        ("\\(pause 1) is said.", [("(pause 1) is said.", None)], 0.0),
    ],
)
def test_pauses_are_kept_wherever_they_stand(
    text: str, expected: list[tuple[str, float | None]], tail_s: float
) -> None:
    script = read(text)
    assert [(turn.utterance.text, turn.pause_s) for turn in script.turns] == expected
    assert script.tail_s == tail_s


def test_a_pause_is_no_part_and_takes_no_speaker_nor_hides_one() -> None:
    assert said(read("Hi!||(pause 0.5)||Hello.")) == [(0, "Hi!"), (1, "Hello.")]
    assert said(read("Hi!||Hello!0 (pause 1)||Yes.")) == [(0, "Hi!"), (0, "Hello!"), (2, "Yes.")]
    assert said(read("Hi!||One. (pause 1) Two.0")) == [(0, "Hi!"), (0, "One."), (0, "Two.")]


def test_a_name_nobody_has_is_the_next_free_speaker() -> None:
    script = read("Cleo: Hi.\nHi.||Ho.||Hm.\nOld Man: Well.\ncleo: Yes.")
    assert said(script) == [
        *((3, "Hi."), (0, "Hi."), (1, "Ho."), (2, "Hm."), (4, "Well."), (3, "Yes.")),
    ]
    assert script.names == {0: "Ana", 1: "Ben", 3: "Cleo", 4: "Old Man"}


def test_numbered_speakers_are_those_numbers() -> None:
    assert said(read("Speaker 7: Hi.\nspeaker 7: Yes.", {})) == [(7, "Hi."), (7, "Yes.")]


@pytest.mark.parametrize(
    "text", ["Chapter 3: The sea", "He said: no.", "At 10:30 we left", "See https://example.org"]
)
def test_a_colon_in_text_makes_no_speaker(text: str) -> None:
    assert said(read(text)) == [(0, text)]


def test_all_that_is_wrong_is_told_at_once_with_its_line() -> None:
    text = "Anna: Hi.\nben: Fine.\ncleo: Hi.\n$CLEAR$\nHi!||No!-9\n(pause soon)\n||||\n(pause 99)"
    found = problems(text)
    assert [line.partition("  ")[0] for line in found] == [
        f"market.txt:{number}" for number in (1, 3, 4, 5, 6, 7, 8)
    ]
    for line, words in zip(
        found,
        ("did you mean Ana?", "capital", "\\$CLEAR$", "-9", "(pause 0.8)", "nothing", "60"),
        strict=True,
    ):
        assert words in line


def test_dots_in_a_scene_are_a_silence_that_takes_a_turn() -> None:
    script = read("Hi!||...||Oh.")
    assert said(script) == [(0, "Hi!"), (2, "Oh.")]
    assert pauses(script) == [None, 1.0]


@pytest.mark.parametrize("line", ["?", "🙂", "Ana: !", "\\..."])
def test_a_line_that_says_nothing_is_refused(line: str) -> None:
    (found,) = problems(f"Hi.\n{line}\nYes.")
    assert found.startswith("market.txt:2  There is nothing to say")


def test_a_script_that_says_nothing_is_refused() -> None:
    assert problems("# nothing\n\n(pause 1)\n") == [
        "market.txt: has no line to say: write one entry a line"
    ]


def test_files_of_any_editor_are_read(tmp_path: Path) -> None:
    for number, content in enumerate((b"\xef\xbb\xbfHi.\r\nYes.", b"Hi.\rYes.", b"Hi.\nYes.\n")):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(content)
        assert [text for _, text in said(read_script(path, 0, NAMES, "strict"))] == ["Hi.", "Yes."]


def test_a_script_in_another_encoding_is_read_and_the_guess_is_told(tmp_path: Path) -> None:
    for content, n_notes in ((b"Caf\xe9.", 1), ("Café.".encode("utf-16"), 0)):
        path = tmp_path / "a.txt"
        path.write_bytes(content)
        script = read_script(path, 0, NAMES, "strict")
        assert said(script) == [(0, "Café.")]
        assert len(script.notes) == n_notes
        assert all("a.txt: is not UTF-8: read as Windows-1252" in note for note in script.notes)


def test_what_is_no_text_file_is_refused_in_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"RIFF\0\0")
    for path, kind, words in (
        (binary, EntryError, "not a text file"),
        (tmp_path, UsageError, "is a folder"),
        (tmp_path / "none.txt", UsageError, "No such file"),
    ):
        with pytest.raises(kind, match=words) as refused:
            read_script(path, 0, NAMES, "strict")
        assert "\n" not in str(refused.value)


LINES = st.lists(
    st.sampled_from(
        [
            *"ab|:\\#$()., 1-",
            "||",
            "(pause 1)",
            "(pause",
            "Ana: ",
            "Cleo: ",
            "\n",
            "\u200b",
            "\ufeff",
        ]
    ),
    max_size=30,
).map("".join)


@given(LINES | st.text(max_size=80), st.sampled_from(["strict", "classic"]))
def test_any_text_is_read_or_refused(text: str, offsets: str) -> None:
    try:
        script = parse_script(text, PATH, 0, NAMES, offsets)
    except EntryError as error:
        assert str(error)
        return
    assert all(turn.utterance.text and turn.utterance.speaker >= 0 for turn in script.turns)
    assert {turn.utterance.speaker for turn in script.turns} >= script.names.keys()


def test_moods_are_read_as_at_the_prompt_pauses_in_front_or_not() -> None:
    text = "ana (angry): Out!\n(pause 1) (angry) Now. (pause 1) I said.\nCleo (laughs): Ha."
    script = parse_script(text, PATH, 0, NAMES, moods={0: ("angry",)})
    assert [(t.utterance.speaker, t.utterance.text, t.utterance.mood) for t in script.turns] == [
        *((0, "Out!", "angry"), (0, "Now.", "angry"), (0, "I said.", "angry")),
        (1 + max(NAMES), "(laughs) Ha.", ""),
    ]


def test_a_mood_nobody_has_is_a_problem_of_its_line() -> None:
    with pytest.raises(EntryError, match=r":2  Ben has no mood"):
        parse_script("Ana: Hi.\nBen (angry): Out!", PATH, 0, NAMES, moods={0: ("angry",)})

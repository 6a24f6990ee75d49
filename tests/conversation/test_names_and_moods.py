"""Who a line names, known and new, and in which mood; what is text all the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.conversation.grammar import Entry, parse, parts
from csm_chat.errors import EntryError
from csm_chat.types import Utterance

NAMES = {0: "Ana", 1: "Ben", 2: "dr.smith"}
MOODS = {0: ("angry", "very sad"), 2: ("whispering",)}


def read(line: str, speaker: int = 0) -> Entry:
    return parse(line, speaker, NAMES, moods=MOODS, taken={5})


@pytest.mark.parametrize(
    ("line", "speaker", "expected"),
    [
        ("ana (angry): Out!", 1, (0, "Out!", "angry")),
        ("Ana(ANGRY):Out!", 1, (0, "Out!", "angry")),
        ("ana: (angry) Out!", 1, (0, "Out!", "angry")),
        ("(angry) Out!", 0, (0, "Out!", "angry")),
        ("( Very  Sad )Oh.", 0, (0, "Oh.", "very sad")),
        ("dr.smith (whispering): Hush.", 0, (2, "Hush.", "whispering")),
        ("(whispering) Hush.", 2, (2, "Hush.", "whispering")),
        ("(whispering) Hush.", 0, (0, "(whispering) Hush.", "")),  # a stage direction
        ("(laughs) Oh.", 0, (0, "(laughs) Oh.", "")),
        ("ana (laughing): Oh.", 1, (0, "(laughing) Oh.", "")),
        ("(see page 4) Oh.", 0, (0, "(see page 4) Oh.", "")),
        ("(pause 0.8) Oh.", 0, (0, "Oh.", "")),
        ("(beat) (angry) Out!", 0, (0, "Out!", "angry")),
        ("Oh (angry) no.", 0, (0, "Oh (angry) no.", "")),
        ("(really) Oh.", 1, (1, "(really) Oh.", "")),  # Ben has no moods
        ("\\(angry) Out!", 0, (0, "(angry) Out!", "")),
    ],
)
def test_brackets_are_a_mood_a_direction_or_text(
    line: str, speaker: int, expected: tuple[int, str, str]
) -> None:
    (utterance,) = read(line, speaker).utterances
    assert (utterance.speaker, utterance.text, utterance.mood) == expected


@pytest.mark.parametrize(
    ("line", "speaker", "words", "position"),
    [
        ("ana (angri): Out!", 1, 'Ana has no mood "angri": did you mean (angry)?', 4),
        ("(angri) Out!", 0, "Ana has angry, very sad", 0),
        ("(furious) Out!", 0, "Ana has angry, very sad", 0),
        ("Hi.||(angry) Out!", 0, "Ben has none (Ana: angry, very sad; dr.smith: whispering)", 5),
        ("ben (angry): Out!", 0, 'Ben has no mood "angry": Ben has none', 4),
        ("Cleo (angry): Out!", 0, 'Cleo has no mood "angry"', 5),
    ],
)
def test_a_mood_nobody_has_is_an_error_with_those_there_are(
    line: str, speaker: int, words: str, position: int
) -> None:
    with pytest.raises(EntryError) as caught:
        read(line, speaker)
    assert words in str(caught.value)
    assert caught.value.position == position


def test_a_part_in_a_scene_has_the_mood_of_its_speaker() -> None:
    said = read("(angry) Out!||No.||(very sad) Oh.0").utterances
    assert [(u.speaker, u.mood) for u in said] == [(0, "angry"), (1, ""), (0, "very sad")]


def test_a_new_name_is_the_next_speaker_that_nobody_is() -> None:
    entry = read("Cleo: Hi!||Old Man: Ho.||cleo: Hm.||Cleo (laughs): Ha.", 3)
    assert [u.speaker for u in entry.utterances] == [7, 8, 7, 7]  # 3 to 6 are the line's, 5 taken
    assert entry.newcomers == {7: "Cleo", 8: "Old Man"}
    assert entry.utterances[3].text == "(laughs) Ha."


@pytest.mark.parametrize("line", ["Speaker 7: Hi.", "speaker 7: Hi."])
def test_a_speaker_by_number_is_that_one(line: str) -> None:
    entry = read(line)
    assert entry.utterances == (Utterance("Hi.", 7),)
    assert not entry.newcomers


@pytest.mark.parametrize(
    "line",
    [
        "at 10:30",
        "10:30: wake up",
        "https://example.org",
        "See https://example.org: it is good.",
        'She said: "no".',
        '"Cleo: Hi!"',
        "Remember this: go home",
        "Chapter 3: the sea",
        "Cleo:Hi",
        "\\Cleo: Hi!",
        "Python (3.12): new",
        "A ratio of 3:4",
    ],
)
def test_a_colon_in_text_is_text(line: str) -> None:
    entry = read(line)
    assert not entry.newcomers
    assert [(u.speaker, u.text) for u in entry.utterances] == [(0, line.removeprefix("\\"))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cleo: Hi!", 'no voice is called "cleo"'),
        ("note: go home", "capital"),
        ("anna: Hi!", "did you mean Ana?"),
        ("Anna: Hi!", "did you mean Ana?"),
        ("Hi.||bem: Hi!", "the nearest is Ben"),
        ("smith: Hi!", "dr.smith"),
    ],
)
def test_a_name_that_cannot_be_is_an_error_with_the_nearest(line: str, words: str) -> None:
    with pytest.raises(EntryError, match="no voice is called") as caught:
        read(line)
    assert words in str(caught.value)
    assert line[caught.value.position :].startswith(line.rpartition("||")[2][:3])


MARKS = ["(", ")", ":", "|", "||", " ", "\\", "angry", "ana", "Cleo", "cleo", "laughs", "0", "."]
lines = st.lists(st.sampled_from(MARKS) | st.text(max_size=3), max_size=12).map("".join)


@given(lines, st.integers(0, 3))
def test_whatever_is_typed_is_read_or_refused_and_spans_are_in_the_line(
    line: str, speaker: int
) -> None:
    found = parts(line, speaker, NAMES, moods=MOODS, taken=())
    for part in found:
        for span in (part.name, part.bracket, part.offset):
            assert span is None or part.start <= span[0] < span[1] <= part.end
    try:
        entry = read(line, speaker)
    except EntryError as error:
        assert 0 <= error.position <= len(line)
        return
    for each in entry.utterances:
        assert not each.mood or each.mood in MOODS[each.speaker]
    assert not set(entry.newcomers) & {*NAMES, 5, speaker}


@given(lines)
def test_without_moods_and_new_names_no_word_goes_missing(line: str) -> None:
    """What was text before there were either is text still."""
    plain = parts(line, 0, {}, moods={}, taken=None)
    assert all(not (p.mood or p.newcomer or p.problem or p.name or p.bracket) for p in plain)


@given(
    st.sampled_from(["ana", "Ana", "ANA"]), st.sampled_from(MOODS[0]), st.text("abc .!", min_size=1)
)
def test_both_ways_of_writing_a_mood_mean_the_same(name: str, mood: str, text: str) -> None:
    before = parts(f"{name} ({mood}): {text}", 1, NAMES, moods=MOODS, taken=())
    behind = parts(f"{name}: ({mood}) {text}", 1, NAMES, moods=MOODS, taken=())
    assert [(p.speaker, p.text, p.mood) for p in before] == [
        (p.speaker, p.text, p.mood) for p in behind
    ]

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from csm_chat.conversation.grammar import parse, parts
from csm_chat.errors import EntryError

NAMES = {0: "Ana", 1: "Ben", 2: "Mary Ann"}

# text typed, what is said as (speaker, text); the current speaker is 1
READINGS = [
    ("Hello.", [(1, "Hello.")]),
    ("Hello.0", [(1, "Hello.0")]),
    ("  Hello   there ", [(1, "Hello there")]),
    (
        "Hi there!||Oh, hello.||How are you?0",
        [(1, "Hi there!"), (2, "Oh, hello."), (1, "How are you?")],
    ),
    ("a||b||c||d", [(1, "a"), (2, "b"), (3, "c"), (4, "d")]),
    ("Hi!1||Oh.", [(2, "Hi!"), (2, "Oh.")]),
    ("Hi!||cool!1", [(1, "Hi!"), (2, "cool!")]),
    ("Hi!||pwii.0", [(1, "Hi!"), (1, "pwii.")]),
    ("Hi!||Really?-1", [(1, "Hi!"), (0, "Really?")]),
    ("Hi!||Really? -1", [(1, "Hi!"), (0, "Really?")]),
    ("Hi!||Really?  0  ", [(1, "Hi!"), (1, "Really?")]),
    ("Hi!||Really?10", [(1, "Hi!"), (11, "Really?")]),
    ("Hi!||Really?100", [(1, "Hi!"), (2, "Really?100")]),
    ('Hi!||She said "yes."0', [(1, "Hi!"), (1, 'She said "yes."')]),
    ("Hi!||She said \u201cyes\u201d0", [(1, "Hi!"), (1, "She said \u201cyes\u201d")]),
    ("Hi!||(quietly)0", [(1, "Hi!"), (1, "(quietly)")]),
    ("Hi!||[sigh]0", [(1, "Hi!"), (1, "[sigh]")]),
    ("Hi!||Well\u20260", [(1, "Hi!"), (1, "Well\u2026")]),
    ("Hi!||Well...0", [(1, "Hi!"), (1, "Well...")]),
    ("Hi!||I was born in 1999", [(1, "Hi!"), (2, "I was born in 1999")]),
    ("Hi!||room 12", [(1, "Hi!"), (2, "room 12")]),
    ("Hi!||pi is 3.14", [(1, "Hi!"), (2, "pi is 3.14")]),
    ("Hi!||it costs $5.50", [(1, "Hi!"), (2, "it costs $5.50")]),
    ("Hi!||in the '90", [(1, "Hi!"), (2, "in the '90")]),
    ("Hi!||7", [(1, "Hi!"), (2, "7")]),
    ("Hi!||!1", [(1, "Hi!"), (2, "!1")]),
    ("Hello.0||", [(1, "Hello.")]),
    ("hi||", [(1, "hi")]),
    ("||hi", [(2, "hi")]),
    ("Hello||||there", [(1, "Hello"), (3, "there")]),
    ("ana: Hi!", [(0, "Hi!")]),
    ("ANA : Hi!||mary  ann: Oh.||c", [(0, "Hi!"), (2, "Oh."), (3, "c")]),
    ("a||Ana: Really? 9", [(1, "a"), (0, "Really? 9")]),
    ("Note: this||Bob: hi", [(1, "Note: this"), (2, "Bob: hi")]),
    ("at 12:30", [(1, "at 12:30")]),
    ("\\$CLAER$", [(1, "$CLAER$")]),
    ("  \\ana: a||b!0", [(1, "ana: a||b!0")]),
    ("\\\\o/", [(1, "\\o/")]),
    ("$5 please", [(1, "$5 please")]),
    ("one\ntwo\tthree\x00 fo\x00ur", [(1, "one two three four")]),
    ("\x1b[1;31mError:\x1b[0m no", [(1, "Error: no")]),
    ("\x1b[32mana\x1b[0m: \x1b]0;a title\x07Hi!\x9b1m||\x1b(BOh.\x1b[", [(0, "Hi!"), (2, "Oh.")]),
    ("z\u200be\u00adr\ufeffo\ud800||Hi!\u200b0\u200b", [(1, "zero"), (1, "Hi!")]),
    ("\u0928\u094d\u200d\u0928", [(1, "\u0928\u094d\u200d\u0928")]),
    ("", []),
    (" \t\u200b ", []),
]


def said(line, speaker=1, names=NAMES, offsets="strict"):
    return [(each.speaker, each.text) for each in parse(line, speaker, names, offsets).utterances]


@pytest.mark.parametrize(("line", "expected"), READINGS)
def test_a_line_is_read_as(line, expected):
    assert said(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Hi.5||room 12||b 0||c", [(1, "Hi.5"), (3, "room 1"), (1, "b"), (4, "c")]),
        ("a||really-1||5", [(1, "a"), (0, "really"), (3, "5")]),
        ("a||trailing 2 ", [(1, "a"), (3, "trailing")]),
        ("born in 1999", [(1, "born in 1999")]),
    ],
)
def test_classic_offsets_are_any_last_digit_of_later_parts(line, expected):
    assert said(line, offsets="classic") == expected


@pytest.mark.parametrize("line", ["||", "||||", " || \u200b||", "\\", " \\  ", "ana:"])
def test_marks_alone_are_refused(line):
    with pytest.raises(EntryError, match="nothing to say"):
        parse(line, 0, NAMES)


def test_speaker_below_zero_is_refused_where_it_was_asked_for():
    line = "Hi!||Really?\u200b -1||Yes."
    with pytest.raises(EntryError, match="speaker -1") as refused:
        parse(line, 0, NAMES)
    assert line[refused.value.position :].startswith("-1")


def test_empty_part_is_left_out_with_a_note():
    assert parse("a|| ||b", 0, NAMES).notes == ("part 2 is empty and was left out",)


def test_offset_to_a_speaker_without_voice_is_noted():
    (note,) = parse("I was born in 1999||Really?9", 0, NAMES).notes
    assert '"9"' in note and "speaker 9" in note


@pytest.mark.parametrize("line", ["a||b||c!0", "a||b!1", "a||b||c||d||e", "c!1||a"])
def test_usual_scenes_have_no_notes(line):
    assert parse(line, 0, NAMES | {3: "Cy", 4: "Dee"}).notes == ()
    assert parse(line, 0).notes == ()


def test_of_two_voices_with_one_name_the_first_speaks():
    assert said("ana: x", names={3: "Ana", 2: "ANA"}) == [(2, "x")]


def test_spans_are_those_of_the_typed_line():
    line = " Hi!\u200b 1 || ana : Oh.0"
    first, second = parts(line, 0, NAMES)
    assert line[slice(*first.offset)] == "1"
    assert line[first.start : first.end] == " Hi!\u200b 1 "
    assert line[slice(*second.name)] == "ana :"
    assert second.offset is None


@pytest.mark.parametrize("line", ["...", "***", "---", "?", "🙂", "ana: …", "\\...", "?||!"])
def test_a_line_without_a_word_has_no_reading(line):
    with pytest.raises(EntryError, match="nothing to say"):
        parse(line, 0, NAMES)


@pytest.mark.parametrize("line", ["%", "&", "7", "+", "I", "數", "$"])
def test_a_sign_that_is_read_is_a_word(line):
    assert said(line, 0) == [(0, line)]


def test_a_part_without_a_word_is_left_out_and_takes_its_speaker():
    entry = parse("Hi!||...||Oh.", 0, NAMES)
    assert [(each.speaker, each.text) for each in entry.utterances] == [(0, "Hi!"), (2, "Oh.")]
    assert entry.notes[0] == "part 2 has no word in it and was left out"


MARKS = ["|", "||", "!", ".", "-", "0", "1", "9", "a", "ana:", "\\", " ", "\n", "\u200b", "\ud800"]
any_line = st.text(st.characters(exclude_categories=())) | st.lists(st.sampled_from(MARKS)).map(
    "".join
)
speaker = st.integers(0, 3)
how = st.sampled_from(["strict", "classic"])


@given(any_line, speaker, how)
@example("\ud800||\u200d0", 0, "strict")
def test_every_line_is_an_entry_or_refused(line, speaker, offsets):
    try:
        entry = parse(line, speaker, NAMES, offsets)
    except EntryError as refused:
        assert 0 <= refused.position <= len(line)
        return
    for utterance in entry.utterances:
        assert utterance.text.strip() == utterance.text != ""
        assert utterance.speaker >= 0
        utterance.text.encode()


@given(any_line, speaker, how)
def test_parts_lie_side_by_side(line, speaker, offsets):
    found = parts(line, speaker, NAMES, offsets)
    places = [place for part in found for place in (part.start, part.end)]
    assert places == sorted(places)
    for part in found:
        for span in filter(None, (part.name, part.offset)):
            assert part.start <= span[0] < span[1] <= part.end


def test_the_times_of_subtitles_are_not_spoken():
    with pytest.raises(EntryError, match="times of a subtitle"):
        parse("00:00:01,000 --> 00:00:02,500", 0)
    assert parse("It runs 10:30 --> 11:00.", 0).utterances

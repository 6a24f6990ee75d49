"""Words that are said in another way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.normalise.lexicon import Lexicon, LexiconError, parse_entry, parse_lexicon


def read(text, *lines):
    lexicon, problems = parse_lexicon(lines)
    assert problems == ()
    return lexicon.read(text)


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        ("Nguyen = win", "Ask Nguyen.", "Ask win."),
        ("Nguyen = win", "a nguyen in NGUYEN", "a nguyen in NGUYEN"),  # a capital is itself alone
        ("gif = jif", "A gif, a GIF and a Gif.", "A jif, a jif and a jif."),
        ("gif = jif", "gifs and fig if", "gifs and fig if"),  # whole words
        ("C++ = see plus plus", "I like C++, and C++.", "I like see plus plus, and see plus plus."),
        ("new  york=noo yawk", "In New York now", "In noo yawk now"),
        (r"/S(\d+)E(\d+)/ = season \1 episode \2", "S2E11!", "season 2 episode 11!"),
        ("/colou?r/i = hue", "Color, colour", "hue, hue"),
        ("/colou?r/ = hue", "Color, colour", "Color, hue"),
        ("ahem =", "Well, ahem, yes.", "Well, , yes."),  # nothing is said of it
        (r"path = C:\new", "the path", r"the C:\new"),  # no escapes but in a pattern
    ],
)
def test_a_word_is_said_as_its_entry_says(line, text, said):
    assert read(text, line) == said


def test_of_two_entries_for_one_word_the_later_one_counts_and_comments_are_none():
    lexicon, _ = parse_lexicon(["# names", "", "gif = jif"])
    lexicon = lexicon.with_entry(parse_entry("gif = ghif"))
    assert lexicon.read("a gif") == "a ghif"
    assert len(lexicon.entries) == 1


def test_a_speakers_own_entries_come_before_everybodys():
    own, everybodys = parse_lexicon(["tomato = tomahto"])[0], parse_lexicon(["tomato = tomayto"])[0]
    assert own.over(everybodys).read("a tomato") == "a tomahto"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("no equals sign", "is no entry"),
        ("= win", "is no entry"),
        ("/(/ = x", "is no pattern"),
        (r"/a/ = \1", "is no pattern"),
        ("/a/x = b", "only i is known"),
        ("/a*/ = b", "matches where nothing is"),
        ("x" * 201 + " = y", "longer than 200"),
    ],
)
def test_a_line_that_is_no_entry_is_named_and_the_rest_holds(line, problem):
    lexicon, problems = parse_lexicon(["a = b", line, "c = d"])
    assert len(problems) == 1
    assert problems[0].startswith("2  ")
    assert problem in problems[0]
    assert lexicon.read("a c") == "b d"


@given(st.text(max_size=60))
def test_any_line_is_an_entry_or_a_lexicon_error(line):
    try:
        entry = parse_entry(line)
    except LexiconError:
        return
    assert isinstance(Lexicon((entry,)).read("some text of any kind"), str)

"""Each line of cases.tsv is read as it says, by its kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from csm_chat.normalise import normalise

TABLE = Path(__file__).with_name("cases.tsv").read_text(encoding="utf-8")
CASES = [line.split("\t") for line in TABLE.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("kind", "text", "said"), CASES, ids=[f"{kind}: {text}" for kind, text, _ in CASES]
)
def test_is_read_as_a_person_says_it(kind: str, text: str, said: str) -> None:
    assert normalise(text) == said
    assert normalise(said) == said


def test_no_text_stands_twice() -> None:
    texts = [text for _, text, _ in CASES]
    assert [text for text in texts if texts.count(text) > 1] == []


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in CASES}))
def test_a_kind_stands_in_one_place(kind: str) -> None:
    places = [i for i, (name, _, _) in enumerate(CASES) if name == kind]
    assert places == list(range(places[0], places[-1] + 1))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("\x1b[1;31mError:\x1b[0m no", "Error: no"),
        ("\x1b]0;a title\x07Hi", "Hi"),
        ("\x1b]8;;http://a.b\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b1mHi\x9b0m", "Hi"),
        ("a\x1b[2Kb\x1b(Bc", "abc"),
        ("w\0or\x07d", "word"),
        ("\x1b[0m", ""),
        ("Hi \x1b[1;31", "Hi"),
        ("\x9d0;a title\x9cHi \x90\x9fthere", "Hi there"),
        ("<break/>", ""),
        ("1\u202f000\u202f000 and 5\u2009000", "one million and five thousand"),
        ("12\u00a0345 km", "twelve thousand three hundred and forty-five kilometers"),
        ("One<break time='1s'/>\nTwo", "One... Two"),
    ],
)
def test_what_is_not_printed_is_not_spoken(typed: str, said: str) -> None:
    assert normalise(typed) == said

import json
import os

import pytest

from csm_chat.visible import escaped_json, one_line, one_line_path, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;Zm9v\x07", r"\x1b]52;c;Zm9v\x07"),
        ("\x1b[31mred\x1b[m", r"\x1b[31mred\x1b[m"),
        ("\x9b31m\x9d0;title\x9c", r"\x9b31m\x9d0;title\x9c"),
        ("\0 \b \r \x0b \x0c \x7f \x85", r"\x00 \x08 \r \x0b \x0c \x7f \x85"),
        ("\u202egpj.exe\u202c \u2066 \u2069", r"\u202egpj.exe\u202c \u2066 \u2069"),
        (os.fsdecode(b"caf\xe9 \x9b1m"), r"caf\xe9 \x9b1m"),
        ("\ud83d alone", r"\ud83d alone"),
        ("Ána said “no” → 😀 שלום\u200f, 👩‍🚀", "Ána said “no” → 😀 שלום\u200f, 👩‍🚀"),
    ],
)
def test_what_steers_a_terminal_is_written_out_and_letters_stay(text, shown):
    assert visible(text) == one_line(text) == shown
    assert visible(shown) == shown


def test_only_a_line_loses_its_breaks():
    assert visible("a\n\tb") == "a\n\tb"
    assert one_line("a\n\tb\u2028c\u2029") == r"a\n" + "\tb" + r"\u2028c\u2029"


def test_a_path_keeps_bytes_that_no_terminal_takes_for_controls():
    assert os.fsencode(one_line_path(os.fsdecode(b"caf\xe9\n\x9b"))) == b"caf\xe9" + rb"\n\x9b"


def test_json_keeps_its_value():
    value = {"\x1b\x9b\x7f": ["\u202e\u2028\n", "\udce9", "é"]}
    document = escaped_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(document) == value
    assert "é" in document and "\\u009b" in document and visible(document) == document

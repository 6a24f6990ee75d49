import io
import json
import logging
import os
from pathlib import Path

import pytest

from csm_chat.printing import LogLines, put, put_json, put_over, put_path, put_prompt, redraws


class Terminal(io.StringIO):
    def isatty(self):
        return True


def stream(encoding="utf-8"):
    return io.TextIOWrapper(io.BytesIO(), encoding, errors="strict", newline="\n")


def test_lines_are_whole_whatever_is_in_them():
    out = io.StringIO()
    put("a\nb", "", "c\x1b[31m", file=out)
    put_prompt("Ana\x07> ", out)
    put_over("half\r", 8, out)
    assert out.getvalue() == "a\\nb\n\nc\\x1b[31m\nAna\\x07> \rhalf\\r  \r"


def test_letters_that_a_stream_has_not_are_written_out():
    out = stream("ascii")
    put("Ána → 😀", file=out)
    assert out.buffer.getvalue() == rb"\xc1na \u2192 \U0001f600" + b"\n"


def test_a_path_that_is_no_text_can_be_opened_by_who_reads_it():
    out = stream()
    put_path(Path(os.fsdecode(b"caf\xe9.wav")), out)
    assert out.buffer.getvalue() == b"caf\xe9.wav\n"


def test_json_is_indented_and_harmless(capsys):
    put_json({"file": "\x9b\udce9"})
    shown = capsys.readouterr().out
    assert shown == '{\n  "file": "\\u009b\\udce9"\n}\n'
    assert json.loads(shown) == {"file": "\x9b\udce9"}


@pytest.mark.parametrize(("term", "can"), [("xterm", True), ("dumb", False), ("unknown", False)])
def test_a_dumb_terminal_does_not_redraw(monkeypatch, term, can):
    monkeypatch.setenv("TERM", term)
    assert redraws(Terminal()) is can
    assert not redraws(io.StringIO())


def test_a_record_of_the_log_is_one_line_and_its_traceback_cannot_look_like_another():
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(LogLines("%(name)s: %(message)s"))
    log = logging.Logger("csm")
    log.addHandler(handler)
    try:
        raise ValueError("a\ncsm: forged\x1b")
    except ValueError:
        log.exception("of %s", "x\ncsm: forged\x07")
    first, *others = out.getvalue().splitlines()
    assert first == r"csm: of x\ncsm: forged\x07"
    assert others[-2:] == ["  ValueError: a", r"  csm: forged\x1b"]
    assert all(line.startswith("  ") for line in others)

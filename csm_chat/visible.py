"""Text from outside made harmless to a terminal: what would steer it is shown instead.

A file name or a transcript may hold a window title, an OSC 52 that fills the clipboard, or a new
line that begins like one of ours.
"""

from __future__ import annotations

import re

# C1, what turns the reading direction, and what was no text: the last also as bytes of a C1
_ANYWHERE = "\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udc9f\udd00-\udfff"
_CONTROLS = f"\x00-\x08\x0b-\x1f{_ANYWHERE}"
_BREAKS = "\n\u2028\u2029"
_BYTES = "\udca0-\udcff"  # of a name that is no text (PEP 383); no terminal is steered by them

_VISIBLE = re.compile(f"[{_CONTROLS}{_BYTES}]")
_ONE_LINE = re.compile(f"[{_CONTROLS}{_BYTES}{_BREAKS}]")
_ONE_LINE_PATH = re.compile(f"[{_CONTROLS}{_BREAKS}]")
_LEFT_BY_JSON = re.compile(f"[{_ANYWHERE}{_BYTES}\u2028\u2029]")


def visible(text: str) -> str:
    """`text` with controls written out, as `\\x1b`; new lines and tabs stay."""
    return _VISIBLE.sub(_written_out, text)


def one_line(text: str) -> str:
    """`visible` of what has to stay on its line: a new line in it is written out, too."""
    return _ONE_LINE.sub(_written_out, text)


def one_line_path(path: str) -> str:
    """`one_line` for a program that opens what it reads: bytes that are no text stay as they are"""
    return _ONE_LINE_PATH.sub(_written_out, path)


def escaped_json(document: str) -> str:
    """The same JSON with those controls escaped, as `\\u009b`, that JSON does not ask to escape."""
    return _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # where Python keeps the bytes 0x80 to 0xff
        return f"\\x{code - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode("ascii")

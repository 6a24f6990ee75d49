"""The one place that writes words: to a terminal, to a pipe, into the log. Nothing in them steers.

Whoever composes several lines hands them over one by one: a new line inside one came from outside,
in a file name or a transcript, and is shown as `\\n`. Knows no command.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import TextIO, TypeAlias

from csm_chat.visible import escaped_json, one_line, one_line_path, visible

_DUMB = ("dumb", "unknown")
_FIGURES = re.compile(r"[^A-Za-z]+")  # numbers and bars of a stage, which change all the time

Raised: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


def put(*lines: str, file: TextIO | None = None) -> None:
    """Write lines, by default to standard output. Raises OSError."""
    _write("".join(f"{one_line(line)}\n" for line in lines), file or sys.stdout)


def put_prompt(text: str, file: TextIO) -> None:
    """What is answered on the same line. Raises OSError."""
    _write(one_line(text), file)


def put_over(text: str, n_before: int, file: TextIO) -> None:
    """Over the last such line, of `n_before` characters; the next goes over this. Raises OSError.

    For a terminal that `redraws`.
    """
    _write(f"\r{one_line(text):{n_before}}\r", file)


def put_path(path: Path, file: TextIO | None = None) -> None:
    """A path as what was made: a program that reads it can open the file. Raises OSError."""
    file = file or sys.stdout
    if isinstance(file, TextIOWrapper):
        file.reconfigure(errors="surrogateescape")  # a path need not be text
    _write(f"{one_line_path(str(path))}\n", file)


def put_json(value: object) -> None:
    """To standard output, indented. Raises OSError."""
    document = json.dumps(value, ensure_ascii=False, indent=2)
    _write(f"{escaped_json(document)}\n", sys.stdout)


def put_traceback(error: BaseException) -> None:
    """To standard error, as Python does it at the end of a program. Raises OSError."""
    text = "".join(traceback.format_exception(error))
    put(*text.rstrip("\n").split("\n"), file=sys.stderr)


def redraws(file: TextIO) -> bool:
    """Whether a line there can be drawn over: a terminal that understands more than new lines."""
    return file.isatty() and os.environ.get("TERM", "").lower() not in _DUMB


class Stages:
    """Steps under way, for a terminal that does not redraw: a line each, not one a new figure."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._words = ""  # of the one under way

    def show(self, text: str) -> None:
        """Raises OSError."""
        words = _FIGURES.sub("", text)
        if words and words != self._words:
            put(text, file=self._file)
        self._words = words


class LogLines(logging.Formatter):
    """A message stays on its line; a traceback is indented, so no line of it looks like one."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    def formatException(self, raised: Raised) -> str:
        lines = super().formatException(raised).split("\n")
        return "\n".join(f"  {visible(line)}" for line in lines)


def _write(text: str, file: TextIO) -> None:
    try:
        file.write(text)
    except UnicodeEncodeError:  # of a stream that has not all letters, as Windows' cp1252
        file.write(text.encode(file.encoding, "backslashreplace").decode(file.encoding))
    file.flush()

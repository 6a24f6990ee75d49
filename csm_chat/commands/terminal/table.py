"""Rows of text as columns."""

from __future__ import annotations

from collections.abc import Sequence

from csm_chat.repl.toolbar import width
from csm_chat.visible import one_line


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with a head; the last column is as wide as it likes."""
    # made visible before it is measured; a tab would be as wide as it likes
    lines = [[one_line(cell).replace("\t", " ") for cell in line] for line in (heads, *rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell + " " * (room - width(cell)) for cell, room in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]

"""Rows of text as columns."""

from __future__ import annotations

from collections.abc import Sequence

from csm_chat.repl.toolbar import width


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with a head; the last column is as wide as it likes."""
    lines = [heads, *rows]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell + " " * (room - width(cell)) for cell, room in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )

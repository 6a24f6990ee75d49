"""Measured figures beside what is asked of them. Knows no model and measures nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from csm_chat.errors import UsageError


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    asked: float
    unit: str  # "%", "s", "ms" or "" for a ratio
    at_most: bool = True

    @property
    def reached(self) -> bool:
        return self.value <= self.asked if self.at_most else self.value >= self.asked

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        value, asked = f"{self.value:.3g} {self.unit}", f"{sign} {self.asked:g} {self.unit}"
        return f"| {self.name} | {value.strip()} | {asked.strip()} |"


def table(figures: Iterable[Figure]) -> str:
    return "\n".join(["| figure | measured | asked |", "|---|--:|--:|", *map(str, figures)])


def write_figures(figures: Iterable[Figure], path: Path) -> None:
    """As JSON. Raises UsageError if the file cannot be written."""
    rows = [asdict(figure) | {"reached": figure.reached} for figure in figures]
    try:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another") from error

"""Speakers by name and names by speaker."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

LIKENESS = 0.8  # from which on a word is taken for a slip of the pen


def label(speaker: int, names: Mapping[int, str], mood: str = "") -> str:
    name = names.get(speaker, f"speaker {speaker}")
    return f"{name} ({mood})" if mood else name


def folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def by_name(names: Mapping[int, str]) -> dict[str, int]:
    """Speakers by folded name; of two with one name, the first."""
    return {folded(names[number]): number for number in sorted(names, reverse=True)}


def nearest(name: str, names: Mapping[int, str], likeness: float = LIKENESS) -> str | None:
    """The name that was meant by another one, perhaps."""
    known = by_name(names)
    near = get_close_matches(folded(name), known, n=1, cutoff=likeness)
    return names[known[near[0]]] if near else None

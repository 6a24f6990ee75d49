"""What a cache held before prompts with other voices came, to be had back. Knows no framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from csm_chat.types import Prompt

KEPT_CACHES = 2  # as much memory as so many full caches take, at most

Saved = TypeVar("Saved")  # keys and values of rows, in a memory of their own


class CachedRows:
    """The rows of a cache, from its first on. Add a row only once the cache holds it."""

    def __init__(self, n_rows: int, n_columns: int):
        self.n = 0
        self.n_pinned = 0  # the first so many are voices
        self._tokens = np.zeros((n_rows, n_columns), np.int32)
        self._mask = np.zeros((n_rows, n_columns), np.bool_)

    def shared_with(self, prompt: Prompt) -> int:
        """How many rows at the prompt's start the cache holds."""
        n = min(self.n, len(prompt.tokens))
        mask = prompt.mask[:n]
        differs = (self._mask[:n] != mask) | (mask & (self._tokens[:n] != prompt.tokens[:n]))
        rows = differs.any(axis=1).nonzero()[0]
        return int(rows[0]) if len(rows) else n

    def cut(self, n: int) -> None:
        """Forget the rows from `n` on: they are about to be overwritten."""
        assert n <= self.n, (n, self.n)
        self.n = n

    def add(self, tokens: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_]) -> None:
        """Append rows, both (n, columns)."""
        end = self.n + len(tokens)
        self._tokens[self.n : end], self._mask[self.n : end] = tokens, mask
        self.n = end

    def copy(self) -> CachedRows:
        same = CachedRows(self.n, self._tokens.shape[1])
        same.add(self._tokens[: self.n], self._mask[: self.n])
        same.n_pinned = self.n_pinned
        return same

    def become(self, other: CachedRows, n: int) -> None:
        """Be the first `n` rows of another cache."""
        self.n, self.n_pinned = 0, other.n_pinned
        self.add(other._tokens[:n], other._mask[:n])


@dataclass(frozen=True, slots=True, eq=False)
class Kept(Generic[Saved]):
    """A cache as it was."""

    rows: CachedRows
    saved: Saved


class KeptCaches(Generic[Saved]):
    """The caches kept, that which was left last at the end. The oldest go for want of room."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._kept: list[Kept[Saved]] = []

    def add(self, kept: Kept[Saved]) -> None:
        self._kept.append(kept)
        while self.n_rows > self._most_rows:
            del self._kept[0]

    @property
    def n_rows(self) -> int:
        return sum(kept.rows.n for kept in self._kept)

    def take(self, prompt: Prompt, more_than: int) -> tuple[Kept[Saved], int] | None:
        """That which shares most rows with a prompt, if more than so many, and how many.

        It is kept no longer if it has the prompt's voices: the cache will hold all of it.
        """
        shared = [(kept.rows.shared_with(prompt), place) for place, kept in enumerate(self._kept)]
        n, place = max(shared, default=(0, 0))
        if n <= more_than:
            return None
        kept = self._kept[place]
        if n >= kept.rows.n_pinned:
            del self._kept[place]
        return kept, n

    def clear(self) -> None:
        self._kept.clear()

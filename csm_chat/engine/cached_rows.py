"""Which prompt rows a KV cache holds: those need not be computed again. NumPy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from csm_chat.types import Prompt


class CachedRows:
    """The rows of a cache, from its first on. Add a row only once the cache holds it."""

    def __init__(self, n_rows: int, n_columns: int):
        self.n = 0
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

"""What an adapter is: for some parts of a model a product of two narrow matrices to add.

LoRA, Hu et al., arXiv 2106.09685. Opens no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """`up @ down` is added to a matrix (out, in), or to a table of rows."""

    up: Floats  # (out, rank), the scale in it; its rows in the order of the model's own
    down: Floats  # (rank, in)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix that it is added to."""
        return len(self.up), self.down.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """Changes to a model, by its parts' names (`weights.Source`). Rows of q and k: halves first."""

    path: Path  # what it was read from, as it is told
    low_rank: Mapping[str, LowRank]
    whole: Mapping[str, Floats]  # tables and vectors that were trained themselves

    @property
    def parts(self) -> frozenset[str]:
        """What it changes."""
        return frozenset(self.low_rank) | frozenset(self.whole)

    def changed(self, part: str, weight: Floats, start: int = 0) -> Floats:
        """Rows of a part, from `start` on, as they are with the adapter."""
        end = start + len(weight)
        if part in self.whole:
            weight = self.whole[part][start:end]
        change = self.low_rank.get(part)
        return weight if change is None else weight + change.up[start:end] @ change.down

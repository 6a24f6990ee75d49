"""How many threads torch computes with, for a while. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_FEW_WEIGHTS = 2**20


def threads_for(n_weights: int) -> int | None:
    """For products with matrices of so many weights at most; None: as many as torch has.

    Few weights lie in a core's own cache, and a second thread costs more to wake than it brings:
    the built-in voice takes 8 ms a frame with one thread, 24 with two that sleep between products.
    """
    return 1 if n_weights <= _FEW_WEIGHTS else None


@contextmanager
def threads(n: int | None) -> Iterator[None]:
    """Compute with `n` threads within; None: as many as torch has."""
    if n is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)

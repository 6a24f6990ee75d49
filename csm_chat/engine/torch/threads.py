"""How many threads torch computes with, for a while. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Of what lies in a core's own cache, where a second thread costs more to wake than it brings: the
# built-in voice takes 8 ms a frame with one, 24 with two that sleep between products.
FOR_SMALL = 1


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

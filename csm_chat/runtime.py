"""Threads and memory of this process, as torch uses them. Imports torch late."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Threads for a model whose matrices lie in a core's own cache, where a second thread costs more to
# wake than it brings: the built-in voice takes 8 ms a frame with one, 24 with two that sleep
# between products.
FOR_SMALL = 1


def let_threads_sleep() -> None:
    """Let torch's threads sleep while they have no work, unless the user's environment says else.

    To be called before torch is imported, which reads it. Threads that wait busily take the
    processor from each other: beside a busy process a frame then takes twenty times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@contextmanager
def threads(n: int | None) -> Iterator[None]:
    """Compute with `n` threads within; None: as many as torch has."""
    import torch

    if n is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def return_freed_memory() -> None:
    """Give freed memory back to the system, which glibc does not do by itself.

    After loading CSM-1B that is 0.25 GB, in which weights were read and packed.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim:
            trim(0)

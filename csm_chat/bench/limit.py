"""The least a frame can take: what it reads of memory, and how fast memory is read."""

from __future__ import annotations

import math
import time

import torch

from csm_chat.checkpoint.sizes import CsmSizes
from csm_chat.checkpoint.weights import TABLES
from csm_chat.engine.torch.load import undrawn
from csm_chat.engine.torch.model import Csm, slots
from csm_chat.engine.torch.quantised.load import bytes_a_weight

_READ_BYTES = 2**29  # past the caches of any processor
_N_READS = 5
_BY_DEPTH_STEP = ("depth.", "projection")


def frame_bytes(sizes: CsmSizes, numbers: str, n_rows: int) -> int:
    """Bytes of weights, keys and values that a frame reads once, at `n_rows` of context.

    `numbers` is a format of torch's, int8 or int4. Rows of tables are too few to count.
    """
    n_bytes = 0.0
    for part, shape in shapes(sizes).items():
        times = sizes.codebooks - 1 if part.startswith(_BY_DEPTH_STEP) else 1
        if part not in TABLES:
            n_bytes += times * math.prod(shape) * _bytes_a_weight(part, numbers)
    stack = sizes.backbone
    n_cached = 2 * stack.layers * stack.kv_heads * stack.head_width * n_rows
    return round(n_bytes + n_cached * _activation_bytes(numbers))


def weight_bytes(sizes: CsmSizes, numbers: str) -> int:
    """Bytes of all weights."""
    found = shapes(sizes).items()
    return round(sum(math.prod(shape) * _bytes_a_weight(part, numbers) for part, shape in found))


def shapes(sizes: CsmSizes) -> dict[str, tuple[int, ...]]:
    """The shape of each part of a checkpoint."""
    with undrawn():
        return {part: tuple(slot.shape) for part, slot in slots(Csm(sizes)).items()}


def _bytes_a_weight(part: str, numbers: str) -> float:
    if numbers.startswith("int"):
        return bytes_a_weight(part, numbers)
    return _activation_bytes(numbers)


def _activation_bytes(numbers: str) -> int:
    dtype = torch.float32 if numbers.startswith("int") else getattr(torch, numbers)
    return int(dtype.itemsize)


def bytes_read_a_s(device: str) -> float:
    """How fast a device's memory is read: the quickest of some sums of half a gigabyte."""
    numbers = torch.ones(_READ_BYTES // 4, device=device)
    seconds = []
    for _ in range(_N_READS):
        start = time.perf_counter()
        numbers.sum().item()
        seconds.append(time.perf_counter() - start)
    return _READ_BYTES / min(seconds)

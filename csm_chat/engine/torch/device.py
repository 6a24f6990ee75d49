"""What torch has here: devices, their best number format, packed weights. Loads no model."""

from __future__ import annotations

import logging
import time
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F

from csm_chat.checkpoint.sizes import read_sizes
from csm_chat.engine.quantising import BITS, Kernels
from csm_chat.errors import UsageError

log = logging.getLogger(__name__)

_DEVICES = ("cuda", "mps", "cpu")
_DTYPES = ("float32", "bfloat16", "float16")

_MEASURED_BYTES = 64 << 20  # past the cache of most processors
_MEASURED_WIDTH = 2048
_MEASURED_S = 0.06
# Of float32's time. A smaller gain would come and go with what else the machine does, and a seed
# gives the same take only in the same format.
_WORTH = 0.75

_PACKED_SHAPE = (24_576, 2048)  # 50 MB in 8 bits: past the cache of most processors
_PACKED_S = 0.15


def choose_device(wanted: str = "auto") -> str:
    """The device to run on. Raises UsageError when the one asked for is not there."""
    if wanted not in ("auto", *_DEVICES):
        raise UsageError(f"device {wanted!r} is unknown; choose auto, {', '.join(_DEVICES)}")
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(device for device in _DEVICES if there[device])
    if not there[wanted]:
        usable = ", ".join(device for device in _DEVICES if there[device])
        raise UsageError(
            f"device {wanted!r}: torch {torch.__version__} sees none; usable here: {usable}"
        )
    return wanted


def best_dtype(device: str, folder: Path | None) -> str:
    """The number format to compute in, with the checkpoint in `folder`. Raises CheckpointError."""
    if device == "cuda":
        # before Ampere bfloat16 is emulated, several times slower than float16
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device == "mps":
        # speed is bound by reading weights, so half the bytes; bfloat16 needs macOS 14, float16 any
        return "float16"
    # what lies in a core's cache is not read, and float32's products are the quickest
    is_small = folder is not None and read_sizes(folder).is_small
    return "float32" if is_small else _quickest()


@cache
def quick_dtype() -> torch.dtype:
    """What this cpu multiplies several rows in: bfloat16 where it has instructions for it."""
    has_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
    return torch.bfloat16 if has_bfloat16() else torch.float32


def _quickest() -> str:
    """The format whose matrix-vector product takes least time a parameter on this processor.

    No rule tells it: some read float16 twice as quickly as bfloat16, others emulate it.
    """
    block = torch.ones(
        _MEASURED_BYTES // 4
    )  # written to: untouched pages are all one page of zeros
    weights = {name: block.view(getattr(torch, name)).view(-1, _MEASURED_WIDTH) for name in _DTYPES}
    seconds = dict.fromkeys(_DTYPES, float("inf"))
    end = time.perf_counter() + _MEASURED_S
    while time.perf_counter() < end:  # in turns: what else the machine does slows all alike
        for name, weight in weights.items():
            seconds[name] = min(seconds[name], _seconds_per_parameter(weight))
    log.debug("seconds a parameter: %s", seconds)
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] < _WORTH * seconds["float32"] else "float32"


@torch.inference_mode()
def _seconds_per_parameter(weight: torch.Tensor) -> float:
    x = torch.ones(1, _MEASURED_WIDTH, dtype=weight.dtype)
    start = time.perf_counter()
    F.linear(x, weight)
    return (time.perf_counter() - start) / weight.numel()


def kernels(device: str, _folder: Path) -> Kernels:
    """Packed weights are for a cpu. Beside them everything is float32, as their kernels take it."""
    return Kernels(("int8", "int4") if device == "cpu" else (), _seconds_per_weight, "float32")


def _seconds_per_weight(mode: str) -> float:
    """What a packed weight costs in the product with one row."""
    from csm_chat.engine.torch.quantised.model import Product
    from csm_chat.engine.torch.quantised.packing import placeholder

    n_out, n_in = _PACKED_SHAPE
    product = Product(placeholder(n_out, n_in, BITS[mode]))
    x, seconds = torch.ones(1, n_in), float("inf")
    end = time.perf_counter() + _PACKED_S
    while time.perf_counter() < end:
        start = time.perf_counter()
        product(x)
        seconds = min(seconds, time.perf_counter() - start)
    return seconds / (n_out * n_in)


def device_facts(device: str) -> str:
    """Name and memory of a GPU, the number of threads of a processor."""
    if device == "cuda":
        facts = torch.cuda.get_device_properties(torch.cuda.current_device())
        free, total = torch.cuda.mem_get_info()
        return f"{facts.name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if device == "mps":
        return f"Apple GPU, {torch.mps.recommended_max_memory() / 1e9:.1f} GB for models"
    return f"{torch.get_num_threads()} threads"

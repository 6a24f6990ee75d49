"""What MLX has here: devices, their best number format, packed weights. Loads no model."""

from __future__ import annotations

import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from csm_chat.engine.mlx.quantised.files import held_mode
from csm_chat.engine.mlx.quantised.packing import Plain, form_of, pack
from csm_chat.engine.quantising import MODES, Kernels
from csm_chat.errors import UsageError

_DEVICES = ("metal", "cpu")
_PACKED_SHAPE = (16_384, 2048)  # 64 MB in float16: past the caches
_PACKED_S = 0.15  # a mode


def choose_device(wanted: str = "auto") -> str:
    """The device to run on. Raises UsageError when the one asked for is not there."""
    if wanted not in ("auto", *_DEVICES):
        raise UsageError(
            f"device {wanted!r} is unknown to mlx; choose auto, {', '.join(_DEVICES)}, or "
            "backend torch"
        )
    is_there = mx.metal.is_available()
    if wanted == "auto":
        return "metal" if is_there else "cpu"
    if wanted == "metal" and not is_there:
        raise UsageError(f"device 'metal': mlx {version('mlx')} sees none; usable here: cpu")
    return wanted


def best_dtype(device: str, _folder: Path | None = None) -> str:
    """The number format to compute in.

    On Metal float16, as torch has it there: the first Apple GPUs emulate bfloat16. On a cpu MLX is
    quickest in float32.
    """
    return "float16" if device == "metal" else "float32"


def kernels(device: str, folder: Path) -> Kernels:
    """Packed weights go with every device and format. Raises CheckpointError."""
    return Kernels(MODES, partial(_seconds_per_weight, device), held=held_mode(folder))


def _seconds_per_weight(device: str, mode: str) -> float:
    """What a weight costs in the product with one row."""
    dtype = getattr(mx, best_dtype(device))
    n_out, n_in = _PACKED_SHAPE
    with mx.stream(mlx_device(device)):
        weight = mx.ones(_PACKED_SHAPE, dtype)
        form = form_of("gate", mode)
        matrix = pack(weight, form) if form else Plain(weight)
        x, seconds = mx.ones((1, n_in), dtype), float("inf")
        mx.eval(matrix.arrays(), x)
        end = time.perf_counter() + _PACKED_S
        while time.perf_counter() < end:
            start = time.perf_counter()
            mx.eval(matrix(x))
            seconds = min(seconds, time.perf_counter() - start)
    return seconds / (n_out * n_in)


def mlx_device(device: str) -> mx.DeviceType:
    return mx.gpu if device == "metal" else mx.cpu


def device_facts(device: str) -> str:
    """Name and memory of the GPU, or that it is none."""
    if device != "metal":
        return "no GPU"
    facts = mx.device_info(mx.gpu)
    size = int(facts["max_recommended_working_set_size"])
    return f"{facts['device_name']}, {size / 1e9:.1f} GB for models"

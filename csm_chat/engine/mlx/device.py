"""Which device and which number format, on MLX. Loads nothing."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from csm_chat.errors import UsageError

_DEVICES = ("metal", "cpu")
_DTYPES = ("float32", "bfloat16", "float16")


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


def choose_dtype(wanted: str = "auto", device: str = "cpu", _folder: Path | None = None) -> str:
    """The number format to compute in. Raises UsageError for an unknown one.

    On Metal float16, as torch has it there: the first Apple GPUs emulate bfloat16. On a cpu MLX is
    quickest in float32.
    """
    if wanted not in ("auto", *_DTYPES):
        raise UsageError(f"dtype {wanted!r} is unknown; choose auto, {', '.join(_DTYPES)}")
    if wanted != "auto":
        return wanted
    return "float16" if device == "metal" else "float32"


def mlx_device(device: str) -> mx.DeviceType:
    return mx.gpu if device == "metal" else mx.cpu


def device_facts(device: str) -> str:
    """Name and memory of the GPU, or that it is none."""
    if device != "metal":
        return "no GPU"
    facts = mx.device_info(mx.gpu)
    size = int(facts["max_recommended_working_set_size"])
    return f"{facts['device_name']}, {size / 1e9:.1f} GB for models"

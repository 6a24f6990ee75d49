"""What to compute with, and the engine that does: the same calls for torch and MLX.

Imports a framework only once it is chosen. `torch/` and `mlx/` have the functions called here under
the same names: in `device.py`, and `load_engine` in `load.py`.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from csm_chat.checkpoint.files import find_weights, locate, safetensors_shapes
from csm_chat.checkpoint.sizes import CsmSizes, read_sizes
from csm_chat.checkpoint.weights import plan
from csm_chat.engine.options import AUTO, LoadOptions
from csm_chat.engine.quantising import Kernels, choose_quantize
from csm_chat.errors import UsageError
from csm_chat.notices import Listener, MlxNotForIntel, log_only
from csm_chat.runtime import return_freed_memory
from csm_chat.types import Engine

_BACKENDS = ("torch", "mlx")
_DTYPES = ("float32", "bfloat16", "float16")


def resolve(wanted: LoadOptions, folder: Path, tell: Listener = log_only) -> LoadOptions:
    """What `wanted` means here, for the checkpoint in `folder`: nothing in it is "auto" any more.

    May measure for half a second. Raises UsageError for what is unknown, absent or contradictory,
    CheckpointError.
    """
    backend = choose_backend(wanted.backend, wanted.device, tell)
    placed = replace(wanted, backend=backend, device=choose_device(wanted.device, backend))
    can: Kernels = _device_module(backend).kernels(placed.device, folder)
    quantize = choose_quantize(placed, folder, can, tell)
    if quantize != "none" and can.dtype is not None:
        return replace(placed, quantize=quantize, dtype=can.dtype)
    dtype = choose_dtype(wanted.dtype, placed.device, backend, folder)
    return replace(placed, quantize=quantize, dtype=dtype)


def choose_backend(wanted: str = AUTO, device: str = AUTO, tell: Listener = log_only) -> str:
    """What to compute with. Raises UsageError for one that is not there.

    "auto" is mlx for the device metal, and on Apple silicon where no other device was asked for.
    """
    if wanted not in (AUTO, *_BACKENDS):
        raise UsageError(f"backend {wanted!r} is unknown; choose auto, {', '.join(_BACKENDS)}")
    if wanted == AUTO:
        on_metal = device == "metal" or (device == AUTO and is_apple_silicon() and has_mlx())
        wanted = "mlx" if on_metal else "torch"
    if wanted != "mlx" or has_mlx():
        return wanted
    if sys.platform == "darwin" and not is_apple_silicon():
        tell(MlxNotForIntel())
        return "torch"
    raise UsageError(
        "backend mlx is not installed: pip install 'csm_chat[mlx]', or --backend torch"
    )


def is_apple_silicon() -> bool:
    """False for a Python of Intel processors on one."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def has_mlx() -> bool:
    return find_spec("mlx") is not None


def choose_device(wanted: str = AUTO, backend: str = "torch") -> str:
    """The device to run on: cuda, mps or cpu, with mlx metal or cpu.

    Raises UsageError if the one asked for is absent.
    """
    device: str = _device_module(backend).choose_device(wanted)
    return device


def choose_dtype(
    wanted: str = AUTO,
    device: str = "cpu",
    backend: str = "torch",
    folder: Path | None = None,
) -> str:
    """The number format: float32, bfloat16 or float16, for the checkpoint in `folder`.

    On a cpu "auto" measures, for 0.1 s, unless that is small: float32 then. Raises UsageError for
    an unknown one, CheckpointError.
    """
    if wanted not in (AUTO, *_DTYPES):
        raise UsageError(f"dtype {wanted!r} is unknown; choose auto, {', '.join(_DTYPES)}")
    if wanted != AUTO:
        return wanted
    dtype: str = _device_module(backend).best_dtype(device, folder)
    return dtype


def name_in_torch(device: str) -> str:
    """The device by torch's name."""
    return "mps" if device == "metal" else device


def device_facts(device: str, backend: str = "torch") -> str:
    """What the device is, in words."""
    facts: str = _device_module(backend).device_facts(device)
    return facts


def check_weights(folder: Path) -> CsmSizes:
    """The sizes of a checkpoint; raises CheckpointError where its weights have others.

    By the files' headers alone, before a framework is there. What needs one to be opened (a
    pickle, weights that MLX packed) is compared by `load_engine`, before it builds anything.
    """
    sizes = read_sizes(folder)
    if all(path.suffix == ".safetensors" for path in find_weights(folder)):
        found = locate(folder, safetensors_shapes)[1]
        if not any(name.endswith(".scales") for name in found):
            plan(sizes, found, folder)
    return sizes


def load_engine(folder: Path, options: LoadOptions, tell: Listener = log_only) -> Engine:
    """The transformers of a folder with config.json and weights, by options that are resolved.

    `tell` hears of what is packed and kept. Raises CheckpointError.
    """
    assert options.is_resolved, options
    load = import_module(f"csm_chat.engine.{options.backend}.load").load_engine
    engine: Engine = load(folder, options, tell)
    return_freed_memory()
    return engine


def _device_module(backend: str) -> Any:
    return import_module(f"csm_chat.engine.{backend}.device")

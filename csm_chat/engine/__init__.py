"""The models, behind the protocols of `types`. Importing this imports no framework."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from csm_chat.errors import UsageError
from csm_chat.notices import Listener, MlxNotForIntel, log_only
from csm_chat.types import Codec, Engine

_MODULES = {
    "torch": {
        "choose_device": "csm_chat.engine.torch.device",
        "choose_dtype": "csm_chat.engine.torch.device",
        "choose_quantize": "csm_chat.engine.torch.quantised.choice",
        "device_facts": "csm_chat.engine.torch.facts",
        "load_engine": "csm_chat.engine.torch.load",
        "load_codec": "csm_chat.codec.mimi",
    },
    "mlx": {
        "choose_device": "csm_chat.engine.mlx.device",
        "choose_dtype": "csm_chat.engine.mlx.device",
        "choose_quantize": "csm_chat.engine.mlx.quantised",
        "device_facts": "csm_chat.engine.mlx.device",
        "load_engine": "csm_chat.engine.mlx.load",
        "load_codec": "csm_chat.engine.mlx.load",
    },
}


def choose_backend(wanted: str = "auto", device: str = "auto", tell: Listener = log_only) -> str:
    """What to compute with. Raises UsageError for one that is not there.

    "auto" is mlx for the device metal, and on Apple silicon where no other device was asked for.
    """
    if wanted not in ("auto", *_MODULES):
        raise UsageError(f"backend {wanted!r} is unknown; choose auto, {', '.join(_MODULES)}")
    if wanted == "auto":
        on_metal = device == "metal" or (device == "auto" and is_apple_silicon() and has_mlx())
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


def choose_device(wanted: str = "auto", backend: str = "torch") -> str:
    """The device to run on: cuda, mps or cpu, with mlx metal or cpu.

    Raises UsageError if the one asked for is absent.
    """
    device: str = _function("choose_device", backend)(wanted)
    return device


def choose_dtype(
    wanted: str = "auto",
    device: str = "cpu",
    backend: str = "torch",
    folder: str | Path | None = None,
) -> str:
    """The number format: float32, bfloat16 or float16, for the checkpoint in `folder`.

    On a cpu "auto" measures, for 0.1 s, unless that is small: float32 then. Raises UsageError for
    an unknown one, CheckpointError.
    """
    choose = _function("choose_dtype", backend)
    dtype: str = choose(wanted, device, None if folder is None else Path(folder))
    return dtype


def name_in_torch(device: str) -> str:
    """The device by torch's name."""
    return "mps" if device == "metal" else device


def device_facts(device: str, backend: str = "torch") -> str:
    """What the device is, in words."""
    facts: str = _function("device_facts", backend)(device)
    return facts


def choose_quantize(
    wanted: str,
    folder: str | Path,
    device: str,
    dtype: str,
    tell: Listener,
    backend: str = "torch",
) -> str:
    """The bits of the weights: none, int8 or int4, these on a cpu and with mlx.

    "auto" may measure, for 0.5 s.
    `dtype` is what was asked for, auto included. Raises UsageError, CheckpointError.
    """
    arguments = (wanted, Path(folder), device, dtype, tell)
    quantize: str = _function("choose_quantize", backend)(*arguments)
    return quantize


def load_engine(
    folder: str | Path,
    device: str = "cpu",
    dtype: str = "float32",
    quantize: str = "none",
    cache: Path | None = None,
    tell: Listener = log_only,
    backend: str = "torch",
    graphs: bool = True,
) -> Engine:
    """The transformers of a folder: config.json and weights. Raises CheckpointError, UsageError.

    Weights packed as `quantize` says are kept below `cache`, and `tell` hears of it. With
    `graphs` a GPU is given a frame's steps recorded: as CUDA graphs, or by MLX's compile.
    """
    load = _function("load_engine", backend)
    engine: Engine = load(Path(folder), device, dtype, quantize, cache, tell, graphs)
    _return_freed_memory()
    return engine


def load_codec(
    folder: str | Path,
    codebooks: int,
    device: str = "cpu",
    backend: str = "torch",
) -> Codec:
    """The folder's Mimi, to speak in `codebooks`. Raises CheckpointError."""
    load = _function("load_codec", backend)
    codec: Codec = load(Path(folder), codebooks, device)
    _return_freed_memory()
    return codec


def _return_freed_memory() -> None:
    """To the system. What weights were read and packed in, glibc keeps else: 0.25 GB of CSM-1B."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim:
            trim(0)


def _function(name: str, backend: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(_MODULES[backend][name]), name)
    return function

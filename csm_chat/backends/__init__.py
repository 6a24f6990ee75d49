"""The models, behind the protocols of `types`. Importing this imports no framework."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from csm_chat.types import Codec, Engine

_MODULES = {
    "torch": {
        "choose_device": "csm_chat.backends.torch_device",
        "choose_dtype": "csm_chat.backends.torch_device",
        "load_engine": "csm_chat.backends.torch_load",
        "load_codec": "csm_chat.backends.torch_mimi",
    },
}


def choose_device(wanted: str = "auto") -> str:
    """The device to run on: cuda, mps or cpu. Raises UsageError if the one asked for is absent."""
    device: str = _function("choose_device")(wanted)
    return device


def choose_dtype(wanted: str = "auto", device: str = "cpu") -> str:
    """The number format: float32, bfloat16 or float16. On a cpu "auto" measures, for 0.1 s.

    Raises UsageError for an unknown one.
    """
    dtype: str = _function("choose_dtype")(wanted, device)
    return dtype


def load_engine(folder: str | Path, device: str = "cpu", dtype: str = "float32") -> Engine:
    """The transformers of a folder: config.json and weights. Raises CheckpointError, UsageError."""
    engine: Engine = _function("load_engine")(Path(folder), device, dtype)
    return engine


def load_codec(folder: str | Path, codebooks: int, device: str = "cpu") -> Codec:
    """The folder's Mimi, to speak in `codebooks`. Raises CheckpointError."""
    codec: Codec = _function("load_codec")(Path(folder), codebooks, device)
    return codec


def _function(name: str, backend: str = "torch") -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(_MODULES[backend][name]), name)
    return function

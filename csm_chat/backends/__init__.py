"""The models, behind the protocols of `types`. Importing this imports no framework."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from csm_chat.errors import UsageError
from csm_chat.types import Codec, Engine

log = logging.getLogger(__name__)

_MODULES = {
    "torch": {
        "choose_device": "csm_chat.backends.torch_device",
        "choose_dtype": "csm_chat.backends.torch_device",
        "choose_quantize": "csm_chat.backends.torch_quantised_choice",
        "load_engine": "csm_chat.backends.torch_load",
        "load_codec": "csm_chat.backends.torch_mimi",
    },
}


def choose_backend(wanted: str = "auto") -> str:
    """What to compute with. Raises UsageError for one that is not there."""
    if wanted not in ("auto", *_MODULES):
        raise UsageError(f"backend {wanted!r} is unknown; choose auto or {', '.join(_MODULES)}")
    return next(iter(_MODULES)) if wanted == "auto" else wanted


def choose_device(wanted: str = "auto", backend: str = "torch") -> str:
    """The device to run on: cuda, mps or cpu. Raises UsageError if the one asked for is absent."""
    device: str = _function("choose_device", backend)(wanted)
    return device


def choose_dtype(wanted: str = "auto", device: str = "cpu", backend: str = "torch") -> str:
    """The number format: float32, bfloat16 or float16. On a cpu "auto" measures, for 0.1 s.

    Raises UsageError for an unknown one.
    """
    dtype: str = _function("choose_dtype", backend)(wanted, device)
    return dtype


def choose_quantize(
    wanted: str,
    folder: str | Path,
    device: str,
    dtype: str,
    notify: Callable[[str], None],
    backend: str = "torch",
) -> str:
    """The bits of the weights: none, int8 or int4, these on a cpu. "auto" may measure, for 0.5 s.

    `dtype` is what was asked for, auto included. Raises UsageError, CheckpointError.
    """
    arguments = (wanted, Path(folder), device, dtype, notify)
    quantize: str = _function("choose_quantize", backend)(*arguments)
    return quantize


def load_engine(
    folder: str | Path,
    device: str = "cpu",
    dtype: str = "float32",
    quantize: str = "none",
    cache: Path | None = None,
    notify: Callable[[str], None] = log.debug,
    backend: str = "torch",
) -> Engine:
    """The transformers of a folder: config.json and weights. Raises CheckpointError, UsageError.

    Weights packed as `quantize` says are kept below `cache`, and `notify` is told of it.
    """
    load = _function("load_engine", backend)
    engine: Engine = load(Path(folder), device, dtype, quantize, cache, notify)
    return engine


def load_codec(
    folder: str | Path, codebooks: int, device: str = "cpu", backend: str = "torch"
) -> Codec:
    """The folder's Mimi, to speak in `codebooks`. Raises CheckpointError."""
    codec: Codec = _function("load_codec", backend)(Path(folder), codebooks, device)
    return codec


def _function(name: str, backend: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(_MODULES[backend][name]), name)
    return function

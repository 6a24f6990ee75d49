"""Puts a backend together: files found, transformers, codec and tokenizer loaded."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.notices import Listener
from csm_chat.types import Backend
from csm_chat.wording import lines_to

if TYPE_CHECKING:
    from csm_chat.checkpoint.find import Progress

log = logging.getLogger(__name__)


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Looking for garbage among what torch makes while it is imported takes a twelfth of that."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_collecting_nothing()
def load(
    model: str | Path = "auto",
    *,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "auto",
    graphs: bool = True,
    packed: str | Path | None = None,
    notify: Callable[[str], None] = log.debug,
    progress: Callable[[str], None] = log.debug,
    cancelled: Callable[[], bool] = lambda: False,
    listener: Listener | None = None,
) -> Backend:
    """Load a model to speak with, downloading it if it is named and not here.

    `model` is a folder, a Hugging Face repository, "builtin", or "auto": CSM-1B if it is in the
    Hugging Face cache, else the built-in voice. `backend` is auto, torch or mlx; `device` auto,
    cpu, cuda, mps or metal; `dtype` auto, float32, bfloat16 or float16; `quantize` auto, none, int8
    or int4, these on a cpu or metal. With `graphs` a GPU is given a frame's steps recorded. Weights
    in few bits are kept below `packed`, in the user's cache if that is None.
    `notify` gets whole lines, `progress` a few words on the step under way. A download stops when
    `cancelled` says so. A `listener` instead of `notify` gets notices.
    Raises ModelError, UsageError.
    """
    let_threads_sleep()
    from platformdirs import user_cache_path

    from csm_chat.checkpoint.find import find_checkpoint
    from csm_chat.conversation.tokenizer import load_tokenizer
    from csm_chat.engine import (
        choose_backend,
        choose_device,
        choose_dtype,
        choose_quantize,
        load_codec,
        load_engine,
    )

    def downloading(state: Progress) -> None:
        progress(f"downloading {state.bar} {state}")

    tell = listener or lines_to(notify)
    checkpoint = find_checkpoint(str(model), tell, downloading, cancelled)
    backend = choose_backend(backend, device, tell)
    progress(backend)
    device = choose_device(device, backend)
    quantize = choose_quantize(quantize, checkpoint.weights, device, dtype, tell, backend)
    # beside torch's packed weights everything is float32: that is what their kernels take
    is_packed = quantize != "none" and backend == "torch"
    dtype = "float32" if is_packed else choose_dtype(dtype, device, backend, checkpoint.weights)
    words = dtype if quantize == "none" else quantize
    progress(f"{checkpoint.name} on {device}, {words}")
    cache = Path(packed) if packed else user_cache_path("csm_chat") / "quantised"
    folder = checkpoint.weights
    engine = load_engine(folder, device, dtype, quantize, cache, tell, backend, graphs)
    progress("the codec")
    codec = load_codec(checkpoint.codec, engine.codebooks, device, backend)
    tokenizer = load_tokenizer(checkpoint.tokenizer)
    return Backend(engine, codec, tokenizer, checkpoint.name, device, dtype, folder, quantize)


def let_threads_sleep() -> None:
    """Torch's, unless the user said otherwise; to be called before it is imported, which reads it.

    They else spin for one another, and beside a busy process a frame takes twenty times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

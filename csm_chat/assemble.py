"""Puts a backend together: files found, transformers, codec and tokenizer loaded."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.runtime import let_threads_sleep
from csm_chat.types import Backend

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
) -> Backend:
    """Load a model to speak with, downloading it if it is named and not here.

    `model` is a folder, a Hugging Face repository, "builtin", or "auto": CSM-1B if it is in the
    Hugging Face cache, else the built-in voice. `backend` is auto, torch or mlx; `device` auto,
    cpu, cuda, mps or metal; `dtype` auto, float32, bfloat16 or float16; `quantize` auto, none, int8
    or int4, these on a cpu or metal. With `graphs` a GPU is given a frame's steps recorded. Weights
    in few bits are kept below `packed`, in the user's cache if that is None.
    `notify` gets whole lines, `progress` a few words on the step under way. A download stops when
    `cancelled` says so. Raises ModelError, UsageError.
    """
    let_threads_sleep()
    from platformdirs import user_cache_path

    from csm_chat.checkpoint.find import find_checkpoint
    from csm_chat.conversation.tokenizer import load_tokenizer
    from csm_chat.engine.choice import choose_backend, load_engine, resolve
    from csm_chat.engine.options import LoadOptions

    def downloading(state: Progress) -> None:
        progress(f"downloading {state.bar} {state}")

    checkpoint = find_checkpoint(str(model), notify, downloading, cancelled)
    folder = checkpoint.weights
    backend = choose_backend(backend, device, notify)
    progress(backend)
    cache = Path(packed) if packed else user_cache_path("csm_chat") / "quantised"
    options = LoadOptions(backend, device, dtype, quantize, graphs, cache)
    options = resolve(options, folder, notify)
    words = options.quantize if options.is_packed else options.dtype
    progress(f"{checkpoint.name} on {options.device}, {words}")
    engine = load_engine(folder, options, notify)
    progress("the codec")
    from csm_chat.codec.mimi import load_codec

    codec = load_codec(checkpoint.codec, engine.codebooks, options.codec_device)
    tokenizer = load_tokenizer(checkpoint.tokenizer)
    of_engine = options.device, options.dtype, folder, options.quantize
    return Backend(engine, codec, tokenizer, checkpoint.name, *of_engine)

"""Models to speak with, by the functions that Sesame's users know."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.api.generator import Generator
from csm_chat.errors import ConfigError, UsageError
from csm_chat.normalise.lexicon import EMPTY, Lexicon
from csm_chat.places import expanded
from csm_chat.wording import lines_to

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def load_csm_1b(
    device: str | torch.device = "auto",
    *,
    model: str | Path = "auto",
    backend: str = "auto",
    dtype: str = "auto",
    quantize: str = "auto",
    normalize: bool = True,
    lexicon: str | Path | None = None,
    directions: str = "drop",
    adapter: str | Path | None = None,
) -> Generator:
    """Load CSM-1B to speak with.

    `device` is auto, cpu, cuda, mps or metal; `backend` auto, torch or mlx; `dtype` auto, float32,
    bfloat16 or float16; `quantize` auto, none, int8 or int4: how a cpu or metal keeps the weights.
    `model` is auto (CSM-1B if it is in the Hugging Face cache, else the small built-in voice;
    nothing is downloaded), builtin, a repository, which is downloaded once, or a checkpoint folder.
    With `normalize` the model reads numbers, dates and symbols as words. `lexicon` is a file of
    words that are said in another way; what is wrong with it is a warning in the log.
    `directions` is what becomes of stage directions, as "*laughs*": drop, keep (the model is given
    them as typed) or speak. `adapter` is a folder that fine-tuning wrote, of csm-mlx, of
    peft or of this program. Raises ModelError, which says how to get the model, and UsageError.
    """
    from csm_chat.assemble import load
    from csm_chat.conversation.reading import Reading

    words = _lexicon(lexicon) if lexicon else EMPTY
    reading = Reading(normalize, words, _directions(directions))
    loaded = load(
        model,
        backend=backend,
        device=str(device),
        dtype=dtype,
        quantize=quantize,
        notify=log.info,
        progress=log.debug,
    )
    if adapter is not None:
        loaded.engine.adapt(expanded(adapter, "adapter"))
    return Generator(loaded, reading=reading)


def _lexicon(path: str | Path) -> Lexicon:
    """Raises UsageError."""
    from csm_chat.voices.lexicon import read_lexicon

    return read_lexicon(expanded(path, "lexicon"), lines_to(log.warning), is_asked_for=True)


def _directions(wanted: str) -> str:
    """Raises UsageError."""
    from csm_chat.config.override import override
    from csm_chat.config.settings import Config

    try:
        return override(Config(), "directions", wanted).directions
    except ConfigError as error:
        raise UsageError(str(error)) from error


def load_csm_1b_local(
    model_path: str | Path, device: str | torch.device = "auto", audio_num_codebooks: int = 32
) -> Generator:
    """Load a checkpoint folder, as `load_csm_1b` does, that speaks in so many codebooks."""
    generator = load_csm_1b(device, model=Path(model_path))
    codebooks = generator.backend.engine.codebooks
    if codebooks != audio_num_codebooks:
        raise UsageError(
            f"{model_path}: speaks in {codebooks} codebooks, not in {audio_num_codebooks}; "
            f"give audio_num_codebooks={codebooks}"
        )
    return generator

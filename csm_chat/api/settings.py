"""How a line is to be said, as callers spell it: checked against the limits of config.yaml."""

from __future__ import annotations

import random

from csm_chat.config.override import override
from csm_chat.config.settings import Config, SamplingConfig
from csm_chat.errors import ConfigError, UsageError
from csm_chat.types import FRAME_MS

MAX_AUDIO_MS = 90_000
DEFAULTS = SamplingConfig()


def sampling_settings(**settings: object) -> SamplingConfig:
    """Settings by the names of `SamplingConfig`. Raises UsageError."""
    config = Config()
    for name, value in settings.items():
        try:
            config = override(config, f"sampling.{name}", str(value))
        except ConfigError as error:
            raise UsageError(str(error).removeprefix("sampling.")) from error
    return config.sampling


def chosen_top_k(topk: int | None, top_k: int | None) -> int:
    """The one given of two spellings. Raises UsageError."""
    if topk is not None and top_k is not None:
        raise UsageError("topk and top_k are one setting: give one of them")
    given = top_k if topk is None else topk
    return DEFAULTS.top_k if given is None else given


def max_frames(max_audio_length_ms: float) -> int:
    """Whole frames in that time, 90 s at most. Raises UsageError when there is none."""
    if not max_audio_length_ms >= FRAME_MS:  # so written, it refuses NaN
        raise UsageError(
            f"max_audio_length_ms {max_audio_length_ms}: give {FRAME_MS} or more, "
            "which is one frame"
        )
    return int(min(max_audio_length_ms, MAX_AUDIO_MS) // FRAME_MS)


def random_seed() -> int:
    return random.SystemRandom().randrange(2**32)

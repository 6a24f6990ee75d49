"""How many bits the weights get. Measures a product, loads no model."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch

from csm_chat.checkpoint.sizes import CsmSizes, StackSizes, read_sizes
from csm_chat.errors import UsageError
from csm_chat.notices import Listener, QuantizeIgnored
from csm_chat.types import FRAME_MS

log = logging.getLogger(__name__)

_MODES = ("none", "int8", "int4")
_SMALL = 100_000_000  # weights; a smaller model is quick as it is
_MEASURED_S = 0.15
_MEASURED_SHAPE = (24_576, 2048)  # 50 MB in 8 bits: past the cache of most processors
# Of real time. What a frame takes beside its products, and the codec, have to fit too; and a seed
# gives the same take only in the same format, so a machine near the limit should not go to and fro.
_WORTH = 0.7


def choose_quantize(wanted: str, folder: Path, device: str, dtype: str, tell: Listener) -> str:
    """none, int8 or int4 for the checkpoint in `folder`. Raises UsageError, CheckpointError.

    "auto" is none on a GPU, for a small model, and where a `dtype` was asked for; else int8 if that
    is expected to keep up with speech on this processor, else int4.
    """
    if wanted not in ("auto", *_MODES):
        raise UsageError(f"quantize {wanted!r} is unknown; choose auto, {', '.join(_MODES)}")
    if device != "cpu":
        if wanted in ("int8", "int4"):
            tell(QuantizeIgnored(wanted, device))
        return "none"
    if wanted == "auto":
        return _by_speed(read_sizes(folder)) if dtype == "auto" else "none"
    if wanted != "none" and dtype not in ("auto", "float32"):
        raise UsageError(
            f"dtype {dtype} and quantize {wanted}: packed weights are computed with in float32; "
            "leave dtype at auto, or set quantize to none"
        )
    return wanted


def _by_speed(sizes: CsmSizes) -> str:
    n_weights, n_read = count_weights(sizes)
    if n_weights < _SMALL:
        return "none"
    ms = n_read * _seconds_per_weight() * 1000
    log.debug("int8 products of a frame: %.0f ms expected", ms)
    return "int8" if ms < _WORTH * FRAME_MS else "int4"


def count_weights(sizes: CsmSizes) -> tuple[int, int]:
    """Weights in products, tables left out: of the model, and those that a frame reads."""
    backbone, depth = _of_stack(sizes.backbone), _of_stack(sizes.depth)
    projection = sizes.backbone.width * sizes.depth.width
    n_steps = sizes.codebooks - 1
    heads = sizes.audio_vocab * (sizes.backbone.width + n_steps * sizes.depth.width)
    n_weights = backbone + depth + projection + heads
    return n_weights, backbone + n_steps * (depth + projection) + heads


def _of_stack(sizes: StackSizes) -> int:
    n_projected = 2 * (sizes.heads + sizes.kv_heads) * sizes.head_width
    return sizes.layers * sizes.width * (n_projected + 3 * sizes.mlp_width)


def _seconds_per_weight() -> float:
    """What a weight of 8 bits costs in the product with one row."""
    from csm_chat.engine.torch.quantised.model import Product
    from csm_chat.engine.torch.quantised.packing import Packed

    n_out, n_in = _MEASURED_SHAPE
    codes = torch.ones(n_out, n_in // 128, 128, dtype=torch.uint8)
    product = Product(Packed(8, n_in, codes, torch.ones(n_out, n_in // 128)))
    x, seconds = torch.ones(1, n_in), float("inf")
    end = time.perf_counter() + _MEASURED_S
    while time.perf_counter() < end:
        start = time.perf_counter()
        product(x)
        seconds = min(seconds, time.perf_counter() - start)
    return seconds / (n_out * n_in)

"""The one rule for weights of few bits: which parts get how many, and what "auto" means.

torch and MLX say what they can do (`Kernels`), pack and compute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from csm_chat.checkpoint.sizes import CsmSizes, StackSizes, read_sizes
from csm_chat.checkpoint.weights import TABLES
from csm_chat.engine.options import AUTO, LoadOptions
from csm_chat.errors import UsageError
from csm_chat.notices import Listener, QuantizeIgnored, WeightsStayPacked
from csm_chat.types import FRAME_MS

log = logging.getLogger(__name__)

BITS = {"int8": 8, "int4": 4}
MODES = ("none", *BITS)
# In 8 bits in every mode, as tables are, by the last word of a part. On random weights 4 bits
# everywhere are 0.30 off in the depth decoder's logits, with heads and projection in 8 bits 0.24,
# with these 0.14; that is a tenth more to read. MLP matrices, most of the model, gain less for what
# they cost.
PRECISE = ("codebook0_head", "depth_heads", "projection", "q", "k", "v", "out")

_SMALL = 100_000_000  # weights; a smaller model is quick as it is
# Of real time. What a frame takes beside its products, and the codec, have to fit too; and a seed
# gives the same take only in the same format, so a machine near the limit should not go to and fro.
_WORTH = 0.7


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a backend does with packed weights, on one device and for one checkpoint."""

    modes: tuple[str, ...]  # those that "auto" chooses from, most bits first; none: it has no such
    seconds_per_weight: Callable[[str], float]  # in a product with one row, measured, by the mode
    dtype: str | None = None  # the only format it computes in beside packed weights; None: any
    held: str | None = None  # the mode in which the checkpoint's weights are packed already


def bits_of(part: str, mode: str) -> int:
    """Bits of a weight of a packed part."""
    return 8 if part.rpartition(".")[2] in (*PRECISE, *TABLES) else BITS[mode]


def choose_quantize(wanted: LoadOptions, folder: Path, kernels: Kernels, tell: Listener) -> str:
    """none, int8 or int4 for the checkpoint in `folder`. Raises UsageError, CheckpointError.

    What the checkpoint holds packed stays as it is. "auto" is none without kernels, for a small
    model, and where a `dtype` was asked for; else the most bits that are expected to keep up with
    speech on this device. `wanted` names the device; it may leave the dtype open.
    """
    mode = wanted.quantize
    if mode not in (AUTO, *MODES):
        raise UsageError(f"quantize {mode!r} is unknown; choose auto, {', '.join(MODES)}")
    if kernels.held is not None:
        if mode not in (AUTO, kernels.held):
            tell(WeightsStayPacked(mode, folder, kernels.held))
        return kernels.held
    if not kernels.modes:
        if mode in BITS:
            tell(QuantizeIgnored(mode, wanted.device))
        return "none"
    if mode == AUTO:
        return _by_speed(read_sizes(folder), kernels) if wanted.dtype == AUTO else "none"
    if mode != "none" and kernels.dtype is not None and wanted.dtype not in (AUTO, kernels.dtype):
        raise UsageError(
            f"dtype {wanted.dtype} and quantize {mode}: packed weights are computed with in "
            f"{kernels.dtype}; leave dtype at auto, or set quantize to none"
        )
    return mode


def _by_speed(sizes: CsmSizes, kernels: Kernels) -> str:
    n_weights, n_read = count_weights(sizes)
    if n_weights < _SMALL:
        return "none"
    *others, fewest_bits = kernels.modes
    for mode in others:
        ms = n_read * kernels.seconds_per_weight(mode) * 1000
        log.debug("%s products of a frame: %.0f ms expected", mode, ms)
        if ms < _WORTH * FRAME_MS:
            return mode
    return fewest_bits


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

"""From logits to a code, on MLX. Knows no model. The noise is torch's, for both."""

from __future__ import annotations

from typing import TypeAlias

import mlx.core as mx
import numpy as np

from csm_chat.engine import sampling as base
from csm_chat.engine.sampling import Filters
from csm_chat.types import Logits, Sampling

# logits (vocab,) and exponential noise, (n_kept,) or longer, to a code (1,)
Draw: TypeAlias = base.Draw[mx.array]


class Sampler(Filters):
    """Draws one code."""

    __slots__ = ()

    def __call__(self, logits: mx.array, noise: mx.array) -> mx.array:
        """See `Draw`."""
        logits = logits[: self.n_codes].astype(mx.float32)
        if self.temperature == 0:
            return logits.argmax(axis=-1, keepdims=True)
        ids = mx.argsort(-logits)[: self.n_kept]  # the likeliest first
        shares = mx.softmax(logits[ids] / self.temperature, axis=-1)
        shares = _filtered(shares, self.top_p, self.min_p, self.min_kept)
        winner = (shares / noise[: self.n_kept]).argmax(axis=-1, keepdims=True)
        return ids[winner]


def _filtered(shares: mx.array, top_p: float, min_p: float, min_kept: int) -> mx.array:
    """Shares, likeliest first, with those zero that the filters drop."""
    kept, is_safe = shares, mx.arange(len(shares)) < min_kept
    if top_p < 1:
        before = mx.cumsum(shares, axis=-1) - shares
        kept = mx.where(is_safe | (before < top_p), kept, 0.0)
    if min_p > 0:
        kept = mx.where(is_safe | (shares >= min_p * shares[0]), kept, 0.0)
    return kept


def _rows(logits: mx.array) -> Logits:
    row: Logits = np.array(logits.astype(mx.float32))
    return row[None]


# one take at a time
ARRAYS: base.Arrays[mx.array] = base.Arrays(
    rows=_rows,
    logits=lambda rows, _: mx.array(rows[0]),
    codes=lambda codes, _: mx.array(codes),
    ids=lambda codes: np.array(codes).tolist(),
)


def samplers(sampling: Sampling, n_codes: int) -> tuple[Draw, Draw]:
    """For codebook 0 of one take, and for those after it."""
    return base.samplers(sampling, n_codes, Sampler, ARRAYS)

"""From logits to a code, on MLX. Knows no model. The noise is torch's, for both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import mlx.core as mx
import numpy as np

from csm_chat.engine.sampling import Filters, chosen, processed
from csm_chat.engine.sampling import samplers as of_framework
from csm_chat.types import CodeSampler, Logits, LogitsProcessor, Sampling


class Draw(Protocol):
    @property
    def n_kept(self) -> int:
        """Noise it needs."""
        ...

    def __call__(self, logits: mx.array, noise: mx.array, /) -> mx.array:
        """`logits` is (vocab,), `noise` exponential, (n_kept,) or longer; the code is (1,)."""
        ...


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


@dataclass(frozen=True, slots=True)
class Chosen:
    """The caller's sampler."""

    sampler: CodeSampler
    n_codes: int
    n_kept: int = 0

    def __call__(self, logits: mx.array, noise: mx.array) -> mx.array:
        return mx.array([chosen(self.sampler, _array(logits), self.n_codes)])


@dataclass(frozen=True, slots=True)
class Processed:
    """Codebook 0 of one take, behind the caller's logits processors."""

    inner: Draw
    processors: tuple[LogitsProcessor, ...]
    n_codes: int
    history: list[int] = field(default_factory=list)

    @property
    def n_kept(self) -> int:
        return self.inner.n_kept

    def __call__(self, logits: mx.array, noise: mx.array) -> mx.array:
        changed = processed(self.processors, self.history, _array(logits), self.n_codes)
        code = self.inner(mx.array(changed), noise)
        self.history.append(int(np.array(code)[0]))
        return code


def _array(logits: mx.array) -> Logits:
    array: Logits = np.array(logits.astype(mx.float32))
    return array


def samplers(sampling: Sampling, n_codes: int) -> tuple[Draw, Draw]:
    """For codebook 0 of one take, and for those after it."""
    return of_framework(sampling, n_codes, Sampler, Chosen, Processed)

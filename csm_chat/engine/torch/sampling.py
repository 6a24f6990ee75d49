"""From logits to a code, all on the device: nothing waits for the host. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from csm_chat.engine.sampling import Filters, chosen, processed
from csm_chat.engine.sampling import samplers as of_framework
from csm_chat.types import CodeSampler, Logits, LogitsProcessor, Sampling

_TINY = 1e-10  # torch's exponential noise can be 0, and 0 / 0 would win every argmax


class Draw(Protocol):
    @property
    def n_kept(self) -> int:
        """Noise it needs."""
        ...

    def __call__(self, logits: Tensor, noise: Tensor, /) -> Tensor:
        """Logits (takes, vocab) and exponential noise, (takes, n_kept) or more, to (takes, 1)."""
        ...


class Sampler(Filters):
    """Draws a code a take."""

    __slots__ = ()

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        """See `Draw`."""
        logits = logits[..., : self.n_codes].float()
        if self.temperature == 0:
            return logits.argmax(dim=-1, keepdim=True)
        logits, ids = logits.topk(self.n_kept)  # sorted: the likeliest first
        shares = (logits / self.temperature).softmax(dim=-1)
        shares = _filtered(shares, self.top_p, self.min_p, self.min_kept)
        winner = (shares / noise[..., : self.n_kept]).argmax(dim=-1, keepdim=True)
        return ids.gather(-1, winner)


def _filtered(shares: Tensor, top_p: float, min_p: float, min_kept: int) -> Tensor:
    """Shares, likeliest first, with those zero that the filters drop."""
    kept = shares
    if top_p < 1:
        before = shares.cumsum(dim=-1) - shares
        before[..., :min_kept] = -1.0
        kept = kept.where(before < top_p, 0.0)
    if min_p > 0:
        is_kept = shares >= min_p * shares[..., :1]
        if min_kept > 1:  # the first is always kept
            is_kept[..., :min_kept] = True
        kept = kept.where(is_kept, 0.0)
    return kept


@dataclass(frozen=True, slots=True)
class Chosen:
    """The caller's sampler."""

    sampler: CodeSampler
    n_codes: int
    n_kept: int = 0

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        codes = [chosen(self.sampler, take, self.n_codes) for take in _array(logits)]
        return torch.tensor(codes, device=logits.device)[:, None]


@dataclass(frozen=True, slots=True)
class Processed:
    """Codebook 0, behind the caller's logits processors; what each take has so far is its own."""

    inner: Draw
    processors: tuple[LogitsProcessor, ...]
    n_codes: int
    histories: list[list[int]] = field(default_factory=list)

    @property
    def n_kept(self) -> int:
        return self.inner.n_kept

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        self.histories.extend([] for _ in range(len(logits) - len(self.histories)))
        changed = [
            processed(self.processors, history, take, self.n_codes)
            for history, take in zip(self.histories, _array(logits), strict=True)
        ]
        codes = self.inner(torch.from_numpy(np.stack(changed)).to(logits.device), noise)
        for history, code in zip(self.histories, codes[:, 0].tolist(), strict=True):
            history.append(code)
        return codes


def _array(logits: Tensor) -> Logits:
    array: Logits = logits.float().cpu().numpy()
    return array


def samplers(sampling: Sampling, n_codes: int) -> tuple[Draw, Draw]:
    """For codebook 0 of takes that begin together, and for those after it."""
    return of_framework(sampling, n_codes, Sampler, Chosen, Processed)


class Noise:
    """Exponential noise, drawn on the host so that a seed means the same on every device."""

    def __init__(
        self, seeds: Sequence[int], codebooks: int, n_kept: int, device: torch.device | str
    ):
        """A seed a take: its noise is the same beside others as alone."""
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._shape = (codebooks, n_kept)
        self._device = device

    def frame(self) -> Tensor:
        """(takes, codebooks, n_kept)."""
        noise = torch.empty(len(self._generators), *self._shape)
        for take, generator in zip(noise, self._generators, strict=True):
            take.exponential_(generator=generator)
        return noise.clamp_min_(_TINY).to(self._device)

"""From logits to a code, all on the device: nothing waits for the host. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from csm_chat.engine import sampling as base
from csm_chat.engine.sampling import Filters
from csm_chat.types import Sampling

_TINY = 1e-10  # torch's exponential noise can be 0, and 0 / 0 would win every argmax


# logits (takes, vocab) and exponential noise, (takes, n_kept) or more, to codes (takes, 1)
Draw: TypeAlias = base.Draw[Tensor]


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


ARRAYS: base.Arrays[Tensor] = base.Arrays(
    rows=lambda logits: logits.float().cpu().numpy(),
    logits=lambda rows, beside: torch.from_numpy(rows).to(beside.device),
    codes=lambda codes, beside: torch.tensor(codes, device=beside.device)[:, None],
    ids=lambda codes: codes[:, 0].tolist(),
)


def samplers(sampling: Sampling, n_codes: int) -> tuple[Draw, Draw]:
    """For codebook 0 of takes that begin together, and for those after it."""
    return base.samplers(sampling, n_codes, Sampler, ARRAYS)


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

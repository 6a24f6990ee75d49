"""From logits to a code, without a word to the host. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from csm_chat.types import Sampling

_TINY = 1e-10  # torch's exponential noise can be 0, and 0 / 0 would win every argmax


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws one code. Filters work in the order of the fields, each on what the last one left."""

    n_codes: int  # ids from here on are never drawn
    temperature: float  # 0: argmax
    top_k: int  # 0: off
    top_p: float  # 1: off
    min_p: float  # 0: off

    @property
    def n_kept(self) -> int:
        return min(self.top_k or self.n_codes, self.n_codes)

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        """`logits` is (vocab,), `noise` exponential, (n_kept,) or longer; the code is (1,)."""
        logits = logits[: self.n_codes].float()
        if self.temperature == 0:
            return logits.argmax(dim=-1, keepdim=True)
        logits, ids = logits.topk(self.n_kept)  # sorted: the likeliest first
        shares = (logits / self.temperature).softmax(dim=-1)
        shares = _filtered(shares, self.top_p, self.min_p)
        winner = (shares / noise[: self.n_kept]).argmax(dim=-1, keepdim=True)
        return ids[winner]


def _filtered(shares: Tensor, top_p: float, min_p: float) -> Tensor:
    """Shares, likeliest first, with those zero that the filters drop. The first always stays."""
    kept = shares
    if top_p < 1:
        before = shares.cumsum(dim=-1) - shares
        before[0] = -1.0
        kept = kept.where(before < top_p, 0.0)
    if min_p > 0:
        kept = kept.where(shares >= min_p * shares[0], 0.0)
    return kept


def samplers(sampling: Sampling, n_codes: int) -> tuple[Sampler, Sampler]:
    """For codebook 0, and for those after it."""

    def either(own: float | None, namesake: float) -> float:
        return namesake if own is None else own

    first = Sampler(n_codes, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    depth = Sampler(
        n_codes,
        either(sampling.depth_temperature, sampling.temperature),
        int(either(sampling.depth_top_k, sampling.top_k)),
        either(sampling.depth_top_p, sampling.top_p),
        either(sampling.depth_min_p, sampling.min_p),
    )
    return first, depth


class Noise:
    """Exponential noise, drawn on the host so that a seed means the same on every device."""

    def __init__(self, seed: int, codebooks: int, n_kept: int, device: torch.device):
        self._generator = torch.Generator().manual_seed(seed)
        self._shape = (codebooks, n_kept)
        self._device = device

    def frame(self) -> Tensor:
        """(codebooks, n_kept)."""
        noise = torch.empty(self._shape).exponential_(generator=self._generator)
        return noise.clamp_min_(_TINY).to(self._device)

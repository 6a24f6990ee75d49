"""Quantises matrices and tables: integers of 8 or 4 bits with scales. Knows no file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 128  # columns that share a scale; half the scales to read of 64, see benchmarks/README.md
_LEAST_BLOCK = 16  # of the kernel
_ROWS = 1024  # worked on at a time: bounds what the search for scales takes
# Shares of the scale that holds a block's largest weight. In 4 bits a few clipped weights cost less
# than coarse steps for all.
_SHARES = {4: (1.0, 0.92, 0.84, 0.76), 8: (1.0,)}


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What an adapter adds to a matrix (out, in): `up @ down`."""

    up: Tensor  # float32 (out, rank)
    down: Tensor  # float32 (rank, in)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A matrix (out, in): block by block of a row, weight = (code - 2 ** (bits - 1)) * scale.

    An adapter's change is added to its products, unrounded.
    """

    bits: int  # 4 or 8
    n_in: int
    codes: Tensor  # uint8 (out, blocks, bytes of a block), the even column in the low half
    scales: Tensor  # float32 (out, blocks)
    change: Change | None = None

    @property
    def block(self) -> int:
        return self.codes.shape[-1] * 8 // self.bits


def pack(weight: Tensor, bits: int) -> Packed:
    """Quantise a matrix (out, in) of any float format."""
    n_in = weight.shape[1]
    block = max(math.gcd(n_in, _BLOCK), _LEAST_BLOCK)
    pieces = [_pack_rows(rows, bits, block) for rows in torch.split(weight, _ROWS)]
    codes, scales = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    return Packed(bits, n_in, codes, scales)


def _pack_rows(rows: Tensor, bits: int, block: int) -> tuple[Tensor, Tensor]:
    n_in = rows.shape[1]
    padded = torch.nn.functional.pad(rows.float(), (0, -n_in % block))
    blocks = padded.view(len(rows), -1, block)
    most = 2 ** (bits - 1)
    at = blocks.abs().argmax(-1, keepdim=True)
    # the largest weight becomes -most: of that sign there is one code more
    widest = blocks.gather(-1, at) / -most
    best = torch.full_like(widest, math.inf)
    scales, codes = torch.zeros_like(widest), torch.zeros_like(blocks)
    for share in _SHARES[bits]:
        scale = widest * share
        tried = torch.nan_to_num(blocks / scale).round_().clamp_(-most, most - 1)
        error = (tried * scale - blocks).square_().sum(-1, keepdim=True)
        is_better = error < best
        best = torch.where(is_better, error, best)
        scales = torch.where(is_better, scale, scales)
        codes = torch.where(is_better, tried, codes)
    stored = (codes + most).to(torch.uint8)
    if bits == 4:
        stored = stored[..., ::2] | stored[..., 1::2] << 4
    return stored, scales.squeeze(-1)


def stacked(matrices: Sequence[Packed]) -> Packed:
    """Matrices of one input as one, (out of all, in)."""
    first, *rest = matrices
    assert all((each.bits, each.n_in) == (first.bits, first.n_in) for each in rest), matrices
    codes = torch.cat([each.codes for each in matrices])
    scales = torch.cat([each.scales for each in matrices])
    return Packed(first.bits, first.n_in, codes, scales, _stacked_change(matrices))


def _stacked_change(matrices: Sequence[Packed]) -> Change | None:
    if all(each.change is None for each in matrices):
        return None
    none = [Change(torch.zeros(len(each.codes), 0), torch.zeros(0, each.n_in)) for each in matrices]
    changes = [each.change or empty for each, empty in zip(matrices, none, strict=True)]
    up: Tensor = torch.block_diag(*(change.up for change in changes))  # type: ignore[no-untyped-call]
    return Change(up, torch.cat([change.down for change in changes]))


def placeholder(n_out: int, n_in: int, bits: int) -> Packed:
    """A packed matrix of any weights, to measure products with."""
    n_blocks = n_in // _BLOCK
    codes = torch.ones(n_out, n_blocks, _BLOCK * bits // 8, dtype=torch.uint8)
    return Packed(bits, n_in, codes, torch.ones(n_out, n_blocks))


def unpack(packed: Packed) -> Tensor:
    """What a packed matrix stands for: float32 (out, in)."""
    codes = packed.codes
    if packed.bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), -1).flatten(-2)
    centred = codes.float() - 2 ** (packed.bits - 1)
    weight: Tensor = (centred * packed.scales[..., None]).flatten(1)
    return weight.narrow(1, 0, packed.n_in)


def pack_table(rows: Tensor) -> tuple[Tensor, Tensor]:
    """A table's rows in 8 bits: int8 (rows, width) and a float32 scale each, (rows, 1)."""
    wide = rows.float()
    scales = wide.abs().amax(-1, keepdim=True) / 127
    return torch.nan_to_num(wide / scales).round_().to(torch.int8), scales

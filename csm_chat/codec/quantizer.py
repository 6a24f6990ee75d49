"""Mimi's codebooks: frames of channels to codes and back. Knows no nets around them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

_BOOK = "quantizer.rvq_{}.vq.layers.{}._codebook."
_N_FIRST = 1  # codebooks of the first part
_LEAST_USAGE = 1e-5  # moshi's


class Quantizer:
    """A split residual quantizer: one codebook of its own, and others after each other."""

    def __init__(self, tensors: Mapping[str, Tensor], codebooks: int) -> None:
        """Takes the first `codebooks`, 2 or more."""
        books = [_BOOK.format("first", 0), *(_BOOK.format("rest", i) for i in range(codebooks - 1))]
        # (codebooks, entries, width)
        self._tables = torch.stack([_table(book, tensors) for book in books])
        n, entries, _ = self._tables.shape
        self._starts = torch.arange(0, n * entries, entries, device=self._tables.device)
        parts = [f"quantizer.rvq_{part}" for part in ("first", "rest")]
        out = [tensors[f"{part}.output_proj.weight"][:, :, 0] for part in parts]
        self._out = torch.cat(out, 1)  # (channels, 2 * width)
        self._in = [tensors[f"{part}.input_proj.weight"][:, :, 0] for part in parts]

    @cached_property
    def _half_norms(self) -> Tensor:
        return self._tables.square().sum(2) / 2

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, codebooks) to frames (n, channels)."""
        entries = F.embedding(codes + self._starts, self._tables.flatten(0, 1))
        first, rest = entries[:, :_N_FIRST].sum(1), entries[:, _N_FIRST:].sum(1)
        return F.linear(torch.cat((first, rest), 1), self._out)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (n, channels) to codes (n, codebooks): the entries nearest to what is left."""
        codes: list[Tensor] = []
        for start, stop, projection in (
            (0, _N_FIRST, self._in[0]),
            (_N_FIRST, len(self._tables), self._in[1]),
        ):
            left = frames @ projection.T
            for table, half_norms in zip(
                self._tables[start:stop], self._half_norms[start:stop], strict=True
            ):
                code = torch.addmm(half_norms, left, table.T, alpha=-1).argmin(1)
                left = left - table[code]
                codes.append(code)
        return torch.stack(codes, 1)


def _table(book: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """The entries: files hold each one's sum over the frames that took it, and their number."""
    usage = tensors[f"{book}cluster_usage"].clamp(min=_LEAST_USAGE)
    return tensors[f"{book}embedding_sum"] / usage[:, None]

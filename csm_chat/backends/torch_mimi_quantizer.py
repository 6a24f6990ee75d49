"""Mimi's codebooks: frames of channels to codes and back. Knows no nets around them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class Quantizer:
    """A split residual quantizer: one codebook of its own, and others after each other."""

    def __init__(self, quantizer: Any) -> None:
        """`quantizer` is moshi's SplitResidualVectorQuantizer; takes the codebooks in use."""
        parts = (quantizer.rvq_first, quantizer.rvq_rest)
        books = [layer._codebook for part in parts for layer in part.vq.layers[: part.n_q]]
        self._n_first: int = parts[0].n_q
        self._tables = torch.stack(
            [
                book.embedding_sum / book.cluster_usage.clamp(min=book.epsilon)[:, None]
                for book in books
            ]
        )  # (codebooks, entries, width)
        n, entries, _ = self._tables.shape
        self._starts = torch.arange(0, n * entries, entries, device=self._tables.device)
        out = [part.output_proj.weight[:, :, 0] for part in parts]
        self._out = torch.cat(out, 1)  # (channels, 2 * width)
        self._in = [part.input_proj.weight[:, :, 0] for part in parts]

    @cached_property
    def _half_norms(self) -> Tensor:
        return self._tables.square().sum(2) / 2

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, codebooks) to frames (n, channels)."""
        entries = F.embedding(codes + self._starts, self._tables.flatten(0, 1))
        first, rest = entries[:, : self._n_first].sum(1), entries[:, self._n_first :].sum(1)
        return F.linear(torch.cat((first, rest), 1), self._out)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (n, channels) to codes (n, codebooks): the entries nearest to what is left."""
        codes: list[Tensor] = []
        for start, stop, projection in (
            (0, self._n_first, self._in[0]),
            (self._n_first, len(self._tables), self._in[1]),
        ):
            left = frames @ projection.T
            for table, half_norms in zip(
                self._tables[start:stop], self._half_norms[start:stop], strict=True
            ):
                code = torch.addmm(half_norms, left, table.T, alpha=-1).argmin(1)
                left = left - table[code]
                codes.append(code)
        return torch.stack(codes, 1)

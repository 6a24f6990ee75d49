"""Multiplies rows with a matrix; a few rows as quickly as the matrix is read. Knows no model.

What the BLAS of PyTorch for x86 (MKL 2024.2) wants: measured on Zen 4 with matrices larger than
the caches. Elsewhere the order matters less.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

# Up to here the matrix comes first: 20 GB/s against 3 for two rows.
_FEW = 4
# Columns that stand together: rows of 1024 and more floats begin at addresses that share the same
# few places in a cache, 5 GB/s.
_COLUMNS = 512
# What float16 misses of a weight is a 2048th of it at most.
_MISSED = 2048


class Product(Protocol):
    """Rows (n, in) times a weight (out, in), and the bias: (n, out), in any order of strides."""

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor: ...


def product_with(weight: Tensor, n_rows: int, *, rounds: bool = False) -> Product:
    """The one for a weight (out, in) whose calls have `n_rows`, or some more.

    `rounds`: where it halves the time, weights may be rounded to float16, by 1/2048 at most.
    """
    if (weight.device.type, weight.dtype) == ("cpu", torch.float32):
        if n_rows > _FEW and _has("mkldnn", "_linear_pointwise"):
            return _by_onednn(weight, n_rows)
        if n_rows <= _FEW and _has_fbgemm():
            return _by_fbgemm(weight, rounds)
    return Matrix(weight)


def _has(library: str, name: str) -> bool:
    """Whether this PyTorch was built with it. These functions are no public ones."""
    return hasattr(getattr(torch.ops, library), name)


def _has_fbgemm() -> bool:
    """Its products with float16 exist for x86 alone; elsewhere they raise."""
    engine = torch.backends.quantized.engine in ("x86", "fbgemm")
    return engine and _has("quantized", "linear_dynamic_fp16")


def _by_onednn(weight: Tensor, n_rows: int) -> Product:
    """16 rows take half of the time that they take with MKL, two rows twice."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, n_rows)

    def product(rows: Tensor, bias: Tensor | None = None) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
        return y

    return product


def _by_fbgemm(weight: Tensor, rounds: bool) -> Product:
    """Weights in float16, and what that misses in float16 as well, unless it `rounds`.

    It computes in float32. Two rows take 0.7 to 0.9 of the time of `Matrix`, half of that where
    weights are rounded.
    """
    high = weight.half().float()
    packed = torch.ops.quantized.linear_prepack_fp16(high, None)
    rest = None
    if not rounds and (missed := (weight - high).mul_(_MISSED)).any():
        rest = torch.ops.quantized.linear_prepack_fp16(missed, None)

    def product(rows: Tensor, bias: Tensor | None = None) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, packed)
        if rest is not None:
            y.add_(torch.ops.quantized.linear_dynamic_fp16(rows, rest), alpha=1 / _MISSED)
        return y if bias is None else y.add_(bias)

    return product


class Matrix:
    """A weight (out, in), to multiply rows with."""

    def __init__(self, weight: Tensor) -> None:
        out, width = weight.shape
        n = width // _COLUMNS if width % _COLUMNS == 0 else 1
        # (n, out, in / n)
        self._blocks = weight.reshape(out, n, -1).transpose(0, 1).contiguous()

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        if len(rows) > _FEW:
            return self._of_many(rows, bias)
        y = self._of_few(rows).T
        return y if bias is None else y + bias

    def _of_few(self, rows: Tensor) -> Tensor:
        n = len(self._blocks)
        if n == 1:
            return self._blocks[0] @ rows.T
        return torch.bmm(self._blocks, rows.view(len(rows), n, -1).permute(1, 2, 0)).sum(0)

    def _of_many(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        first, *others = zip(self._blocks, rows.chunk(len(self._blocks), 1), strict=True)
        y = F.linear(first[1], first[0], bias)
        for block, columns in others:
            y.addmm_(columns, block.T)
        return y

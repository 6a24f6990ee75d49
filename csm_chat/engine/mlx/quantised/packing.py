"""Matrices, plain or packed, which are used in the same way. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

from csm_chat.engine.quantising import bits_of

_GROUP = 64  # columns that share a scale: what MLX itself packs with


class Matrix(Protocol):
    """A matrix (out, in), or a table of rows."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) to (..., out)."""
        ...

    def rows(self, ids: mx.array) -> mx.array:
        """Rows by number, (...,) to (..., in)."""
        ...

    def arrays(self) -> list[mx.array]:
        """What it is made of."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    weight: mx.array  # (out, in)

    def __call__(self, x: mx.array) -> mx.array:
        return x @ self.weight.T

    def rows(self, ids: mx.array) -> mx.array:
        return self.weight[ids]

    def arrays(self) -> list[mx.array]:
        return [self.weight]


@dataclass(frozen=True, slots=True)
class Form:
    """How a packed matrix is packed: `mx.quantize`, affine."""

    group: int  # columns that share a scale and a bias
    bits: int


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """weight = code * scale + bias; scales and biases in the format that is computed in."""

    form: Form
    codes: mx.array  # uint32 (out, in * bits / 32)
    scales: mx.array  # (out, in / group)
    biases: mx.array  # (out, in / group)

    def __call__(self, x: mx.array) -> mx.array:
        form = self.form
        return mx.quantized_matmul(
            x, self.codes, self.scales, self.biases, group_size=form.group, bits=form.bits
        )

    def rows(self, ids: mx.array) -> mx.array:
        form, (codes, scales, biases) = self.form, (each[ids] for each in self.arrays())
        return mx.dequantize(codes, scales, biases, group_size=form.group, bits=form.bits)

    def arrays(self) -> list[mx.array]:
        return [self.codes, self.scales, self.biases]


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Matrices of several forms whose products stand side by side."""

    parts: tuple[Matrix, ...]

    def __call__(self, x: mx.array) -> mx.array:
        return mx.concatenate([part(x) for part in self.parts], axis=-1)

    def rows(self, ids: mx.array) -> mx.array:
        raise AssertionError("tables are never joined")

    def arrays(self) -> list[mx.array]:
        return [array for part in self.parts for array in part.arrays()]


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """A matrix and what an adapter adds to it: `up @ down`."""

    matrix: Matrix
    up: mx.array  # (out, rank)
    down: mx.array  # (rank, in)

    def __call__(self, x: mx.array) -> mx.array:
        return self.matrix(x) + (x @ self.down.T) @ self.up.T

    def rows(self, ids: mx.array) -> mx.array:
        return self.matrix.rows(ids) + self.up[ids] @ self.down

    def arrays(self) -> list[mx.array]:
        return [*self.matrix.arrays(), self.up, self.down]


def form_of(part: str, mode: str) -> Form | None:
    """How a part is packed on loading; None: it is not."""
    return None if mode == "none" else Form(_GROUP, bits_of(part, mode))


def pack(weight: mx.array, form: Form) -> Matrix:
    """A matrix packed as `form` says; as it is where the groups do not divide its width."""
    if weight.shape[-1] % form.group:
        return Plain(weight)
    codes, scales, biases = mx.quantize(weight, group_size=form.group, bits=form.bits)
    return Packed(form, codes, scales, biases)


def joined(parts: Sequence[Matrix]) -> Matrix:
    """Matrices of one input as one: a single product, where all are of one form."""
    plain = [part for part in parts if isinstance(part, Plain)]
    packed = [part for part in parts if isinstance(part, Packed)]
    whole: Matrix = Beside(tuple(parts))
    if len(plain) == len(parts):
        whole = Plain(mx.concatenate([part.weight for part in plain]))
    elif len(packed) == len(parts) and len({part.form for part in packed}) == 1:
        columns = zip(*(part.arrays() for part in packed), strict=True)
        whole = Packed(packed[0].form, *(mx.concatenate([*column]) for column in columns))
    mx.eval(whole.arrays())  # at once: the parts go before the next ones are read
    return whole

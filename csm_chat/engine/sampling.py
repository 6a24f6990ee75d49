"""How codes are drawn, but for the arithmetic: settings, and what callers hand in. NumPy only.

Checks what the callers' samplers and logits processors answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from csm_chat.errors import UsageError
from csm_chat.types import CodeSampler, Logits, LogitsProcessor, Sampling

T = TypeVar("T")  # an array of a framework


@dataclass(frozen=True, slots=True)
class Filters:
    """What rules codes out. In the order of the fields, each on what the last one left."""

    n_codes: int  # ids from here on are never drawn
    temperature: float  # 0: argmax
    top_k: int  # 0: off
    top_p: float  # 1: off
    min_p: float  # 0: off
    min_kept: int = 1  # likeliest codes that top_p and min_p never drop

    @property
    def n_kept(self) -> int:
        """Codes that are left after top_k, and the noise that drawing one of them takes."""
        return min(self.top_k or self.n_codes, self.n_codes)


@dataclass(frozen=True, slots=True)
class Arrays(Generic[T]):
    """A framework's arrays, of takes that begin together, to NumPy and back."""

    rows: Callable[[T], Logits]  # logits as float32, (takes, vocab)
    logits: Callable[[Logits, T], T]  # (takes, vocab) as the framework has them, beside the second
    codes: Callable[[list[int], T], T]  # a code a take, beside the second
    ids: Callable[[T], list[int]]  # and back


class Draw(Protocol[T]):
    """Draws a code a take."""

    @property
    def n_kept(self) -> int:
        """Noise it needs."""
        ...

    def __call__(self, logits: T, noise: T, /) -> T:
        """Logits, and exponential noise of `n_kept` or more, to codes."""
        ...


@dataclass(frozen=True, slots=True)
class Chosen(Generic[T]):
    """The caller's sampler."""

    sampler: CodeSampler
    n_codes: int
    arrays: Arrays[T]
    n_kept: int = 0

    def __call__(self, logits: T, noise: T) -> T:
        rows = self.arrays.rows(logits)
        return self.arrays.codes([chosen(self.sampler, row, self.n_codes) for row in rows], logits)


@dataclass(frozen=True, slots=True)
class Processed(Generic[T]):
    """Codebook 0, behind the caller's logits processors; what each take has so far is its own."""

    inner: Draw[T]
    processors: tuple[LogitsProcessor, ...]
    n_codes: int
    arrays: Arrays[T]
    histories: list[list[int]] = field(default_factory=list)

    @property
    def n_kept(self) -> int:
        return self.inner.n_kept

    def __call__(self, logits: T, noise: T) -> T:
        rows = self.arrays.rows(logits)
        self.histories.extend([] for _ in range(len(rows) - len(self.histories)))
        changed = [
            processed(self.processors, history, row, self.n_codes)
            for history, row in zip(self.histories, rows, strict=True)
        ]
        codes = self.inner(self.arrays.logits(np.stack(changed), logits), noise)
        for history, code in zip(self.histories, self.arrays.ids(codes), strict=True):
            history.append(code)
        return codes


def samplers(
    sampling: Sampling,
    n_codes: int,
    sampler: Callable[[int, float, int, float, float, int], Draw[T]],
    arrays: Arrays[T],
) -> tuple[Draw[T], Draw[T]]:
    """What draws codebook 0 of takes that begin together, and what draws those after it.

    `sampler` makes it of the fields of `Filters`.
    """

    def drawing(each: Sampling) -> Draw[T]:
        if each.sampler is not None:
            return Chosen(each.sampler, n_codes, arrays)
        filters = each.temperature, each.top_k, each.top_p, each.min_p, each.min_tokens_to_keep
        return sampler(n_codes, *filters)

    first, depth = drawing(sampling), drawing(sampling.of_depth())
    if sampling.processors:
        first = Processed(first, sampling.processors, n_codes, arrays)
    return first, depth


def processed(
    processors: Sequence[LogitsProcessor], history: Sequence[int], logits: Logits, n_codes: int
) -> Logits:
    """Logits of codebook 0, (audio_vocab,), after each processor in turn.

    `history` is codebook 0 of the frames of this take. Raises UsageError for an answer of another
    shape, with NaN or +inf, or that leaves no code below `n_codes` to draw.
    """
    for processor in processors:
        answer = processor(np.array(history, np.int32), logits.copy())
        logits = _checked(answer, logits.shape, n_codes, _name(processor))
    return logits


def chosen(sampler: CodeSampler, logits: Logits, n_codes: int) -> int:
    """The code that `sampler` draws from logits (audio_vocab,). Ids that mean no sound are -inf.

    Raises UsageError for an answer that is no code below `n_codes`.
    """
    logits = logits.copy()
    logits[n_codes:] = -np.inf
    answer = np.asarray(sampler(logits))
    if answer.size != 1 or answer.dtype.kind not in "iu":
        raise UsageError(
            f"sampler {_name(sampler)} returned {_described(answer)}; return one code, an integer"
        )
    code = int(answer.reshape(-1)[0])
    if not 0 <= code < n_codes:
        raise UsageError(
            f"sampler {_name(sampler)} returned {code}; codes run from 0 to {n_codes - 1}"
        )
    return code


def _checked(answer: npt.ArrayLike, shape: tuple[int, ...], n_codes: int, name: str) -> Logits:
    array = np.asarray(answer)
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise UsageError(
            f"logits processor {name} returned {_described(array)}; "
            f"return the logits, float32 of shape {shape}"
        )
    logits = array.astype(np.float32)
    if np.isnan(logits).any() or np.isposinf(logits).any():
        raise UsageError(
            f"logits processor {name} returned NaN or +inf; -inf is what rules a code out"
        )
    if np.isneginf(logits[:n_codes]).all():
        raise UsageError(f"logits processor {name} ruled every code out; leave one to draw")
    return logits


def _described(array: npt.NDArray[np.generic]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _name(call: object) -> str:
    return str(getattr(call, "__name__", type(call).__name__))

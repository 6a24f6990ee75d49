"""What engines of all frameworks share: which rows are computed when, and who may stop it.

NumPy only.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from csm_chat.checkpoint.adapters.adapter import Adapter
from csm_chat.checkpoint.adapters.files import read_adapter
from csm_chat.checkpoint.sizes import CsmSizes
from csm_chat.engine.kept import KEPT_CACHES, CachedRows, Kept, KeptCaches, Saved
from csm_chat.errors import ContextError, Interrupted
from csm_chat.types import Codes, Frame, Prompt, Sampling

_CHUNK_ROWS = 256  # rows prefilled at a time: bounds what their activations take
_AHEAD_ROWS = 64  # the same while nobody waits: what is lost when somebody does

Hidden = TypeVar("Hidden")  # a row's hidden state, (1, width)


class CachedEngine(ABC, Generic[Hidden, Saved]):
    """An `Engine` but for its frames, over a KV cache whose rows it knows.

    What the cache held is kept where a prompt begins with other voices, and comes back with them.
    """

    def __init__(self, sizes: CsmSizes) -> None:
        self.codebooks = sizes.codebooks
        self.n_codes = sizes.entries
        self.context_rows = sizes.context_rows
        self.adapter: Path | None = None
        self.prefilled_rows = 0
        self._sizes = sizes
        self._rows = CachedRows(sizes.context_rows, sizes.codebooks + 1)
        self._kept = KeptCaches[Saved](KEPT_CACHES * sizes.context_rows)
        self._interrupted = threading.Event()
        self._take = 0

    @abstractmethod
    def frames(self, prompt: Prompt, sampling: Sampling) -> Generator[Frame, None, None]:
        """See `Engine.frames`."""

    @abstractmethod
    def _advance(
        self,
        tokens: npt.NDArray[np.int32],
        mask: npt.NDArray[np.bool_],
        go_on: Callable[[], None],
    ) -> Hidden:
        """Run the backbone over rows at the cache's end; returns the last one's hidden state.

        `go_on` is called between layers and raises what stops it.
        """

    @abstractmethod
    def _saved(self, n_rows: int) -> Saved:
        """A copy of the cache's first rows."""

    @abstractmethod
    def _put_back(self, saved: Saved, n_rows: int) -> None:
        """Write the first rows of what was saved to the cache."""

    def prefill(self, prompt: Prompt, is_wanted: Callable[[], bool]) -> bool:
        """See `Engine.prefill`."""
        self._begin()
        self._room(prompt)

        def go_on() -> None:
            if not is_wanted():
                raise Interrupted("somebody waits")

        try:
            self._compute(prompt, self._held_of(prompt), _AHEAD_ROWS, go_on)
        except Interrupted:
            return False
        return True

    def takes(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Codes]:
        """See `Engine.takes`. One after the other."""
        said = (list(self.frames(prompt, replace(sampling, seed=seed))) for seed in seeds)
        return [np.array(frames, np.int32).reshape(-1, self.codebooks) for frames in said]

    def forget(self) -> None:
        """See `Engine.forget`."""
        self._begin()
        self._rows.cut(0)
        self._kept.clear()

    def adapt(self, folder: Path | None) -> None:
        """See `Engine.adapt`."""
        adapter = None if folder is None else read_adapter(folder, self._sizes)
        self.forget()
        self._adapt(adapter)
        self.adapter = folder

    @abstractmethod
    def _adapt(self, adapter: Adapter | None) -> None:
        """Compute with the adapter from now on, with none if that is None."""

    def interrupt(self) -> None:
        """See `Engine.interrupt`."""
        self._interrupted.set()

    def _begin(self) -> int:
        self._interrupted.clear()
        self._take += 1
        return self._take

    def _go_on(self) -> None:
        if self._interrupted.is_set():
            raise Interrupted("stopped on request")

    def _room(self, prompt: Prompt) -> int:
        """Frames that fit behind the prompt."""
        n_rows, n_columns = prompt.tokens.shape
        assert n_rows > 0 and n_columns == self.codebooks + 1, prompt.tokens.shape
        assert prompt.mask.shape == prompt.tokens.shape, prompt.mask.shape
        if n_rows >= self.context_rows:
            raise ContextError(
                f"the prompt takes {n_rows} rows, the model has {self.context_rows} for it and "
                "for speech; shorten the voices or the text"
            )
        return self.context_rows - n_rows

    def _prefill(self, prompt: Prompt) -> Hidden:
        """Compute the rows that the cache does not hold, and the last one always.

        Returns the last one's hidden state.
        """
        n_rows = len(prompt.tokens)
        start = min(self._held_of(prompt), n_rows - 1)
        self.prefilled_rows = n_rows - start
        hidden = self._compute(prompt, start, _CHUNK_ROWS, self._go_on)
        assert hidden is not None, "the last row is computed"
        return hidden

    def _held_of(self, prompt: Prompt) -> int:
        """How many rows at the prompt's start the cache holds, with what was kept for its voices.

        What the cache holds behind other voices is kept in turn.
        """
        n_shared = self._rows.shared_with(prompt)
        if n_shared >= prompt.n_pinned:
            return n_shared
        back = self._kept.take(prompt, n_shared)
        if n_shared < self._rows.n_pinned <= self._rows.n:
            self._kept.add(Kept(self._rows.copy(), self._saved(self._rows.n)))
        if back is None:
            return n_shared
        kept, n_rows = back
        self._put_back(kept.saved, n_rows)
        self._rows.become(kept.rows, n_rows)
        return n_rows

    def _compute(
        self, prompt: Prompt, start: int, chunk_rows: int, go_on: Callable[[], None]
    ) -> Hidden | None:
        """Compute the rows from `start` on; returns the last one's hidden state."""
        self._rows.cut(start)
        self._rows.n_pinned = prompt.n_pinned
        hidden = None
        for begin in range(start, len(prompt.tokens), chunk_rows):
            mask = prompt.mask[begin : begin + chunk_rows]
            tokens = np.where(mask, prompt.tokens[begin : begin + chunk_rows], 0)
            hidden = self._advance(tokens, mask, go_on)
            self._rows.add(tokens, mask)
        return hidden

    def _add(self, frame: Frame) -> None:
        """The cache holds a generated frame's row, or will when it is next used."""
        tokens = np.append(frame, np.int32(0))[None]
        self._rows.add(tokens, np.arange(tokens.size)[None] < self.codebooks)

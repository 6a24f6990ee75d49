"""What waits for the model's thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from csm_chat.repl.worker.model_thread import ModelThread

# gets the epoch it began in; False: an entry did not end as asked
Run = Callable[["ModelThread", int], bool | None]


@dataclass(frozen=True, slots=True)
class Job:
    run: Run
    is_entry: bool = False


class JobQueue:
    """Jobs in the order in which they were asked for. Any thread; `changed` guards it."""

    def __init__(self, changed: threading.Condition) -> None:
        self.epoch = 0  # raised by each cancel
        self.is_closed = False
        self._changed = changed
        self._jobs: deque[Job] = deque()
        self._is_busy = False

    def put(self, run: Run, *, is_entry: bool = False) -> None:
        with self._changed:
            self._jobs.append(Job(run, is_entry))
            self._changed.notify_all()

    def take(self, within_s: float) -> Job | None:
        """The next job, which is under way until `done`; None when none came, or it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self.is_closed, within_s)
            if self.is_closed or not self._jobs:
                return None
            self._is_busy = True
            return self._jobs.popleft()

    def done(self) -> None:
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()

    def cancel(self) -> None:
        """Tell the entry under way, by the epoch, that it is no longer wanted."""
        with self._changed:
            self.epoch += 1

    def drop_entries(self) -> int:
        """Forget the entries that wait; how many there were. Commands stay."""
        with self._changed:
            n_entries = self.n_entries
            self._jobs = deque(job for job in self._jobs if not job.is_entry)
        return n_entries

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._jobs.clear()
            self._changed.notify_all()

    @property
    def n_entries(self) -> int:
        with self._changed:
            return sum(job.is_entry for job in self._jobs)

    @property
    def is_empty(self) -> bool:
        return not self._jobs

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not self._jobs and not self._is_busy

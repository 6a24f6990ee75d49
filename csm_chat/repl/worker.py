"""The one thread that owns the model: entries and commands queue here, in the order they were typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from csm_chat.speech.session import Session
from csm_chat.types import Turn, Utterance

State = Literal["loading", "failed", "ready", "generating", "speaking"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The context meter, in rows of the model's context."""

    voices: int
    history: int
    total: int

    @property
    def free(self) -> int:
        return self.total - self.voices - self.history


@dataclass(frozen=True, slots=True)
class Status:
    """What the toolbar shows, a snapshot."""

    state: State
    model: str  # one line: what speaks, on what
    part: int = 0  # 1-based part of the entry being generated; 0: none
    parts: int = 0
    speaker: int = 0  # who is being generated or spoken
    n_queued: int = 0  # entries waiting behind this one
    seconds: float = 0.0  # generated of this part so far
    first_audio_s: float | None = None  # of the last take
    rtf: float | None = None  # moving average
    seed: int | None = None  # fixed seed, None: random
    rows: Rows | None = None  # None until the model is loaded
    audio: str = "off"  # device name, or "off"
    level: float = 0.0  # peak of what is being played, 0 - 1
    n_gaps: int = 0  # of the entry being played
    detail: str = ""  # loading: what is being loaded or downloaded, in words


class View(Protocol):
    """Who watches the worker. Called from the worker's thread."""

    def note(self, text: str, kind: Literal["info", "warn", "error"] = "info") -> None:
        """A line (or a few) for the reader."""
        ...

    def turn(self, number: int, turn: Turn) -> None:
        """A take has ended; `number` is its file number."""
        ...

    def changed(self) -> None:
        """The status changed."""
        ...


class Worker:
    """Submit from any thread; everything runs on the worker's own, in order."""

    view: View
    n_failed: int  # entries that did not end as asked

    def start(self) -> None: ...

    def say(self, utterances: tuple[Utterance, ...]) -> None:
        """Queue an entry."""
        ...

    def run(self, action: Callable[[Session], str]) -> None:
        """Queue a command on the session; its answer, if any, goes to `view.note`."""
        ...

    def retry(self) -> None:
        """Queue: say the last utterance again with a new seed; the new take replaces the old in the context."""
        ...

    def replay(self, number: int | None) -> None:
        """Queue: play the take with that number again (None: the last entry)."""
        ...

    def reload(self) -> None:
        """Queue: look at the references folder again and say what changed."""
        ...

    def set_audio(self, device: str | None) -> None:
        """Queue: open another output device (None: the configured one, again)."""
        ...

    def retry_loading(self) -> None:
        """When loading failed: try again. Otherwise nothing."""
        ...

    def cancel(self) -> bool:
        """Stop speech and generation now; queued entries stay. True if there was something to stop."""
        ...

    def drop_queue(self) -> int:
        """Forget what is queued; how many entries that were."""
        ...

    def status(self) -> Status: ...

    def speakers(self) -> dict[int, str]:
        """Names by speaker number, of voices and of `config.voices`. Any thread, cheap."""
        ...

    def wait(self) -> None:
        """Return when the queue is empty and everything was heard."""
        ...

    def close(self) -> None:
        """Stop, finish files, end the thread. Safe to call twice."""
        ...

"""What the worker shows, whom it tells, and what it plays and saves with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from csm_chat.notices import GapsHeard, Notice, Reporting
from csm_chat.types import Sink

if TYPE_CHECKING:
    from csm_chat.checking.checks import Checks
    from csm_chat.config.settings import Config
    from csm_chat.conversation.directing import Joined
    from csm_chat.conversation.session import Session
    from csm_chat.types import Pcm, Turn, Voice

State = Literal["loading", "failed", "ready", "generating", "speaking"]
Kind = Literal["info", "warn", "error"]
# expected seconds, RTF, how to begin (`audio.start`) -> seconds to wait for
Prebuffer = Callable[[float, float | None, str], float]


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
    model: str = ""  # one line: what speaks, on what
    part: int = 0  # 1-based part of the entry being generated; 0: none
    parts: int = 0
    speaker: int = 0  # who is being generated or spoken
    n_queued: int = 0  # entries waiting behind this one
    seconds: float = 0.0  # generated of this part so far
    first_audio_s: float | None = None  # of the last take
    rtf: float | None = None  # moving average
    seed: int | None = None  # fixed seed, None: random
    rows: Rows | None = None  # None until the model is loaded
    audio: str = ""  # device name, or "off"; empty until it is looked for
    level: float = 0.0  # peak of what is being played, 0 - 1
    n_gaps: int = 0  # of the entry being played
    detail: str = ""  # loading: what is being loaded or downloaded, in words


class View(Protocol):
    """Who watches the worker. Called from the worker's thread."""

    def tell(self, notice: Notice) -> None:
        """Something to be worded for the reader."""
        ...

    def note(self, text: str, kind: Kind = "info") -> None:
        """A line (or a few) for the reader."""
        ...

    def turn(self, number: int, turn: Turn) -> None:
        """A take has ended; `number` is its file number, 0 if it has no file."""
        ...

    def saved(self, path: Path) -> None:
        """A file is complete."""
        ...

    def changed(self) -> None:
        """The status changed."""
        ...


class GapCount(Protocol):
    @property
    def n_starved(self) -> int: ...


class SoundStatus(Protocol):
    """What a player is doing, a snapshot."""

    @property
    def state(self) -> Literal["off", "idle", "buffering", "playing"]: ...
    @property
    def device(self) -> str: ...
    @property
    def level(self) -> float: ...
    @property
    def gaps(self) -> GapCount: ...


class Loudspeaker(Sink, Protocol):
    """What the worker needs of a player."""

    def begin(self, prebuffer_s: float) -> None: ...
    def overlap(self, n_samples: int) -> None:
        """What is written next lies over the end of what was, as far as that was not played yet."""
        ...

    def end(self) -> None: ...
    def close(self) -> None: ...
    def reopen(self, device: str | None = None) -> None: ...
    def suspend(self) -> None: ...
    def resume(self) -> None: ...
    def gaps_heard(self, rtf: float | None = None) -> GapsHeard | None: ...
    def status(self) -> SoundStatus: ...


class TakeFile(Protocol):
    """A file that grows while it is generated."""

    number: int

    def write(self, pcm: Pcm) -> None: ...
    def finish(self, turn: Turn, name: str, *, is_offered: bool = False) -> Path | None:
        """`is_offered`: to be chosen or not, so it is no part of the conversation yet."""
        ...


class TakeFolder(Protocol):
    """Where takes are kept."""

    def open(self, name: str) -> TakeFile: ...
    def take_back(self) -> None:
        """The last take is said again: leave it out of what is one file of several takes."""
        ...

    def picked(self, number: int, turn: Turn, name: str) -> None:
        """A saved take that was offered is part of the conversation now."""
        ...

    def checked(self, number: int, turn: Turn, name: str, *, is_in_context: bool) -> None:
        """A saved take was heard since."""
        ...

    def apart(self, gap_s: float) -> None:
        """Silence before the next take, or below 0 an overlap, where takes share a file."""
        ...

    def combine(self, scene: Joined) -> Path | None:
        """One file of several takes, called by the first and last that it was first made of."""
        ...

    def read(self, number: int) -> Pcm: ...


# the folder of an adapter by what a setting calls it; raises ConfigError
FindAdapter = Callable[[str], Path]


class References(Protocol):
    """The voices folder."""

    def load(self) -> tuple[Voice, ...]: ...
    def changed(self) -> bool: ...
    def refused(self, speaker: int) -> str: ...
    def reserve(self, speaker: int, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the loader hands over."""

    session: Session
    references: References
    takes: TakeFolder
    sound: Loudspeaker
    prebuffer: Prebuffer
    rtf: float | None  # measured while warming up
    find_adapter: FindAdapter
    checks: Checks | None = None  # what hears takes


Loader = Callable[["Config", Reporting], Loaded]

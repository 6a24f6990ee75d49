"""What other threads may know of the model's thread: its state, the names, what it has loaded."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from csm_chat.casting.clips import moods_of
from csm_chat.casting.moods import Moods
from csm_chat.conversation.grammar import NO_MOODS
from csm_chat.conversation.ports import Loaded, Rows, State, Status
from csm_chat.visible import one_line

if TYPE_CHECKING:
    from csm_chat.conversation.performer import Performer
    from csm_chat.errors import CsmChatError


class Published:
    """Written by the model's thread, read by any; `changed` guards it."""

    def __init__(
        self, names: Mapping[int, str], changed: threading.Condition, moods: Moods = NO_MOODS
    ) -> None:
        """`names` and `moods` are those of speakers until the voices are read."""
        self.n_failed = 0  # entries that did not end as asked
        self.error: CsmChatError | None = None  # why loading failed
        self.loaded: Loaded | None = None
        self._performer: Performer | None = None
        self._names = dict(names)
        self._newcomers: dict[int, str] = {}
        self._moods: Moods = moods
        self._status = Status("loading")
        self._changed = changed

    @property
    def state(self) -> State:
        return self._status.state

    def become(self, state: State) -> None:
        with self._changed:
            self._status = replace(self._status, state=state, detail="")
            self._changed.notify_all()

    def detail(self, text: str) -> None:
        """What is being loaded, in words."""
        with self._changed:
            self._status = replace(self._status, detail=one_line(text))

    def opened(self, loaded: Loaded, performer: Performer) -> None:
        with self._changed:
            self.loaded, self._performer, self.error = loaded, performer, None

    def refresh(self, loaded: Loaded, named: Mapping[int, str]) -> None:
        """Bring it in line with the session; `named` are names that the config gives."""
        session, backend = loaded.session, loaded.session.backend
        voices, history = session.rows()
        names = {voice.speaker: voice.name for voice in session.voices}
        with self._changed:
            self._names = {**names, **named}
            self._moods = moods_of(session.voices)
            self._status = replace(
                self._status,
                model=one_line(f"{backend.name} on {backend.device}, {backend.dtype}"),
                seed=session.sampling.seed,
                rows=Rows(voices, history, backend.engine.context_rows),
            )

    def introduce(self, newcomers: Mapping[int, str]) -> None:
        """Let speakers without a clip be called so."""
        with self._changed:
            self._newcomers |= newcomers

    def newcomers(self) -> dict[int, str]:
        """Those of the names that no voice and no config gives."""
        with self._changed:
            return {n: name for n, name in self._newcomers.items() if n not in self._names}

    def names(self) -> dict[int, str]:
        with self._changed:
            return {**self._newcomers, **self._names}

    def moods(self) -> Moods:
        return self._moods

    def n_offered(self) -> int:
        performer = self._performer
        return len(performer.offered) if performer else 0

    def status(self, n_queued: int) -> Status:
        with self._changed:
            status, performer, loaded = self._status, self._performer, self.loaded
        if not performer or not loaded:
            return replace(status, n_queued=n_queued)
        progress, sound = performer.progress, loaded.sound.status()
        playing = sound.state in ("playing", "buffering")
        return replace(
            status,
            state="speaking" if status.state == "ready" and playing else status.state,
            part=progress.part,
            parts=progress.parts,
            speaker=progress.speaker,
            seconds=progress.seconds,
            n_queued=n_queued,
            first_audio_s=performer.first_audio_s,
            rtf=performer.rtf,
            audio="off" if sound.state == "off" else one_line(sound.device),
            level=sound.level,
            n_gaps=sound.gaps.n_starved,
        )

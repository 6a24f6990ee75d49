"""The one thread that owns the model: entries and commands queue here, in the order typed.

Knows the session and, by contract, a loudspeaker and a folder of takes; knows no terminal.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from csm_chat.config.override import override_live
from csm_chat.config.settings import Config
from csm_chat.conversation.ports import (
    Loaded,
    Loader,
    Rows,
    State,
    Status,
    View,
)
from csm_chat.errors import CsmChatError, Interrupted
from csm_chat.notices import Reporting
from csm_chat.types import Utterance

if TYPE_CHECKING:
    from csm_chat.conversation.performer import Performer
    from csm_chat.conversation.session import Session

log = logging.getLogger(__name__)

LOADING_S = 1.0  # how long leaving waits for a step of loading
LEAVING_S = 2.0  # and for all: the take that is finished, the device that is let go
POLL_S = 1.0  # how often an idle worker looks at the references folder


@dataclass(slots=True)
class _Job:
    run: Callable[[int], bool | None]  # gets the epoch it began in; False: an entry failed
    is_entry: bool = False


class Worker:
    """Submit from any thread; everything runs on the worker's own, in order."""

    view: View  # to be set before `start`

    def __init__(
        self,
        config: Config,
        load: Loader,
        names: Mapping[int, str],
    ) -> None:
        """`names` are those of speakers until the voices are read."""
        self.config = config
        self.n_failed = 0  # entries that did not end as asked
        self.error: CsmChatError | None = None  # why loading failed
        self._load = load
        self._loaded: Loaded | None = None
        self._performer: Performer | None = None
        self._lock = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._busy = False
        self._closing = False
        self._leave_by = 0.0  # on the monotonic clock, once it is closing
        self._epoch = 0  # raised by each cancel
        self._status = Status("loading")
        self._names = dict(names)
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    # any thread

    def start(self) -> None:
        self._thread.start()

    def say(self, utterances: tuple[Utterance, ...]) -> None:
        """Queue an entry."""
        asked = time.perf_counter()
        self._submit(lambda epoch: self._speaker.say(utterances, asked, epoch), is_entry=True)

    def run(self, action: Callable[[Session], str]) -> None:
        """Queue a command on the session; its answer, if any, goes to `view.note`."""
        self._submit(lambda _: self._answer(action(self._parts.session)))

    def ask(self, question: Callable[[Session], str]) -> str:
        """Answer at once, in the caller's thread, from what the session holds now."""
        with self._lock:
            loaded = self._loaded
        return question(loaded.session) if loaded else "The model is still loading."

    def retry(self) -> None:
        """Queue: say the last utterance again; a take that ends well replaces it."""
        asked = time.perf_counter()
        self._submit(lambda epoch: self._speaker.retry(asked, epoch), is_entry=True)

    def replay(self, number: int | None) -> None:
        """Queue: play the take with that number again (None: the last entry)."""
        self._submit(lambda _: self._speaker.replay(number), is_entry=True)

    def reload(self) -> None:
        """Queue: look at the references folder again."""
        self._submit(self._reload)

    def set_audio(self, device: str | None) -> None:
        """Queue: open another output device (None: the configured one, again)."""
        self._submit(lambda _: self._reopen(device))

    def set(self, key: str, value: str) -> None:
        """Queue: change a setting for the entries after it."""
        self._submit(partial(self._set, key, value))

    def retry_loading(self) -> None:
        """When loading failed: try again. Otherwise nothing."""
        with self._lock:
            if self._status.state == "failed":
                self._status = replace(self._status, state="loading", detail="")
                self._lock.notify_all()

    def cancel(self) -> bool:
        """Stop speech and generation now; queued entries stay. True if there was any."""
        stopped = self.status().state in ("generating", "speaking")
        with self._lock:
            self._epoch += 1
            loaded = self._loaded
        if loaded:
            loaded.sound.cancel()
            loaded.session.backend.engine.interrupt()
        return stopped

    def suspend_sound(self) -> None:
        """Let the device go, at once, while the process is stopped."""
        if self._loaded:
            self._loaded.sound.suspend()

    def resume_sound(self) -> None:
        if self._loaded:
            self._loaded.sound.resume()

    def drop_queue(self) -> int:
        """Forget the entries that wait; how many there were. Commands stay."""
        with self._lock:
            n_entries = sum(job.is_entry for job in self._jobs)
            self._jobs = deque(job for job in self._jobs if not job.is_entry)
        return n_entries

    def status(self) -> Status:
        with self._lock:
            status, performer, loaded = self._status, self._performer, self._loaded
            n_queued = sum(job.is_entry for job in self._jobs)
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
            audio="off" if sound.state == "off" else sound.device,
            level=sound.level,
            n_gaps=sound.gaps.n_starved,
        )

    def speakers(self) -> dict[int, str]:
        """Names by speaker number, of voices and of `config.voices`."""
        return dict(self._names)

    def settle(self) -> None:
        """Return when the queue is empty and the model is idle, or failed to load."""
        with self._lock:
            self._lock.wait_for(self._is_done)

    def wait(self) -> None:
        """`settle`, and return when all was heard."""
        self.settle()
        if self._loaded:
            self._loaded.sound.drain()

    def close(self) -> bool:
        """Stop, finish files, end the thread. Safe to call twice.

        False if what cannot be stopped is still under way: a step of loading, which does no harm,
        or a library that does not come back.
        """
        with self._lock:
            if not self._closing:
                self._leave_by = time.monotonic() + LEAVING_S
            self._closing = True
            self._jobs.clear()
            self._lock.notify_all()
        self.cancel()
        if self._loaded:  # first, or a device that is stuck would keep the thread waiting
            self._loaded.sound.close()
        if self._thread.is_alive():
            left_s = max(self._leave_by - time.monotonic(), 0.1)
            self._thread.join(left_s if self._loaded else LOADING_S)
        return not self._thread.is_alive()

    def _submit(self, run: Callable[[int], bool | None], is_entry: bool = False) -> None:
        with self._lock:
            self._jobs.append(_Job(run, is_entry))
            self._lock.notify_all()

    def _is_done(self) -> bool:
        if self._closing or self._status.state == "failed":
            return True
        return self._loaded is not None and not self._jobs and not self._busy

    # the worker's thread

    def _run(self) -> None:
        while not self._closing and not self._loaded:
            self._try_loading()
        while self._loaded and (job := self._next()):
            self._do(job)

    def _try_loading(self) -> None:
        try:
            loaded = self._load(Reporting(self.view.tell, self._detail, lambda: self._closing))
        except CsmChatError as error:
            self._failed(error)
        except Exception as error:
            log.exception("loading failed")
            self._failed(CsmChatError(f"loading failed: {type(error).__name__}: {error}"))
        else:
            from csm_chat.conversation.performer import Performer

            performer = Performer(loaded, self.view, lambda: self._epoch, self.speakers)
            with self._lock:
                self._loaded, self._performer, self.error = loaded, performer, None
            self._refresh()
            self._become("ready")

    def _failed(self, error: CsmChatError) -> None:
        if self._closing:
            return
        self.error = error
        self.view.note(str(error), "error")
        self._become("failed")
        with self._lock:
            self._lock.wait_for(lambda: self._closing or self._status.state == "loading")

    def _next(self) -> _Job | None:
        """The next job, or None at the end. While there is none, makes ready for what may come."""
        self._prepare()
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._jobs or self._closing, POLL_S)
                if self._closing:
                    return None
                if self._jobs:
                    self._busy = True
                    return self._jobs.popleft()
            if self._parts.references.changed():
                return _Job(self._reload)

    def _prepare(self) -> None:
        """What the next line needs of the engine, until somebody waits."""
        try:
            self._parts.session.prepare(lambda: not self._jobs and not self._closing)
        except Exception:  # nothing is lost: the line itself computes it
            log.exception("preparing failed")

    def _do(self, job: _Job) -> None:
        if job.is_entry:
            self._become("generating")
        try:
            is_good = job.run(self._epoch)
        except CsmChatError as error:
            is_good = False
            self.view.note(str(error), "error")
        except Exception as error:
            is_good = False
            log.exception("a job failed")
            self.view.note(f"{type(error).__name__}: {error} (the log has more)", "error")
        self.n_failed += is_good is False
        self._speaker.rest()
        self._refresh()
        with self._lock:
            self._busy = False
        self._become("ready")

    def _reopen(self, device: str | None) -> None:
        self._parts.sound.reopen(device)
        self._answer(f"audio: {self.status().audio}")

    def _reload(self, _: int) -> None:
        self._parts.session.voices = self._parts.references.load()

    def _set(self, key: str, value: str, _: int) -> None:
        new = override_live(self.config, key, value)
        if new.audio.device != self.config.audio.device:
            self._reopen(new.audio.device)
        session = self._parts.session
        if new.sampling.seed != self.config.sampling.seed:
            session.reseed(new.sampling.seed)
        session.sampling, session.context = new.sampling, new.context
        session.normalize = new.normalize
        session.chunk_frames = new.audio.chunk_frames
        self.config = new
        self._answer(f"{key} = {value}")

    @property
    def _parts(self) -> Loaded:
        assert self._loaded, "jobs run once the model is loaded"
        return self._loaded

    @property
    def _speaker(self) -> Performer:
        assert self._performer, "jobs run once the model is loaded"
        return self._performer

    def _answer(self, text: str) -> None:
        if text:
            self.view.note(text)

    def _detail(self, text: str) -> None:
        if self._closing:
            raise Interrupted("closed while loading")
        with self._lock:
            self._status = replace(self._status, detail=text)
        self.view.changed()

    def _become(self, state: State) -> None:
        with self._lock:
            self._status = replace(self._status, state=state, detail="")
            self._lock.notify_all()
        self.view.changed()

    def _refresh(self) -> None:
        """Bring what is shown in line with the session."""
        session, backend = self._parts.session, self._parts.session.backend
        voices, history = session.rows()
        names = {voice.speaker: voice.name for voice in session.voices}
        with self._lock:
            self._names = names | self.config.voices
            self._status = replace(
                self._status,
                model=f"{backend.name} on {backend.device}, {backend.dtype}",
                seed=session.sampling.seed,
                rows=Rows(voices, history, backend.engine.context_rows),
            )

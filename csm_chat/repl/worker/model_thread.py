"""What runs on the thread that owns the model: loading, then one job after the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from csm_chat.config.settings import Config
from csm_chat.conversation.ports import Loaded, Loader, State, View
from csm_chat.errors import CsmChatError, Interrupted
from csm_chat.notices import Reporting
from csm_chat.repl.worker.jobs import Job, JobQueue
from csm_chat.repl.worker.published import Published
from csm_chat.visible import one_line

if TYPE_CHECKING:
    from csm_chat.conversation.performer import Performer
    from csm_chat.conversation.session import Session
    from csm_chat.normalise.lexicon import Entry

log = logging.getLogger(__name__)

POLL_S = 1.0  # how often it looks at the references folder while idle


class ModelThread:
    """Loads, and does what is queued until the queue is closed. One thread calls it, by `run`."""

    def __init__(
        self,
        config: Config,
        load: Loader,
        jobs: JobQueue,
        published: Published,
        view: View,
        changed: threading.Condition,
    ) -> None:
        self._config = config  # as the jobs done so far have set it
        self._load = load
        self._jobs = jobs
        self._published = published
        self._view = view
        self._changed = changed
        self._performer: Performer | None = None

    def run(self) -> None:
        while not self._jobs.is_closed and not self._published.loaded:
            self._try_loading()
        while self._published.loaded and (job := self._next()):
            self._do(job)

    # what jobs use

    @property
    def session(self) -> Session:
        return self._loaded.session

    @property
    def performer(self) -> Performer:
        assert self._performer, "jobs run once the model is loaded"
        return self._performer

    def answer(self, text: str) -> None:
        if text:
            self._view.note(text)

    def open_audio(self, device: str | None) -> None:
        """Open another output device (None: the configured one, again). Raises DeviceError."""
        sound = self._loaded.sound
        sound.reopen(device)
        status = sound.status()
        device = "off" if status.state == "off" else one_line(status.device)
        self.answer(f"audio: {device}")

    def reload(self) -> None:
        self.session.voices = self._loaded.references.load()

    def reserve(self, newcomers: Mapping[int, str]) -> None:
        """Keep the numbers of speakers without a clip from clips of others."""
        for speaker, name in newcomers.items():
            self._loaded.references.reserve(speaker, name)

    def adapt(self, name: str | None) -> None:
        """Speak with that adapter. Raises ConfigError, CheckpointError."""
        folder = None if name is None else self._loaded.find_adapter(name)
        self.session.backend.engine.adapt(folder)

    def add_to_lexicon(self, entry: Entry) -> None:
        reading = self.session.reading
        self.session.reading = replace(reading, lexicon=reading.lexicon.with_entry(entry))
        self.answer(one_line(f"lexicon: {entry.written}"))

    def apply(self, new: Config) -> None:
        """Bring the session in line with settings that were changed.

        Raises DeviceError, and ConfigError and CheckpointError for an adapter.
        """
        if new.adapter != self._config.adapter:
            self.adapt(new.adapter)
        before, self._config = self._config, new
        session = self.session
        if new.sampling.seed != before.sampling.seed:
            session.reseed(new.sampling.seed)
        session.sampling, session.context = new.sampling, new.context
        if (new.normalize, new.directions) != (before.normalize, before.directions):
            # what was read so far is read and tokenised anew by it
            session.reading = replace(
                session.reading, normalize=new.normalize, directions=new.directions
            )
        session.chunk_frames = new.audio.chunk_frames
        self.performer.start, self.performer.gap_s = new.audio.start, new.gap or 0.0
        session.manners = session.manners.under(new)
        if new.check != before.check:
            self.check_anew()
        if new.audio.device != before.audio.device:
            self.open_audio(new.audio.device)

    def check_anew(self) -> None:
        """Check what is said from now on as the settings say, also if it failed before."""
        if self.performer.checks:
            self.performer.checks.settings = self._config.check

    def hear_all(self) -> None:
        """All that was played, and waits."""
        if self.performer.later:
            self.performer.later.hear_all(lambda: not self._jobs.is_closed)

    # loading

    def _try_loading(self) -> None:
        reports = Reporting(self._view.tell, self._detail, lambda: self._jobs.is_closed)
        try:
            loaded = self._load(self._config, reports)
        except CsmChatError as error:
            self._failed(error)
        except Exception as error:
            log.exception("loading failed")
            self._failed(CsmChatError(f"loading failed: {type(error).__name__}: {error}"))
        else:
            self._opened(loaded)

    def _opened(self, loaded: Loaded) -> None:
        from csm_chat.conversation.performer import Performer

        self._performer = Performer(
            loaded,
            self._view,
            lambda: self._jobs.epoch,
            self._published.names,
            self._config.audio.start,
            self._config.gap or 0.0,
        )
        self._published.opened(loaded, self._performer)
        self._published.refresh(loaded, self._config.named)
        self._become("ready")

    def _failed(self, error: CsmChatError) -> None:
        if self._jobs.is_closed:
            return
        self._published.error = error
        self._view.note(str(error), "error")
        self._become("failed")
        with self._changed:
            self._changed.wait_for(
                lambda: self._jobs.is_closed or self._published.state == "loading"
            )

    def _detail(self, text: str) -> None:
        if self._jobs.is_closed:
            raise Interrupted("closed while loading")
        self._published.detail(text)
        self._view.changed()

    # jobs

    def _next(self) -> Job | None:
        """The next job, or None at the end. While there is none, makes ready for what may come."""
        self._prepare()
        while True:
            self._hear()
            job = self._jobs.take(POLL_S)
            if job or self._jobs.is_closed:
                return job
            if self._loaded.references.changed():
                return Job(lambda model, _: model.reload())

    def _hear(self) -> None:
        """What was played, until somebody waits."""
        later = self.performer.later
        if later and not later.is_empty:
            later.hear(lambda: self._jobs.is_empty and not self._jobs.is_closed)

    def _prepare(self) -> None:
        """What the next line needs of the engine, until somebody waits."""
        try:
            self.session.prepare(lambda: self._jobs.is_empty and not self._jobs.is_closed)
        except Exception:  # nothing is lost: the line itself computes it
            log.exception("preparing failed")

    def _do(self, job: Job) -> None:
        if job.is_entry:
            self._become("generating")
        try:
            is_good = job.run(self, self._jobs.epoch)
        except CsmChatError as error:
            is_good = False
            self._view.note(str(error), "error")
        except Exception as error:
            is_good = False
            log.exception("a job failed")
            self._view.note(
                one_line(f"{type(error).__name__}: {error} (the log has more)"), "error"
            )
        self._published.n_failed += is_good is False
        self.performer.rest()
        self._published.refresh(self._loaded, self._config.named)
        self._jobs.done()
        self._become("ready")

    def _become(self, state: State) -> None:
        self._published.become(state)
        self._view.changed()

    @property
    def _loaded(self) -> Loaded:
        assert self._published.loaded, "jobs run once the model is loaded"
        return self._published.loaded

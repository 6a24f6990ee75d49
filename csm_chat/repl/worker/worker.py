"""What the prompt talks to: entries and commands queue here, in the order typed.

Owns the settings, as they were asked for last. Knows no terminal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from csm_chat.casting.moods import Moods
from csm_chat.config.override import override_live
from csm_chat.config.settings import Config
from csm_chat.conversation.grammar import NO_MOODS
from csm_chat.conversation.ports import Loader, Status, View
from csm_chat.conversation.reading import Reading
from csm_chat.errors import CheckpointError, ConfigError, CsmChatError
from csm_chat.normalise.lexicon import EMPTY, Entry, Lexicon
from csm_chat.repl.worker.jobs import JobQueue
from csm_chat.repl.worker.model_thread import ModelThread
from csm_chat.repl.worker.published import Published
from csm_chat.types import Utterance
from csm_chat.visible import one_line

if TYPE_CHECKING:
    from csm_chat.conversation.session import Session

LOADING_S = 1.0  # how long leaving waits for a step of loading
LEAVING_S = 2.0  # and for all: the take that is finished, the device that is let go


class Worker:
    """Ask from any thread; what is asked is done on the model's own thread, in order."""

    def __init__(
        self,
        config: Config,
        load: Loader,
        names: Mapping[int, str],
        lexicon: Lexicon = EMPTY,
        moods: Moods = NO_MOODS,
    ) -> None:
        """`names` and `moods` are those of speakers until the voices are read.

        `lexicon` is the session's.
        """
        self._config = config
        self._lexicon = lexicon
        self._load = load
        self._changed = threading.Condition()
        self._jobs = JobQueue(self._changed)
        self._published = Published(names, self._changed, moods)
        self._thread: threading.Thread | None = None
        self._spoken: set[int] = set()  # speakers that something was asked of
        self._leave_by = 0.0  # on the monotonic clock, once it is closing

    def start(self, view: View) -> None:
        """Begin to load; `view` is told of all there is to tell, on the model's thread. Once."""
        assert self._thread is None, "started twice"
        model = ModelThread(
            self._config, self._load, self._jobs, self._published, view, self._changed
        )
        self._thread = threading.Thread(target=model.run, name="model", daemon=True)
        self._thread.start()

    @property
    def config(self) -> Config:
        """The settings for what is typed next."""
        return self._config

    @property
    def reading(self) -> Reading:
        """How the model will read what is typed next."""
        with self._changed:
            config = self._config
            return Reading(config.normalize, self._lexicon, config.directions)

    def reading_by(self, speaker: int) -> Reading:
        """How the model will read what one speaker is to say, as far as lexicons are loaded."""
        loaded = self._published.loaded
        return self.reading.also(loaded.session.manner(speaker).lexicon) if loaded else self.reading

    @property
    def n_failed(self) -> int:
        """Entries that did not end as asked."""
        return self._published.n_failed

    @property
    def error(self) -> CsmChatError | None:
        """Why loading failed."""
        return self._published.error

    def say(self, utterances: tuple[Utterance, ...]) -> None:
        """Queue an entry."""
        asked = time.perf_counter()
        self._spoken |= {each.speaker for each in utterances}
        self._jobs.put(
            lambda model, epoch: model.performer.say(utterances, asked, epoch), is_entry=True
        )

    def run(self, action: Callable[[Session], str]) -> None:
        """Queue a command on the session; its answer, if any, goes to `view.note`."""
        self._jobs.put(lambda model, _: model.answer(action(model.session)))

    def ask(self, question: Callable[[Session], str]) -> str:
        """Answer at once, in the caller's thread, from what the session holds now."""
        loaded = self._published.loaded
        return question(loaded.session) if loaded else "The model is still loading."

    def retry(self) -> None:
        """Queue: say the last utterance again; a take that ends well replaces it."""
        asked = time.perf_counter()
        self._jobs.put(lambda model, epoch: model.performer.retry(asked, epoch), is_entry=True)

    def replay(self, number: int | None) -> None:
        """Queue: play the take with that number again (None: the last entry)."""
        self._jobs.put(lambda model, _: model.performer.replay(number), is_entry=True)

    def takes(self, n: int) -> None:
        """Queue: make `n` takes of the last line, to pick from; nothing is heard."""
        self._jobs.put(lambda model, epoch: model.performer.takes(n, epoch), is_entry=True)

    def pick(self, place: int) -> None:
        """Queue: put that one of the takes into the conversation, and play it."""
        self._jobs.put(lambda model, _: model.performer.pick(place), is_entry=True)

    def edit(self, number: int, text: str, *, onward: bool) -> None:
        """Queue: say the turn of that number anew, `onward` those behind it, too."""
        asked = time.perf_counter()
        self._jobs.put(
            lambda model, epoch: model.performer.edit(
                number, text, onward=onward, asked=asked, epoch=epoch
            ),
            is_entry=True,
        )

    def check_anew(self) -> None:
        """Queue: try once more to hear takes, if that failed."""
        self._jobs.put(lambda model, _: model.check_anew())

    def hear_all(self) -> None:
        """Queue: hear all takes that wait for it, while others wait."""
        self._jobs.put(lambda model, _: model.hear_all())

    def reload(self) -> None:
        """Queue: look at the references folder again."""
        self._jobs.put(lambda model, _: model.reload())

    def set_audio(self, device: str | None) -> None:
        """Queue: open another output device (None: the configured one, again)."""
        self._jobs.put(lambda model, _: model.open_audio(device))

    def set(self, key: str, value: str) -> None:
        """Change a setting for the lines after it. Raises ConfigError, and changes nothing."""
        with self._changed:
            before = self._config
            self._config = new = override_live(before, key, value)

        def apply(model: ModelThread, _: int) -> None:
            try:
                model.apply(new)
            except (ConfigError, CheckpointError):  # the adapter is none: the one before stays
                with self._changed:
                    self._config = replace(self._config, adapter=before.adapter)
                raise
            model.answer(one_line(f"{key} = {value}"))

        self._jobs.put(apply)

    def add_to_lexicon(self, entry: Entry) -> None:
        """Say a word in another way in the lines after it."""
        with self._changed:
            self._lexicon = self._lexicon.with_entry(entry)
        self._jobs.put(lambda model, _: model.add_to_lexicon(entry))

    def retry_loading(self) -> None:
        """When loading failed: try again. Otherwise nothing."""
        with self._changed:
            if self._published.state == "failed":
                self._published.become("loading")

    def cancel(self) -> bool:
        """Stop speech and generation now; queued entries stay. True if there was any."""
        stopped = self.status().state in ("generating", "speaking")
        self._jobs.cancel()
        if loaded := self._published.loaded:
            loaded.sound.cancel()
            loaded.session.backend.engine.interrupt()
        return stopped

    def suspend_sound(self) -> None:
        """Let the device go, at once, while the process is stopped."""
        if loaded := self._published.loaded:
            loaded.sound.suspend()

    def resume_sound(self) -> None:
        if loaded := self._published.loaded:
            loaded.sound.resume()

    def drop_queue(self) -> int:
        """Forget the entries that wait; how many there were. Commands stay."""
        return self._jobs.drop_entries()

    def status(self) -> Status:
        return self._published.status(self._jobs.n_entries)

    def speakers(self) -> dict[int, str]:
        """Names by speaker number: of voices, of `config.voices`, of newcomers."""
        return self._published.names()

    def newcomers(self) -> dict[int, str]:
        """Those of them that have no clip and were named in a line."""
        return self._published.newcomers()

    def moods(self) -> Moods:
        """The moods that speakers have, by number."""
        return self._published.moods()

    def taken(self) -> Collection[int]:
        """Speakers that something was asked of, so that nobody new can be them."""
        return frozenset(self._spoken)

    def introduce(self, newcomers: Mapping[int, str]) -> None:
        """Let new speakers be called so from now on, with a random voice each."""
        if not newcomers:
            return
        self._published.introduce(newcomers)
        self._jobs.put(lambda model, _: model.reserve(newcomers))

    def n_offered(self) -> int:
        """How many takes there are to pick from."""
        return self._published.n_offered()

    def numbered(self) -> dict[int, str]:
        """The texts of the dialogue's turns by number."""
        loaded = self._published.loaded
        turns = loaded.session.numbered() if loaded else {}
        return {number: turn.segment.text for number, turn in turns.items()}

    def settle(self) -> None:
        """Return when the queue is empty and the model is idle, or failed to load."""
        with self._changed:
            self._changed.wait_for(self._is_settled)

    def wait(self) -> None:
        """`settle`, and return when all was heard."""
        self.settle()
        if loaded := self._published.loaded:
            loaded.sound.drain()

    def close(self) -> bool:
        """Stop, finish files, end the thread. Safe to call twice.

        False if what cannot be stopped is still under way: a step of loading, which does no harm,
        or a library that does not come back.
        """
        if not self._jobs.is_closed:
            self._leave_by = time.monotonic() + LEAVING_S
        self._jobs.close()
        self.cancel()
        loaded = self._published.loaded
        if loaded:  # first, or a device that is stuck would keep the thread waiting
            loaded.sound.close()
        if self._thread is None:
            return True
        left_s = max(self._leave_by - time.monotonic(), 0.1)
        self._thread.join(left_s if loaded else LOADING_S)
        return not self._thread.is_alive()

    def _is_settled(self) -> bool:
        if self._jobs.is_closed or self._published.state == "failed":
            return True
        return self._published.loaded is not None and self._jobs.is_idle

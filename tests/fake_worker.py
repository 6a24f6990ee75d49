"""A worker for tests of the prompt: keeps the contract of the real one, has no thread.

What it is asked stands in `calls`; what it answers, a test sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from csm_chat.config.override import override_live
from csm_chat.config.settings import Config
from csm_chat.conversation.ports import Status, View
from csm_chat.conversation.reading import Reading
from csm_chat.conversation.session import Session
from csm_chat.errors import CsmChatError, ModelError
from csm_chat.normalise.lexicon import Entry, Lexicon
from csm_chat.types import Utterance
from tests.fakes import ListView, fake_backend


class FakeWorker:
    def __init__(self, names: dict[int, str] | None = None, *, state: str = "ready") -> None:
        self.config = Config()
        self.lexicon = Lexicon()
        self.view: View = ListView()  # until it is started
        self.calls: list[tuple[object, ...]] = []
        self.entries: list[tuple[Utterance, ...]] = []
        self.names = {0: "Ana", 1: "Ben"} if names is None else names
        self.of_moods: dict[int, tuple[str, ...]] = {}
        self.new: dict[int, str] = {}
        self.now = Status(state, audio="off")
        self.session = Session(fake_backend())
        self.n_failed = 0
        self.error: CsmChatError | None = ModelError("no model") if state == "failed" else None
        self.saves = False  # each entry is a file at once
        self.on_wait: Callable[[], None] = lambda: None
        self.on_say: Callable[[tuple[Utterance, ...]], None] = lambda _: None

    @property
    def reading(self) -> Reading:
        return Reading(self.config.normalize, self.lexicon, self.config.directions)

    def reading_by(self, speaker: int) -> Reading:
        return self.reading

    def start(self, view: View) -> None:
        self.view = view
        self.calls.append(("start",))

    def say(self, utterances: tuple[Utterance, ...]) -> None:
        self.entries.append(utterances)
        self.calls.append(("say", *((each.speaker, each.text) for each in utterances)))
        self.on_say(utterances)
        if self.saves:
            self.view.saved(Path("takes") / f"{len(self.entries):03}.wav")

    def hear_all(self) -> None:
        self.calls.append(("hear_all",))

    def check_anew(self) -> None:
        self.calls.append(("check_anew",))

    def moods(self) -> dict[int, tuple[str, ...]]:
        return self.of_moods

    def taken(self) -> set[int]:
        return {each.speaker for entry in self.entries for each in entry}

    def introduce(self, newcomers: Mapping[int, str]) -> None:
        self.new |= newcomers
        self.names |= newcomers

    def newcomers(self) -> dict[int, str]:
        return self.new

    def run(self, action: Callable[[Session], str]) -> None:
        self.calls.append(("run",))
        answer = action(self.session)
        if answer:
            self.view.note(answer)

    def ask(self, question: Callable[[Session], str]) -> str:
        self.calls.append(("ask",))
        return question(self.session)

    def retry(self) -> None:
        self.calls.append(("retry",))

    def replay(self, number: int | None) -> None:
        self.calls.append(("replay", number))

    def takes(self, n: int) -> None:
        self.calls.append(("takes", n))

    def pick(self, place: int) -> None:
        self.calls.append(("pick", place))

    def edit(self, number: int, text: str, *, onward: bool) -> None:
        self.calls.append(("edit", number, text, onward))

    def reload(self) -> None:
        self.calls.append(("reload",))

    def set_audio(self, device: str | None) -> None:
        self.calls.append(("set_audio", device))

    def set(self, key: str, value: str) -> None:
        self.config = override_live(self.config, key, value)
        self.calls.append(("set", key, value))

    def add_to_lexicon(self, entry: Entry) -> None:
        self.lexicon = self.lexicon.with_entry(entry)
        self.calls.append(("add_to_lexicon", entry.written))

    def retry_loading(self) -> None:
        self.calls.append(("retry_loading",))
        self.now = replace(self.now, state="loading")
        self.view.changed()

    def cancel(self) -> bool:
        self.calls.append(("cancel",))
        stopped = self.now.state in ("generating", "speaking")
        if stopped:
            self.now = replace(self.now, state="ready")
            self.view.changed()
        return stopped

    def drop_queue(self) -> int:
        self.calls.append(("drop_queue",))
        n_dropped, self.now = self.now.n_queued, replace(self.now, n_queued=0)
        return n_dropped

    def status(self) -> Status:
        return self.now

    def speakers(self) -> dict[int, str]:
        return dict(self.names)

    def n_offered(self) -> int:
        return 3

    def numbered(self) -> dict[int, str]:
        return {1: "Hi!", 3: "Oh, hello."}

    def settle(self) -> None:
        """Always idle."""

    def wait(self) -> None:
        self.calls.append(("wait",))
        self.on_wait()

    def close(self) -> bool:
        self.calls.append(("close",))
        return True

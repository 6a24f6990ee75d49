"""A conversation from Python: what the prompt does with an entry, on the caller's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.api.playback import log_sound
from csm_chat.api.segment import speaker_number
from csm_chat.assemble import open_conversation
from csm_chat.audio.player import OFF
from csm_chat.casting.clips import moods_of
from csm_chat.casting.names import by_name, folded
from csm_chat.config.settings import MAX_SPEAKER, Config
from csm_chat.conversation.grammar import parse
from csm_chat.conversation.performer import Performer
from csm_chat.errors import EntryError, UsageError
from csm_chat.notices import (
    Listener,
    NoSound,
    Notice,
    NoWatermark,
    Reporting,
    SoundLost,
    SoundOpened,
)
from csm_chat.places import expanded
from csm_chat.wording import words

if TYPE_CHECKING:
    from csm_chat.conversation.ports import Kind, Loaded
    from csm_chat.conversation.session import Session
    from csm_chat.types import CodeSampler, LogitsProcessor, Turn

log = logging.getLogger(__name__)


def open_chat(
    references: str | Path | None = None,
    *,
    takes: str | Path | None = None,
    model: str | Path | None = None,
    device: str | None = None,
    play: bool = True,
    config: Config | None = None,
    sampler: CodeSampler | None = None,
    logits_processors: Sequence[LogitsProcessor] = (),
    notify: Callable[[str], None] = log.info,
) -> Chat:
    """Load a model and the voices of a references folder, for a conversation.

        with csm_chat.open_chat("references") as chat:
            chat.say("Hi there!||Oh, hello.")

    What is None is as `config` has it; a Config() holds the defaults, and no file is read unless
    `csm_chat.load_config` was asked to. Turns are heard while they are made if `play`, and saved
    under `takes` with a watermark; where there is no sound device, or no watermark, there is one
    warning in the log. `sampler` and `logits_processors` are those of `Generator`. `notify` gets a
    line for each thing worth knowing. Raises ModelError, UsageError, ConfigError.
    """
    if references is not None and not expanded(references, "references").is_dir():
        raise UsageError(f"{references}: is not a folder; give the one that holds the voice clips")
    config = config or Config()
    config = replace(
        config,
        references=str(references or config.references),
        takes=str(takes or config.takes),
        model=str(model or config.model),
        device=device or config.device,
    )
    if not play:
        config = replace(config, audio=replace(config.audio, device=OFF))
    reports = Reporting(_listener(config, notify))
    loaded = open_conversation(config, reports)
    loaded.session.sampler = sampler
    loaded.session.logits_processors = tuple(logits_processors)
    return Chat(loaded, config, notify)


class Chat:
    """A conversation: each line is said as an answer to those before it.

    One thread, the one that opened it; `stop` any. Leaving its `with` block waits until all was
    heard; an error or Ctrl-C cuts it off. Takes that were begun are on disk either way.
    """

    def __init__(self, loaded: Loaded, config: Config, notify: Callable[[str], None]) -> None:
        self.speaker = config.speaker  # who says the first part of an entry, unless it says so
        self._loaded = loaded
        self._config = config
        self._notify = notify
        self._view = _View(notify)
        self._epoch = 0
        self._newcomers: dict[int, str] = {}  # names of speakers without a clip
        self._spoken: set[int] = set()
        self._performer = Performer(
            *(loaded, self._view, lambda: self._epoch, lambda: self.names),
            *(config.audio.start, config.gap or 0.0),
        )

    @property
    def session(self) -> Session:
        """The conversation behind it: `turns`, `undo()`, `clear()`, `history()`, `voices`."""
        return self._loaded.session

    @property
    def saved(self) -> tuple[Path, ...]:
        """Files of takes, and of scenes of several, in the order they were made."""
        return tuple(self._view.paths)

    @property
    def names(self) -> Mapping[int, str]:
        """Names by speaker: of voices, of the config, and new ones that lines brought."""
        named = {voice.speaker: voice.name for voice in self.session.voices}
        return self._newcomers | named | dict(self._config.named)

    def say(self, line: str, speaker: int | str | None = None) -> tuple[Turn, ...]:
        """Say an entry as it would be typed: `Hi!||Hello.||Bye.0`, `ana (angry): Hi!`.

        `speaker`, a number or a name, speaks first, here and from now on. Returns the turns when
        they are made, before all was heard, so that the next entry is made meanwhile. A turn that
        did not end by itself (`turn.ended`) is not part of the conversation. With `check.mode` of
        the config each has a `verdict`, and where nothing is played it was made again if that was
        bad; what is played is heard after. Raises EntryError for
        a line that cannot be read, UsageError for a speaker there is none of, and ContextError.
        """
        if speaker is not None:
            self.speaker = self._number(speaker)
        entry = parse(
            *(line, self.speaker, self.names, self._config.offsets),
            moods=moods_of(self.session.voices),
            taken=self._spoken,
        )
        if not entry.utterances:
            raise EntryError("there is nothing to say in an empty line")
        for note in entry.notes:
            self._notify(note)
        self._newcomers |= entry.newcomers
        self._spoken |= {each.speaker for each in entry.utterances}
        return self._perform(
            lambda asked: self._performer.say(entry.utterances, asked, self._epoch)
        )

    def retry(self) -> tuple[Turn, ...]:
        """Say the last line again with another seed; a good take replaces the last turn."""
        return self._perform(lambda asked: self._performer.retry(asked, self._epoch))

    def replay(self, number: int | None = None) -> None:
        """Play take `number` of this conversation again, or the last entry. Raises EntryError."""
        self._perform(lambda _: self._performer.replay(number))

    def takes(self, n: int) -> tuple[Turn, ...]:
        """Make `n` takes of the last line, 2 to 8, each saved; one of them can be picked.

        Nothing is heard and the conversation stays. Raises EntryError, ContextError, and
        Interrupted if it was stopped.
        """
        self._perform(lambda _: self._performer.takes(n, self._epoch))
        return tuple(each.turn for each in self._performer.offered)

    def pick(self, n: int) -> Turn:
        """Put the nth of the last `takes` into the conversation, and play it.

        It takes the place of what was said last: later turns are said as answers to it. Raises
        EntryError for one that is not there, or that did not end by itself.
        """
        self._perform(lambda _: self._performer.pick(n))
        return self.session.turns[-1]

    def edit(self, n: int, text: str, onward: bool = False) -> tuple[Turn, ...]:
        """Say turn `n`, the number of its take, anew with another text and in its place.

        The turns behind it stay, or are said anew, too, if `onward`. Returns what was said; a take
        that did not end by itself changes nothing. Raises EntryError, ContextError.
        """
        return self._perform(
            lambda asked: self._performer.edit(
                n, text, onward=onward, asked=asked, epoch=self._epoch
            )
        )

    def wait(self) -> None:
        """Return when all was heard."""
        with ExitStack() as on_failure:
            on_failure.callback(self._loaded.sound.cancel)
            self._loaded.sound.drain()
            on_failure.pop_all()

    def stop(self) -> None:
        """Be quiet and end the take that is being made, which then is "cut". Any thread."""
        self._epoch += 1
        self._loaded.sound.cancel()
        self.session.backend.engine.interrupt()

    def close(self) -> None:
        """Let the sound device go; what was not heard is dropped. Twice is fine."""
        self._loaded.sound.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        with ExitStack() as stack:
            stack.callback(self.close)
            if error is None:
                self.wait()

    def _perform(self, perform: Callable[[float], bool]) -> tuple[Turn, ...]:
        self._view.turns = []
        with ExitStack() as on_failure:
            on_failure.callback(self._loaded.sound.cancel)
            perform(time.perf_counter())
            on_failure.pop_all()
        later = self._performer.later
        if not later:
            return tuple(self._view.turns)
        later.hear_all()
        return tuple(map(later.with_verdict, self._view.turns))

    def _number(self, speaker: int | str) -> int:
        if isinstance(speaker, str):
            known = by_name(self.names)
            if folded(speaker) not in known:
                voices = ", ".join(self.names.values()) or "none has a name"
                raise UsageError(f'speaker "{speaker}": no voice has that name ({voices})')
            return known[folded(speaker)]
        if (number := speaker_number(speaker)) > MAX_SPEAKER:
            raise UsageError(f"speaker {number}: numbers run from 0 to {MAX_SPEAKER}")
        return number


class _View:
    """What the performer tells, kept for the caller."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.turns: list[Turn] = []  # of the entry being said
        self.paths: list[Path] = []
        self._notify = notify

    def tell(self, notice: Notice) -> None:
        self._notify(words(notice))

    def note(self, text: str, kind: Kind = "info") -> None:
        self._notify(text)

    def turn(self, number: int, turn: Turn) -> None:
        self.turns.append(turn)

    def saved(self, path: Path) -> None:
        self.paths.append(path)

    def changed(self) -> None:
        pass


def _listener(config: Config, notify: Callable[[str], None]) -> Listener:
    """Lines for the caller; what makes a conversation less than was asked for is in the log."""

    def tell(notice: Notice) -> None:
        if isinstance(notice, SoundOpened | NoSound | SoundLost):
            log_sound(notice)
            return
        if isinstance(notice, NoWatermark):
            log.warning(
                "takes are saved without a watermark: %s cannot be had", config.watermark.method
            )
        notify(words(notice))

    return tell

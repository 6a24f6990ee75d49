"""Says entries once, into files, pipes and the loudspeaker, and measures how fast that went."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat import assemble
from csm_chat.audio.play_buffer import prebuffer_s
from csm_chat.bench.machine import peak_bytes
from csm_chat.commands.speech.context_clips import voices
from csm_chat.commands.terminal.wording import COMMAND_LINE
from csm_chat.conversation.performer import Performer
from csm_chat.conversation.ports import Kind, Loaded
from csm_chat.errors import DeviceError, EntryError
from csm_chat.notices import Reporting
from csm_chat.repl.toolbar import plain, turn_line
from csm_chat.shape.overlap import Overlapping
from csm_chat.types import SAMPLE_RATE
from csm_chat.wording import lines_to, pace

if TYPE_CHECKING:
    from csm_chat.audio.player import Player
    from csm_chat.checking.checks import Checks
    from csm_chat.commands.speech.context_clips import Clip
    from csm_chat.commands.speech.output import Output
    from csm_chat.commands.terminal.console import Bar, Console
    from csm_chat.config.settings import Config
    from csm_chat.conversation.directing import Joined
    from csm_chat.conversation.grammar import Entry
    from csm_chat.conversation.session import Session
    from csm_chat.notices import Listener, Notice
    from csm_chat.types import Pcm, Turn, Voice
    from csm_chat.voices.library import VoiceLibrary
    from csm_chat.voices.transcribe import Transcriber

COLUMNS = 10_000  # nothing is shortened


@dataclass(slots=True)
class Figures:
    """How fast it went."""

    started: float = field(default_factory=time.perf_counter)
    loaded: float = 0.0  # when the model was ready, on the same clock
    turns: list[Turn] = field(default_factory=list)
    chunk_s: list[float] = field(default_factory=list)  # seconds each chunk was waited for

    def lines(self) -> list[str]:
        total_s = time.perf_counter() - self.started
        audio_s = sum(turn.timings.audio_s for turn in self.turns)
        compute_s = sum(turn.timings.compute_s for turn in self.turns)
        rtf = compute_s / audio_s if audio_s else None
        first = self.turns[0].timings.first_audio_s if self.turns else 0.0
        rows = {
            "first chunk": f"{first:.3f} s",
            "chunk times": _spread(self.chunk_s),
            "RTF": f"{rtf:.2f} ({pace(rtf)})" if rtf else "nothing was said",
            "speech": f"{audio_s:.2f} s in {len(self.turns)} turns",
            "loading": f"{self.loaded - self.started:.2f} s",
            "total": f"{total_s:.2f} s",
            "peak memory": f"{peak_bytes() / 1e6:.0f} MB",
        }
        return [f"{name:12} {value}" for name, value in rows.items()]


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    middle = ordered[len(ordered) // 2]
    times = f"{ordered[0]:.3f} / {middle:.3f} / {ordered[-1]:.3f} s"
    return f"{times} (least, median, most of {len(ordered)})"


class _Outputs:
    """Takes as the performer wants them: all go into the same outputs, one after the other."""

    def __init__(self, output: Output | None, figures: Figures, overlap_s: float) -> None:
        """`overlap_s`: the most that a take lies over the end of the one before."""
        self._output = output
        self._figures = figures
        self.number = 0  # of no file of its own
        self.n_samples = 0
        self._line = self._settled_line = Overlapping(overlap_s)
        self._last = 0.0

    def open(self, name: str) -> _Outputs:
        if self._output:
            self._output.settle()
        self._settled_line = replace(self._line)
        self._last = time.perf_counter()
        return self

    def take_back(self) -> None:
        if self._output:
            self._output.take_back()
        self._line = self._settled_line

    def apart(self, gap_s: float) -> None:
        self._put(self._line.apart(gap_s))

    def write(self, pcm: Pcm) -> None:
        now = time.perf_counter()
        self._figures.chunk_s.append(now - self._last)
        self._put(self._line.write(pcm))
        self.n_samples += len(pcm)
        self._last = time.perf_counter()

    def complete(self) -> None:
        """Nothing comes that could lie over the end."""
        self._put(self._line.end())

    def _put(self, pcm: Pcm) -> None:
        if self._output and len(pcm):
            self._output.write(pcm)

    def finish(self, turn: Turn, name: str, *, is_offered: bool = False) -> Path | None:
        return None

    def picked(self, number: int, turn: Turn, name: str) -> None:
        """There is no file of a single take."""

    def checked(self, number: int, turn: Turn, name: str, *, is_in_context: bool) -> None:
        """Nor a record of it."""

    def combine(self, scene: Joined) -> Path | None:
        return None

    def read(self, number: int) -> Pcm:
        raise EntryError("nothing is kept to be played again")


class _View:
    """Tells the reader what the performer has to say."""

    def __init__(
        self,
        console: Console,
        bar: Bar,
        outputs: _Outputs,
        figures: Figures,
        names: Mapping[int, str],
    ) -> None:
        self._console = console
        self._bar = bar
        self._outputs = outputs
        self._figures = figures
        self._names = names

    def tell(self, notice: Notice) -> None:
        self._console.tell(notice)

    def note(self, text: str, kind: Kind = "info") -> None:
        self._console.note(text)

    def turn(self, number: int, turn: Turn) -> None:
        self._figures.turns.append(turn)
        n_turns = len(self._figures.turns)
        self.note(plain(turn_line(n_turns, turn, self._names, COLUMNS, unicode=False)).rstrip())

    def saved(self, path: Path) -> None:
        """Nothing is saved before all is said."""

    def changed(self) -> None:
        seconds = self._outputs.n_samples / SAMPLE_RATE
        self._bar.grow(seconds)
        self._bar.update(seconds, "speaking")


class Speech:
    """A conversation of one run, spoken into an output and a loudspeaker. One thread."""

    def __init__(
        self, config: Config, player: Player, output: Output | None, names: Mapping[int, str]
    ) -> None:
        """`player` may be off."""
        self.figures = Figures()
        self._config = config
        self._player = player
        overlap_s = max(0.0, -(config.gap or 0.0))
        self._outputs = _Outputs(output, self.figures, overlap_s)
        self._names = names
        self.checks: Checks | None = None  # once it is loaded
        self._audible = player.status().state != "off"
        self._loaded: Loaded | None = None
        self._library: VoiceLibrary | None = None
        self._speakers: set[int] = set()  # whose clips were looked for
        self._context: tuple[Voice, ...] = ()

    def load(self, clips: list[Clip], console: Console, speakers: Iterable[int]) -> Session:
        """The model, the voices of `speakers` in the references folder, and `clips` behind them.

        Who else speaks is read when it is known.
        """
        tell = console.tell
        with console.bar(None) as bar, closing(self._transcriber(tell)) as transcribe:
            reports = Reporting(tell, lambda step: bar.update(0, step))
            session = assemble.open_session(self._config, reports)
            codec = session.backend.codec
            bar.update(0, "the voices")
            library = self._library = assemble.open_library(self._config, codec, tell)
            self._speakers.update(speakers)
            own = library.load(self._speakers)
            self._context = voices(clips, codec, transcribe, self._names)
            session.voices = own + self._context
            rtf = None
            if self._audible:  # only then it matters when to begin
                bar.update(0, "warming up")
                rtf = assemble.warm_up(session, tell)
        self.checks = assemble.open_checks(self._config, codec, tell)
        self.checks.load()
        find = assemble.adapter_finder(self._config)
        self._loaded = Loaded(
            *(session, library, self._outputs, self._player, prebuffer_s, rtf, find), self.checks
        )
        self.figures.loaded = time.perf_counter()
        return session

    def say(self, entries: Iterable[Entry], console: Console, expected_s: float | None) -> bool:
        """Say them all; True if every turn ended by itself. Raises DeviceError without sound."""
        assert self._loaded, "load comes first"
        with ExitStack() as stack, console.bar(expected_s, "s") as bar:
            view = _View(console, bar, self._outputs, self.figures, self._names)
            start, gap_s = self._config.audio.start, self._config.gap or 0.0
            performer = Performer(self._loaded, view, lambda: 0, lambda: self._names, start, gap_s)
            whole = True
            stack.callback(self._outputs.complete)
            for entry in entries:
                for note in entry.notes:
                    console.note(note)
                self._read_voices({said.speaker for said in entry.utterances})
                reading, said = self._loaded.session.reading, entry.utterances
                if all(reading.says_nothing(u.text) and not u.is_silence for u in said):
                    self._loaded.session.leave_out(entry.utterances[0].text)
                    continue
                whole &= performer.say(entry.utterances, time.perf_counter(), 0)
                self.check_sound()
            if performer.later and not performer.later.is_empty:
                bar.update(self._outputs.n_samples / SAMPLE_RATE, "hearing")
                performer.later.hear_all()
        return whole and bool(self.figures.turns)

    def _read_voices(self, speakers: set[int]) -> None:
        """Those of who speaks now for the first time."""
        assert self._loaded and self._library, "load comes first"
        if speakers - self._speakers:
            self._speakers |= speakers
            own = self._library.load(self._speakers)
            self._loaded.session.voices = own + self._context

    def check_sound(self) -> None:
        """Raise DeviceError if the loudspeaker went away."""
        if self._audible and self._player.status().state == "off":
            raise DeviceError("sound was lost while it spoke; say it again once it is back")

    def _transcriber(self, tell: Listener) -> Transcriber:
        from csm_chat.voices.transcribe import Transcriber

        return Transcriber(self._config.whisper.model, tell=tell)


def opened_player(config: Config, console: Console, otherwise: str) -> Player:
    """A player that is heard; `otherwise` is what to do without. Raises DeviceError."""
    from csm_chat.audio.player import OFF

    if config.audio.device == OFF:
        raise DeviceError(f"audio.device is off, so there is nothing to play on; {otherwise}")
    try:
        return assemble.open_audible_player(config.audio, lines_to(console.warn, COMMAND_LINE))
    except DeviceError as error:
        raise DeviceError(f"{error}; {otherwise}") from error

"""Stand-ins that keep the contracts of `csm_chat.types` and need no framework."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from csm_chat.audio.play_buffer import Gaps
from csm_chat.audio.player import PlayerStatus
from csm_chat.errors import CheckpointError, ContextError, Interrupted, TranscriptError
from csm_chat.notices import GapsHeard, Notice
from csm_chat.repl.wording import PROMPT
from csm_chat.types import (
    FRAME_SAMPLES,
    Backend,
    Codes,
    Frame,
    Pcm,
    Prompt,
    Sampling,
    Turn,
    Voice,
)
from csm_chat.wording import words

CODEBOOKS = 4


class ByteTokenizer:
    """One id a byte between a start and an end."""

    def encode(self, text: str, speaker: int) -> npt.NDArray[np.int32]:
        return np.array([1, *(b + 3 for b in f"[{speaker}]{text}".encode()), 2], np.int32)


class LevelCodec:
    """A frame decodes to a constant: its first code over 100. Counts what it encodes."""

    codebooks = CODEBOOKS
    identity = "level"
    entries = 101
    n_encoded = 0
    n_open = 0

    def encode(self, pcm: Pcm) -> Codes:
        self.n_encoded += 1
        n_frames = -(-len(pcm) // FRAME_SAMPLES)
        padded = np.zeros(n_frames * FRAME_SAMPLES, np.float32)
        padded[: len(pcm)] = pcm
        level = np.abs(padded.reshape(-1, FRAME_SAMPLES)).mean(axis=1)
        return np.repeat((1 + 99 * level).astype(np.int32)[:, np.newaxis], CODEBOOKS, axis=1)

    @contextmanager
    def decoding(self) -> Iterator[Callable[[Codes], Pcm]]:
        self.n_open += 1
        try:
            yield lambda codes: np.repeat(codes[:, 0] / np.float32(100), FRAME_SAMPLES)
        finally:
            self.n_open -= 1


@dataclass
class ScriptedEngine:
    """Plays takes of given lengths, then takes of 5 frames; frames depend on the seed alone.

    A length of None never ends by itself; a list is a take frame by frame.
    """

    script: list[int | Sequence[int] | None] = field(default_factory=list)
    context_rows: int = 400
    codebooks: int = CODEBOOKS
    prefilled_rows: int = 0
    calls: list[tuple[Prompt, Sampling]] = field(default_factory=list)
    prefills: list[Prompt] = field(default_factory=list)
    first_s: float = 0.0  # a pause before the first frame
    frame_s: float = 0.0  # and before each frame
    n_running: int = 0
    n_forgotten: int = 0
    adapter: Path | None = None

    def __post_init__(self) -> None:
        self._interrupted = threading.Event()

    def frames(self, prompt: Prompt, sampling: Sampling) -> Generator[Frame, None, None]:
        self.calls.append((prompt, sampling))
        self._interrupted.clear()
        n_rows = len(prompt.tokens)
        if n_rows >= self.context_rows:
            raise ContextError(f"{n_rows} rows do not fit {self.context_rows}")
        self.prefilled_rows = n_rows
        take = self.script.pop(0) if self.script else 5
        random = np.random.default_rng(sampling.seed)
        codes = random.integers(5, 60, size=(self.context_rows, CODEBOOKS), dtype=np.int32)
        if isinstance(take, Sequence):
            codes = np.repeat(np.array(take, np.int32)[:, np.newaxis], CODEBOOKS, axis=1)
            take = len(take)
        room = min(sampling.max_frames, self.context_rows - n_rows)
        self.n_running += 1
        try:
            self._interrupted.wait(self.first_s)
            for frame in codes[: room if take is None else min(take, room)]:
                if self._interrupted.wait(self.frame_s):
                    raise Interrupted("stopped")
                yield frame
        finally:
            self.n_running -= 1

    def takes(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Codes]:
        said = (list(self.frames(prompt, replace(sampling, seed=seed))) for seed in seeds)
        return [np.array(frames, np.int32).reshape(-1, CODEBOOKS) for frames in said]

    def prefill(self, prompt: Prompt, is_wanted: Callable[[], bool]) -> bool:
        self.prefills.append(prompt)
        return is_wanted()

    def forget(self) -> None:
        self.n_forgotten += 1

    def adapt(self, folder: Path | None) -> None:
        if folder is not None and not folder.is_dir():
            raise CheckpointError(f"{folder}: no adapter there")
        self.adapter = folder
        self.n_forgotten += 1

    def interrupt(self) -> None:
        self._interrupted.set()


def fake_backend(
    script: Sequence[int | Sequence[int] | None] = (),
    *,
    frame_s: float = 0.0,
    context_rows: int = 400,
) -> Backend:
    engine = ScriptedEngine(list(script), frame_s=frame_s, context_rows=context_rows)
    return Backend(engine, LevelCodec(), ByteTokenizer(), "fake", "cpu", "float32", Path())


class ListSound:
    """A loudspeaker that remembers; all is heard as it is written, nothing after a cancel."""

    def __init__(self) -> None:
        self.entries: list[list[Pcm]] = []
        self.prebuffers_s: list[float] = []
        self.calls: list[str] = []
        self.is_off = False
        self._open = False

    def begin(self, prebuffer_s: float) -> None:
        self.entries.append([])
        self.prebuffers_s.append(prebuffer_s)
        self._open = True

    def write(self, pcm: Pcm) -> None:
        if self._open:
            self.entries[-1].append(pcm)

    def overlap(self, n_samples: int) -> None:
        self.calls.append(f"overlap {n_samples}")

    def end(self) -> None:
        self._open = False

    def cancel(self) -> None:
        self._open = False
        self.calls.append("cancel")

    def drain(self) -> None:
        self.calls.append("drain")

    def close(self) -> None:
        self.calls.append("close")

    def reopen(self, device: str | None = None) -> None:
        self.calls.append(f"reopen {device}")

    def suspend(self) -> None:
        self.calls.append("suspend")

    def resume(self) -> None:
        self.calls.append("resume")

    def gaps_heard(self, rtf: float | None = None) -> GapsHeard | None:
        return None

    def status(self) -> PlayerStatus:
        state: Literal["off", "idle"] = "off" if self.is_off else "idle"
        return PlayerStatus(state, "fake", 24_000, 0.0, 0.0, Gaps(), None)

    def heard(self, entry: int) -> Pcm:
        return np.concatenate([np.zeros(0, np.float32), *self.entries[entry]])


class ListView:
    """A viewer that remembers."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []
        self.turns: list[tuple[int, Turn]] = []
        self.paths: list[Path] = []

    def tell(self, notice: Notice) -> None:
        self.note(words(notice, PROMPT))

    def note(self, text: str, kind: str = "info") -> None:
        self.notes.append((kind, text))

    def turn(self, number: int, turn: Turn) -> None:
        self.turns.append((number, turn))

    def saved(self, path: Path) -> None:
        self.paths.append(path)

    def changed(self) -> None:
        pass


class ScriptedEar:
    """Hears what a script says, a text a take, then the last of it again; an error is raised."""

    def __init__(self, *script: str | TranscriptError) -> None:
        self.script = [*script]
        self.heard: list[Pcm] = []
        self.n_loaded = 0
        self.load_error: TranscriptError | None = None

    def load(self) -> None:
        if self.load_error:
            raise self.load_error
        self.n_loaded += 1

    def hear(self, pcm: Pcm, is_wanted: Callable[[], bool] = lambda: True) -> str | None:
        self.load()
        if not is_wanted():
            return None
        self.heard.append(pcm)
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, TranscriptError):
            raise said
        return said


class FixedVoices:
    """A references folder whose content a test sets."""

    def __init__(self, *voices: Voice) -> None:
        self.voices = voices
        self.has_changed = False
        self.refusals: dict[int, str] = {}
        self.reserved: dict[int, str] = {}

    def load(self) -> tuple[Voice, ...]:
        self.has_changed = False
        return self.voices

    def changed(self) -> bool:
        return self.has_changed

    def refused(self, speaker: int) -> str:
        return self.refusals.get(speaker, "")

    def reserve(self, speaker: int, name: str) -> None:
        self.reserved[speaker] = name

"""Spoken clips and conversations without end, made as they are asked for. Knows no model.

Nothing is stored. `background` runs any maker of items in worker processes.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from random import Random
from typing import Generic, Literal, TypeAlias, TypeVar

from csm_chat.errors import CsmChatError
from csm_chat.training.speech.espeak import (
    HELD_OUT_VOICES,
    TRAINING_VOICES,
    Phoneme,
    SyntheticVoice,
    speak,
)
from csm_chat.training.speech.vocal_tracts import draw_throat
from csm_chat.training.text.sentences import Split, sentences
from csm_chat.training.text.spoken import heard_words
from csm_chat.types import SAMPLE_RATE, Pcm

_log = logging.getLogger(__name__)

T = TypeVar("T")

N_SPEAKER_IDS = 10
MAX_CONVERSATION_S = 24.0
MAX_LINES = 6
VOICE_COUNTS = (1, 2, 2, 2, 3)  # of a conversation, drawn evenly

# How far a training voice strays from its table entry, so that a model learns to follow a voice
# and not to name it. Words a minute stay within SPEEDS_WPM.
PITCH_STRAY, RANGE_STRAY, SPEED_STRAY = 8, 10, 12
SPEEDS_WPM = (140, 190)
SIZES = (0.9, 1.1)  # of heads
COLOUR, N_COLOURS = 0.5, 4  # nats at most, of so many waves over the spectrum


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Something said."""

    text: str  # as a user types it; `heard_words(text)` is what is heard
    voice: str  # equal for equal settings of the synthesiser
    pcm: Pcm
    phonemes: tuple[Phoneme, ...] = ()  # where they are known
    words: str = ""  # that these are of


@dataclass(frozen=True, slots=True)
class Line:
    """A clip in a conversation; a speaker is one voice throughout."""

    speaker: int  # 0 - 9
    clip: Clip


def clips(seed: int, split: Split) -> Iterator[Clip]:
    """Single clips, each in a voice drawn anew. Raises UsageError without libespeak-ng."""
    rng = Random(f"clips {split} {seed}")
    for text in sentences(seed, split):
        yield _said(text, _voice(rng, split))


def conversations(seed: int, split: Split) -> Iterator[tuple[Line, ...]]:
    """1 to 6 lines in 1 to 3 voices, up to 24 s together. Raises UsageError as `clips` does."""
    rng = Random(f"conversations {split} {seed}")
    texts = sentences(seed, split)
    while True:
        n_voices = rng.choice(VOICE_COUNTS)
        speakers = rng.sample(range(N_SPEAKER_IDS), n_voices)
        cast = {speaker: _voice(rng, split) for speaker in speakers}
        lines: list[Line] = []
        left_s = MAX_CONVERSATION_S
        for _ in range(rng.randint(n_voices, MAX_LINES)):
            # anybody: where turns are taken in order, whose a line is needs no reading
            speaker = rng.choice(speakers)
            clip = _said(next(texts), cast[speaker])
            left_s -= len(clip.pcm) / SAMPLE_RATE
            if left_s < 0:
                break
            lines.append(Line(speaker, clip))
        if lines:
            yield tuple(lines)


def _said(text: str, voice: SyntheticVoice) -> Clip:
    words = heard_words(text)
    spoken = speak(words, voice)
    return Clip(text, voice.name, spoken.pcm, spoken.phonemes, words)


def _voice(rng: Random, split: Split) -> SyntheticVoice:
    """From the table; in training a variation of it."""
    voice = rng.choice(HELD_OUT_VOICES if split == "voices" else TRAINING_VOICES)
    if split != "train":
        return voice
    pitch = voice.pitch + rng.randint(-PITCH_STRAY, PITCH_STRAY)
    pitch_range = voice.pitch_range + rng.randint(-RANGE_STRAY, RANGE_STRAY)
    speed = voice.speed_wpm + rng.randint(-SPEED_STRAY, SPEED_STRAY)
    speed = min(max(speed, SPEEDS_WPM[0]), SPEEDS_WPM[1])
    size = round(rng.uniform(*SIZES), 2)
    colour = tuple(round(rng.uniform(-COLOUR, COLOUR), 2) for _ in range(N_COLOURS))
    name = f"{voice.name}~{rng.getrandbits(64):x}"
    settings = voice.language, voice.variant, pitch, pitch_range, speed, voice.sex
    return SyntheticVoice(name, *settings, size, colour, draw_throat(rng))


Make: TypeAlias = Callable[[int, int], Iterator[T]]  # worker, items it gave: those after them

# What a worker sends, pickled: an item, or the error and traceback that ended it, or its end.
_Message = tuple[Literal["item", "failed", "ended"], object, str]


class _MadeElsewhere(Exception):
    """The cause of an error that came from a worker: where it happened there."""


def background(make: Make[T], n_workers: int, n_ahead: int = 16) -> Iterator[T]:
    """Run `make(0, 0)` ... `make(n_workers - 1, 0)` in processes; take an item of each in turn.

    So the order does not depend on their speed. `make` and the items must be picklable; about
    `n_ahead` items are kept ready. Ends when all makers have ended; an error in one is raised here.
    A worker that dies, as espeak-ng makes it once in some hours, is replaced: `make(i, n)` goes on
    after n items. Raises CsmChatError when one dies before it gave any.
    Closing the iterator ends the workers, and so does the end of this process, however it comes.
    """
    with ExitStack() as stack:
        ahead = -(-n_ahead // n_workers)
        workers = [stack.enter_context(_Worker(make, index, ahead)) for index in range(n_workers)]
        while workers:
            for worker in tuple(workers):
                kind, content, where = worker.receive()
                if kind == "item":
                    yield content  # type: ignore[misc]  # pickling forgets what `make` gives
                elif kind == "ended":
                    workers.remove(worker)
                else:
                    assert isinstance(content, Exception), content
                    raise content from _MadeElsewhere(f"in worker {worker.index}\n{where}")


class _Worker(Generic[T]):
    """A process that runs one maker; lives in its `with` block."""

    def __init__(self, make: Make[T], index: int, n_ahead: int) -> None:
        self.index = index
        self._make, self._n_ahead = make, n_ahead
        self._n_given = self._n_given_before = 0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._receiving, sending = context.Pipe(duplex=False)
        arguments = (sending, self._make, self.index, self._n_given, self._n_ahead)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        sending.close()  # the worker's copy is then the last one, and its end is seen here

    def __enter__(self) -> _Worker[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._receiving.close()

    def receive(self) -> _Message:
        """The next message; waits for it."""
        while True:
            try:
                message: _Message = pickle.loads(self._receiving.recv_bytes())
            except (EOFError, OSError):  # at a message's beginning, or within one
                self._replace()
            else:
                self._n_given += 1
                return message

    def _replace(self) -> None:
        self._process.join()
        ended = f"data worker {self.index} ended without a word (exit code "
        ended += f"{self._process.exitcode})"
        if self._n_given == self._n_given_before:
            raise CsmChatError(f"{ended}; start again, with fewer workers if memory ran out")
        _log.warning("%s after %d items; another one goes on", ended, self._n_given)
        self._n_given_before = self._n_given
        self._stop()
        self._start()


def _work(sending: Connection, make: Make[T], index: int, n_given: int, n_ahead: int) -> None:
    """A worker's whole life. Items are made while earlier ones wait to be fetched."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    waiting: queue.Queue[bytes | None] = queue.Queue(n_ahead)
    sender = threading.Thread(target=_send, args=(sending, waiting))
    sender.start()
    try:
        for item in make(index, n_given):
            waiting.put(_pickled(("item", item, "")))
        waiting.put(_pickled(("ended", None, "")))
    except Exception as error:  # noqa: BLE001  # the process's edge: the parent raises it
        waiting.put(_pickled(("failed", _portable(error), traceback.format_exc())))
    waiting.put(None)
    sender.join()


def _send(sending: Connection, waiting: queue.Queue[bytes | None]) -> None:
    try:
        while (message := waiting.get()) is not None:
            sending.send_bytes(message)
    except OSError:  # nobody reads any more: the parent is gone
        os._exit(1)


def _pickled(message: _Message) -> bytes:
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def _portable(error: Exception) -> Exception:
    """The error, or its words where it cannot be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, TypeError, AttributeError):
        return CsmChatError(f"{type(error).__name__}: {error}")
    return error

"""The unit table, the nouns and the protocols that cross module boundaries. Imports nothing.

| name             | unit                                                              |
|------------------|-------------------------------------------------------------------|
| `SAMPLE_RATE`    | samples a second of all audio inside the package                  |
| `FRAME_SAMPLES`  | samples a frame; one frame is what the model says at a time       |
| `FRAME_MS`       | milliseconds a frame                                              |
| `FRAMES_PER_S`   | frames a second, 12.5                                             |

A *row* is one prompt position: a text token, a frame of codes, or the end of speech (all zero).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, SupportsIndex, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SAMPLE_RATE = 24_000
FRAME_MS = 80
FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000
FRAMES_PER_S = 1000 / FRAME_MS
assert FRAME_SAMPLES * 1000 == SAMPLE_RATE * FRAME_MS, "a frame is a whole number of samples"

Pcm: TypeAlias = "npt.NDArray[np.float32]"  # (n,), mono, SAMPLE_RATE, [-1, 1]
Frame: TypeAlias = "npt.NDArray[np.int32]"  # (codebooks,)
Codes: TypeAlias = "npt.NDArray[np.int32]"  # (frames, codebooks)
Logits: TypeAlias = "npt.NDArray[np.float32]"  # (audio_vocab,), of one codebook

# (history, logits) -> logits; `history` is int32 (n,): codebook 0 of the take's frames so far
LogitsProcessor: TypeAlias = "Callable[[npt.NDArray[np.int32], Logits], npt.ArrayLike]"
CodeSampler: TypeAlias = "Callable[[Logits], SupportsIndex]"  # logits -> code

Ended: TypeAlias = Literal["eos", "limit", "guard", "early", "cut"]
# of a take: words heard otherwise; the first or last word not heard; over before its last sound is;
# another voice; too soft to be heard, or louder than samples can be
Problem: TypeAlias = Literal["words", "start", "end", "cut", "voice", "soft", "loud"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was asked: a line and who says it."""

    text: str
    speaker: int  # >= 0
    mood: str = ""  # that of the speaker's clips to be heard before it; "" is the usual one
    # silence around it, in seconds, which is no part of what is asked of the model
    pause_s: float | None = field(default=None, compare=False)  # before; None: the usual gap
    rest_s: float = field(default=0.0, compare=False)  # after

    @property
    def is_silence(self) -> bool:
        """Nothing but a pause."""
        return not self.text and self.rest_s > 0


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """What was said; what context is made of."""

    speaker: int
    text: str
    codes: Codes  # (frames, codebooks), without the end-of-speech frame


@dataclass(frozen=True, slots=True)
class Timings:
    """How long a take took, on the clock of the thread that made it."""

    first_audio_s: float  # from the start of the request to its first sample
    compute_s: float  # from the start of the request to its last sample
    audio_s: float  # length of the take

    @property
    def rtf(self) -> float:
        """Compute time over audio time: below 1 is faster than real time."""
        return self.compute_s / self.audio_s if self.audio_s else 0.0

    @property
    def running_rtf(self) -> float | None:
        """RTF of what follows the first frame, which pays for the prompt; None if nothing does."""
        rest_s = self.audio_s - FRAME_MS / 1000
        return (self.compute_s - self.first_audio_s) / rest_s if rest_s > 0 else None


@dataclass(frozen=True, slots=True)
class Shape:
    """How speech is given out once it is made; what the model hears of it stays as it was."""

    speed: float = 1.0  # 0.5 - 2; its pitch is kept
    gain_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was heard of a take, and what is wrong with it."""

    heard: str
    n_wrong: int  # words changed, left out or added
    n_words: int  # that were to be said
    likeness: float | None  # to the voice it should have, 1 at most; None: not compared
    level_db: float  # of its speech, RMS over full scale
    problems: tuple[Problem, ...]  # none: nobody has to listen to it
    tries: int = 1  # takes made of it, of which this is the best

    @property
    def is_good(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A finished take. Only one that `ended` by itself ("eos") is part of the context."""

    segment: Segment
    seed: int
    ended: Ended  # eos: by itself; limit: max_turn_s; guard: runaway; early; cut: cancelled
    timings: Timings  # of what was made, before it is given its shape
    mood: str = ""  # it was said in
    shape: Shape = Shape()
    verdict: Verdict | None = None  # None: nobody heard it

    @property
    def utterance(self) -> Utterance:
        """What was asked."""
        return Utterance(self.segment.text, self.segment.speaker, self.mood)


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A reference person: pinned in every prompt, never trimmed."""

    speaker: int
    name: str
    segments: tuple[Segment, ...]
    # by name, what stands in their place while the person speaks in a mood
    moods: Mapping[str, tuple[Segment, ...]] = field(default_factory=dict)

    def in_mood(self, mood: str) -> Voice:
        """The person as heard in a mood there is."""
        return replace(self, segments=self.moods[mood])


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What the model reads. The last column is text, the others are codebooks."""

    tokens: npt.NDArray[np.int32]  # (rows, codebooks + 1)
    mask: npt.NDArray[np.bool_]  # (rows, codebooks + 1)
    n_pinned: int = 0  # the first so many rows are voices, which later prompts may begin with, too


@dataclass(frozen=True, slots=True)
class Sampling:
    """How codes are drawn. `temperature` 0 is greedy; a `depth_*` of None follows its namesake.

    `processors` change the logits of codebook 0, in their order, before a code is drawn. They are
    given copies and may write to them. Code 0 begins the end-of-speech frame, so this one makes
    long takes end sooner:

        def end_sooner(history, logits):
            if len(history) > 50:
                logits[0] += 4
            return logits

    `sampler` draws the codes of all codebooks, in place of temperature and filters. Both are plain
    NumPy on every backend, at the price of a wait for the device with each call.
    """

    temperature: float = 0.9
    top_k: int = 50  # 0: off
    top_p: float = 1.0  # 1: off
    min_p: float = 0.0  # 0: off
    min_tokens_to_keep: int = 1  # likeliest codes that top_p and min_p never drop
    depth_temperature: float | None = None
    depth_top_k: int | None = None
    depth_top_p: float | None = None
    depth_min_p: float | None = None
    seed: int = 0
    max_frames: int = 1125  # 90 s
    sampler: CodeSampler | None = None
    processors: tuple[LogitsProcessor, ...] = ()

    def of_depth(self) -> Sampling:
        """How codebooks 1 and up are drawn: a `depth_*` that is set takes its namesake's place."""
        names = ("temperature", "top_k", "top_p", "min_p")
        own = {name: getattr(self, f"depth_{name}") for name in names}
        return replace(self, **{name: value for name, value in own.items() if value is not None})


class Tokenizer(Protocol):
    def encode(self, text: str, speaker: int) -> npt.NDArray[np.int32]:
        """Text in the model's form, `<|begin_of_text|>[speaker]text<|end_of_text|>`; (n,)."""
        ...


class Engine(Protocol):
    """The transformers. One thread, the one that made it: it owns caches and, on CUDA, graphs."""

    context_rows: int  # positions that prompt and generated frames share
    codebooks: int
    n_codes: int  # codes of a codebook run from 0 to one below
    adapter: Path | None  # the folder of the one that is spoken with
    prefilled_rows: int  # rows the last `frames` call had to compute before its first frame

    def frames(self, prompt: Prompt, sampling: Sampling) -> Generator[Frame, None, None]:
        """Yield frames until the end-of-speech frame (not yielded) or `sampling.max_frames`.

        Rows that the prompt shares with what is in the cache already are not computed again, nor
        are those behind voices that it was in the cache with before, as far as there is room.
        Closing the iterator at any point leaves the engine ready for the next call. Raises
        ContextError when the prompt leaves no room for a frame, UsageError when a callable of
        `sampling` answers what is no code or no logits.
        """
        ...

    def takes(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Codes]:
        """Say one prompt several times: what `frames` gives with each of the seeds, in whole.

        Raises as `frames` does.
        """
        ...

    def prefill(self, prompt: Prompt, is_wanted: Callable[[], bool]) -> bool:
        """Compute a prompt's rows ahead of the `frames` call that will begin with them.

        `is_wanted` is asked within each model step; once it says no, what is done stays and False
        is returned. Raises ContextError when the prompt leaves no room for a frame.
        """
        ...

    def forget(self) -> None:
        """Drop the rows in the cache: the next prompt is computed from nothing.

        Rows computed at once and rows computed one by one differ in the last bits, and so, now and
        then, does a code that is drawn after them.
        """
        ...

    def adapt(self, folder: Path | None) -> None:
        """Speak with the adapter in a folder, or as the checkpoint does; the cache is emptied.

        Raises CheckpointError where there is none, or one for another model: nothing changes then.
        """
        ...

    def interrupt(self) -> None:
        """Any thread: the `frames` call that is running raises Interrupted within a model step."""
        ...


class Codec(Protocol):
    codebooks: int
    entries: int  # of a codebook: codes are below it
    identity: str  # differs between codecs whose codes differ

    def encode(self, pcm: Pcm) -> Codes:
        """Encode (n,) samples, padded to whole frames; returns (ceil(n / 1920), codebooks)."""
        ...

    def decoding(self) -> AbstractContextManager[Callable[[Codes], Pcm]]:
        """Decode a stream, (n, codebooks) to (n * 1920,) a call; its state lives in the `with`."""
        ...


class Sink(Protocol):
    """Where samples go: loudspeaker, file, list."""

    def write(self, pcm: Pcm) -> None:
        """Take samples; may block while the sink is full."""
        ...

    def drain(self) -> None:
        """Return when all that was written has been heard or saved."""
        ...

    def cancel(self) -> None:
        """Drop what has not been heard yet. Any thread."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A loaded model: everything a session needs of it."""

    engine: Engine
    codec: Codec
    tokenizer: Tokenizer
    name: str  # what the user called it: a repository or a folder
    device: str  # "cpu", "cuda", "mps", "metal"
    dtype: str  # "float32", "bfloat16", "float16"
    path: Path  # the checkpoint folder
    quantize: str = "none"  # "none", "int8", "int4": what the matrices are packed in

"""Speech from Python, in the shape of Sesame's generator: text and context in, tensors out."""

from __future__ import annotations

import inspect
import logging
import random
from collections import abc
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from csm_chat import types
from csm_chat.api.context import prompt_for
from csm_chat.api.playback import Playback, Speed
from csm_chat.api.segment import SampledCodes, Segment, speaker_number, spoken_text
from csm_chat.config.override import override
from csm_chat.config.settings import AudioConfig, Config, SamplingConfig
from csm_chat.conversation import guard
from csm_chat.conversation.reading import Lines, Reading, Remarks
from csm_chat.conversation.take import (
    MAX_EMPTY_RETRIES,
    MAX_RETAKES,
    Streamed,
    Take,
    collect,
    first_with_sound,
)
from csm_chat.engine.choice import name_in_torch
from csm_chat.errors import ConfigError, UsageError
from csm_chat.shape.pauses import find_pauses
from csm_chat.shape.stream import in_shape
from csm_chat.types import (
    FRAME_MS,
    SAMPLE_RATE,
    Backend,
    CodeSampler,
    LogitsProcessor,
    Pcm,
    Prompt,
    Sampling,
    Shape,
    Utterance,
)
from csm_chat.wording import lines_to

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

MAX_AUDIO_MS = 90_000
DEFAULTS = SamplingConfig()


def sampling_settings(**settings: object) -> SamplingConfig:
    """Settings by the names of `SamplingConfig`. Raises UsageError."""
    config = Config()
    for name, value in settings.items():
        try:
            config = override(config, f"sampling.{name}", str(value))
        except ConfigError as error:
            raise UsageError(str(error).removeprefix("sampling.")) from error
    return config.sampling


def chosen_top_k(topk: int | None, top_k: int | None) -> int:
    """The one given of two spellings. Raises UsageError."""
    if topk is not None and top_k is not None:
        raise UsageError("topk and top_k are one setting: give one of them")
    given = top_k if topk is None else topk
    return DEFAULTS.top_k if given is None else given


def max_frames(max_audio_length_ms: float) -> int:
    """Whole frames in that time, 90 s at most. Raises UsageError when there is none."""
    if not max_audio_length_ms >= FRAME_MS:  # so written, it refuses NaN
        raise UsageError(
            f"max_audio_length_ms {max_audio_length_ms}: give {FRAME_MS} or more, "
            "which is one frame"
        )
    return int(min(max_audio_length_ms, MAX_AUDIO_MS) // FRAME_MS)


def given_shape(speed: float, gain: float) -> Shape:
    """Raises UsageError."""
    try:
        config = override(override(Config(), "speed", str(speed)), "gain", str(gain))
    except ConfigError as error:
        raise UsageError(str(error)) from error
    return Shape(config.speed, config.gain)


def random_seed() -> int:
    return random.SystemRandom().randrange(2**32)


P = ParamSpec("P")
R = TypeVar("R")
Chunks = abc.Generator["torch.Tensor", None, "torch.Tensor"]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """A line to say, ready for the engine."""

    utterance: Utterance
    prompt: Prompt
    samplings: Sequence[Sampling]  # to try until one gives sound
    is_free: bool  # to be said again: nobody heard it, and it would come out another way
    least_s: float  # that a take of it lasts
    shape: Shape


def _with_parameters_of(
    stream: Callable[Concatenate[Generator, P], Chunks],
) -> Callable[[Callable[..., R]], Callable[Concatenate[Generator, P], R]]:
    """For a method that hands its arguments on to `stream`: its signature shows them by name."""

    def changed(method: Callable[..., R]) -> Callable[Concatenate[Generator, P], R]:
        own = inspect.signature(method)
        parameters = [*inspect.signature(stream).parameters.values()]
        shown = own.replace(parameters=parameters)
        method.__signature__ = shown  # type: ignore[attr-defined]  # what inspect and help read
        return method

    return changed


class Generator:
    """Says lines; remembers nothing between them but what makes the next one quick.

    Use it on the thread that loaded it. The arguments of `generate` and `stream`:

    `speaker` is 0 or more. `context` is what was said before, oldest first; segments of audio and
    of codes mix. A context that goes on from the last one costs only what is new. Where it does not
    fit, the oldest segments are left out whole, with a warning in the log; the first of each
    speaker stays, since it holds the voice.

    `temperature` 0 always takes the likeliest code. `topk` or `top_k` (50) is how many codes to
    draw from, 0 is all; `top_p` draws from that share of the probability, 1 is off; `min_p` leaves
    out what is below that share of the likeliest code, 0 is off; both keep the `min_tokens_to_keep`
    likeliest. The same `seed`, device and dtype give the same samples; None draws a seed, and
    another one if the take is empty.

    `logits_processors` are called in turn as processor(history, logits) and return the logits of
    codebook 0, NumPy float32 (audio_vocab,); `history` is codebook 0 so far, int32 (n,). `sampler`
    is called as sampler(logits) for each codebook and returns the code; the settings above do not
    apply then. `csm_chat.Sampling` has an example.

    `speed`, 0.5 to 2, and `gain`, decibels, change what is returned and heard, in chunks of any
    length then; as context for later lines it stays as it was made.

    `play` makes it heard while it is made, and returns when it was heard; without a device there is
    one warning in the log. `on_chunk` gets each chunk when it is made.

    A take ends by itself, after `max_audio_length_ms`, where the context of the model ends, or when
    it hangs, which is logged.
    """

    sample_rate = SAMPLE_RATE  # Hz, of all it returns

    def __init__(self, backend: Backend, *, reading: Reading | None = None) -> None:
        self.backend = backend
        self._lines = Lines(backend.tokenizer, reading or Reading())
        self._reading = replace(backend, tokenizer=self._lines)
        self.last_segment: Segment | None = None  # what was said last, as context for the next line
        self._remarks = Remarks(lines_to(log.warning))
        self._is_to_be_said_again = False  # the take that ended last
        self._sampled = SampledCodes()
        self._playback = Playback(AudioConfig())
        self._speed = Speed()
        self._take: abc.Generator[Pcm, None, Take] | None = None  # the one that was begun last

    @property
    def device(self) -> torch.device:
        """Where the model runs, in torch's words. What it returns is on the CPU all the same."""
        import torch

        return torch.device(name_in_torch(self.backend.device))

    def stream(
        self,
        text: str,
        speaker: int = 0,
        context: Sequence[Segment | types.Segment] = (),
        max_audio_length_ms: float = MAX_AUDIO_MS,
        temperature: float = DEFAULTS.temperature,
        topk: int | None = None,
        *,
        top_k: int | None = None,
        top_p: float = DEFAULTS.top_p,
        min_p: float = DEFAULTS.min_p,
        min_tokens_to_keep: int = DEFAULTS.min_tokens_to_keep,
        seed: int | None = None,
        sampler: CodeSampler | None = None,
        logits_processors: Sequence[LogitsProcessor] = (),
        speed: float = 1.0,
        gain: float = 0.0,
        play: bool = False,
        on_chunk: Callable[[torch.Tensor], object] | None = None,
    ) -> Chunks:
        """Say `text` as `generate` does, yielding chunks of 80 ms, float32 (1920,), as made.

        Returns the whole, and leaves it in `last_segment`. Closing it early stops the take, and so
        does the next call of `generate` or `stream`.
        """
        settings = sampling_settings(
            temperature=temperature,
            top_k=chosen_top_k(topk, top_k),
            top_p=top_p,
            min_p=min_p,
            min_tokens_to_keep=min_tokens_to_keep,
            seed=seed,
        )
        sampling = Sampling(
            **asdict(settings) | {"seed": random_seed() if seed is None else settings.seed},
            max_frames=max_frames(max_audio_length_ms),
            sampler=sampler,
            processors=tuple(logits_processors),
        )
        utterance = Utterance(spoken_text(text), speaker_number(speaker))
        if any(utterance.text[pause.start] == "(" for pause in find_pauses(utterance.text)):
            raise UsageError("one take has no pause inside: open_chat keeps (pause 0.8), (beat)")
        self._lines.read.refuse_silence(utterance.text)
        self._remarks.on_dropped(utterance.text, self._lines.read)
        self._end_take()
        cap = guard.cap_frames(self._expected_s(utterance), MAX_AUDIO_MS / 1000)
        reserved = min(sampling.max_frames, cap)
        rows = prompt_for(self._reading, utterance, context, reserved, self._sampled)
        samplings = [sampling]
        if seed is None:
            others = (random_seed() for _ in range(MAX_EMPTY_RETRIES))
            samplings += [replace(sampling, seed=other) for other in others]
        is_heard = play or on_chunk is not None
        is_free = seed is None and sampler is None and bool(temperature) and not is_heard
        least_s = guard.least_s(self._lines.read(utterance.text))
        request = _Request(utterance, rows, samplings, is_free, least_s, given_shape(speed, gain))
        return self._stream(request, play, on_chunk)

    @_with_parameters_of(stream)
    def generate(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Say `text`; returns its samples, float32 (n,) at `sample_rate`, on the CPU.

        A take that ends far too early for its text is said again, twice at most, unless it was
        heard, has a seed or takes the likeliest codes. Raises UsageError, EntryError for a text
        without a word, AudioError for a segment's audio, and ContextError when not even the first
        segments of the context's speakers fit.
        """
        for _ in range(1 + MAX_RETAKES):
            audio = collect(self.stream(*args, **kwargs), _unheard)
            if not self._is_to_be_said_again:
                break
        return audio

    def _expected_s(self, utterance: Utterance) -> float:
        return self._lines.line(utterance.text, utterance.speaker).expected_s

    def _stream(
        self,
        request: _Request,
        play: bool,
        on_chunk: Callable[[torch.Tensor], object] | None,
    ) -> Chunks:
        blocks: list[Pcm] = [np.zeros(0, np.float32)]
        expected_s, pace = self._expected_s(request.utterance), request.shape.speed
        rtf = self._speed.rtf
        heard = self._playback.of(expected_s / pace, rtf * pace if rtf else None)
        with heard if play else nullcontext(_unheard) as hear:
            take = self._begun(request)
            said = Streamed(take)
            with closing(take):
                for pcm in in_shape(self._speed.measured(said), request.shape):
                    hear(pcm)
                    blocks.append(pcm)
                    chunk = _tensor(pcm.copy())  # its receiver may write to it
                    if on_chunk:
                        on_chunk(chunk)
                    yield chunk
            if said.end is None:
                raise UsageError("another take began before this stream was at its end")
            audio = self._said(request, said.end, np.concatenate(blocks))
        return audio

    def _begun(self, request: _Request) -> abc.Generator[Pcm, None, Take]:
        """A take, from now on the one that is being said."""
        self._end_take()
        self._take = first_with_sound(
            self.backend, request.prompt, request.samplings, _log_empty, least_s=request.least_s
        )
        return self._take

    def _end_take(self) -> None:
        """The one before is over, wherever it was: its engine goes to the next one."""
        if self._take:
            self._take.close()
        self._take = None

    def _said(self, request: _Request, take: Take, pcm: Pcm) -> torch.Tensor:
        audio, utterance = _tensor(pcm), request.utterance
        ended, reason = take.end(MAX_AUDIO_MS / 1000)
        self._is_to_be_said_again = ended == "early" and request.is_free
        if take.stopped or ended == "early":
            log.warning("stopped: %s", reason)
        if take.frames:
            codes = np.stack(take.frames)
            self._sampled.remember(audio, codes)
            self.last_segment = Segment(utterance.speaker, utterance.text, audio, codes=codes)
        else:
            log.warning('no sound came of "%s": try another seed', utterance.text)
        return audio


def _log_empty(seed: int) -> None:
    log.info("seed %d gave no sound", seed)


def _tensor(pcm: Pcm) -> torch.Tensor:
    import torch

    with torch.inference_mode(False):  # else, inside the caller's, changes to it go unseen
        return torch.from_numpy(pcm)


def _unheard(block: object) -> None:
    pass

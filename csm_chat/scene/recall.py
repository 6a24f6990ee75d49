"""A session is made to remember what an earlier run said. Knows the session's front only."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from csm_chat.speech.session import Session
from csm_chat.types import Codec, Codes, Engine, Frame, Pcm, Prompt, Sampling, Utterance


def recall(session: Session, utterance: Utterance, codes: Codes) -> None:
    """Let the session take a turn that ended by itself once more, from its codes.

    It goes through all that a take goes through but model and codec, so that what is dropped from
    the context for it is just what was dropped then.
    """
    backend = session.backend
    session.backend = replace(
        backend, engine=_Recorded.of(backend.engine, codes), codec=_Mute(backend.codec)
    )
    try:
        for _ in session.take(utterance):
            pass
    finally:
        session.backend = backend


def forget_rows(engine: Engine) -> None:
    """Empty the engine's cache of rows.

    Rows computed at once and rows computed one by one differ in the last bits, and so, now and
    then, does a code that is drawn after them. When every turn's prompt is computed from nothing,
    a turn comes out the same whether the turns before were said in this run or an earlier one.
    """
    tokens = np.zeros((1, engine.codebooks + 1), np.int32)
    mask = np.ones(tokens.shape, np.bool_)  # of speech, which no prompt begins with
    mask[:, -1] = False
    for _ in engine.frames(Prompt(tokens, mask), Sampling(max_frames=0)):
        pass


@dataclass(slots=True)
class _Recorded:
    """An engine that plays one take."""

    context_rows: int
    codebooks: int
    n_codes: int
    prefilled_rows: int
    codes: Codes

    @classmethod
    def of(cls, engine: Engine, codes: Codes) -> _Recorded:
        return cls(engine.context_rows, engine.codebooks, engine.n_codes, 0, codes)

    def frames(self, prompt: Prompt, sampling: Sampling) -> Generator[Frame, None, None]:
        yield from self.codes

    def interrupt(self) -> None:
        """It never takes long."""


class _Mute:
    """A codec that decodes to nothing: the sound is on disk."""

    def __init__(self, codec: Codec) -> None:
        self.codebooks = codec.codebooks
        self.identity = codec.identity
        self.encode = codec.encode

    @contextmanager
    def decoding(self) -> Iterator[Callable[[Codes], Pcm]]:
        yield lambda codes: np.zeros(0, np.float32)

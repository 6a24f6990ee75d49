"""A session is made to remember what an earlier run said. Knows the session's front only."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import numpy as np

from csm_chat.conversation.session import Session
from csm_chat.types import (
    FRAME_SAMPLES,
    Codec,
    Codes,
    Engine,
    Frame,
    Pcm,
    Prompt,
    Sampling,
    Utterance,
)


def recall(session: Session, utterance: Utterance, codes: Codes) -> None:
    """Let the session take a turn that ended by itself once more, from its codes.

    It goes through all that a take goes through but model and codec, so that what is dropped from
    the context for it is just what was dropped then.
    """
    backend = session.backend
    engine = cast(Engine, _Recorded(backend.engine, codes))
    session.backend = replace(backend, engine=engine, codec=_Flat(backend.codec))
    try:
        for _ in session.take(utterance):
            pass
    finally:
        session.backend = backend
    assert session.turns and session.turns[-1].segment.text == utterance.text, utterance


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


class _Recorded:
    """An engine that plays one take; for the rest it is the one it stands in for."""

    def __init__(self, engine: Engine, codes: Codes) -> None:
        self._engine = engine
        self._codes = codes

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def frames(self, prompt: Prompt, sampling: Sampling) -> Generator[Frame, None, None]:
        yield from self._codes


class _Flat:
    """A codec that decodes to nothing in particular, and never to silence."""

    def __init__(self, codec: Codec) -> None:
        self.codebooks = codec.codebooks
        self.identity = codec.identity
        self.entries = codec.entries
        self.encode = codec.encode

    @contextmanager
    def decoding(self) -> Iterator[Callable[[Codes], Pcm]]:
        yield lambda codes: np.ones(len(codes) * FRAME_SAMPLES, np.float32)

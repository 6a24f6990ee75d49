"""A take on its way out: stretched, then louder or softer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from csm_chat.shape.level import with_gain
from csm_chat.shape.overlap import silence
from csm_chat.types import SAMPLE_RATE, Pcm, Shape

PLAIN = Shape()


class Shaping:
    """Samples in, samples out; with the plain shape the very same."""

    def __init__(self, shape: Shape) -> None:
        self._gain_db = shape.gain_db
        self._stretch = None
        if shape.speed != 1:
            # here, because most speech needs none of it
            from csm_chat.shape.stretch import Stretch

            self._stretch = Stretch(shape.speed)

    def feed(self, pcm: Pcm) -> Pcm:
        pcm = self._stretch.feed(pcm) if self._stretch else pcm
        return with_gain(pcm, self._gain_db)

    def end(self) -> Pcm:
        """What waited for more."""
        rest = self._stretch.end() if self._stretch else np.zeros(0, np.float32)
        return with_gain(rest, self._gain_db)


class Taker(Protocol):
    """What takes samples."""

    def write(self, pcm: Pcm) -> None: ...


class Given:
    """A take on its way into its file and the loudspeaker."""

    def __init__(self, take: Taker, sound: Taker, shape: Shape, lead_s: float) -> None:
        """`lead_s`: silence that its file begins with, once there is something behind it."""
        self._take = take
        self._sound = sound
        self._shaping = Shaping(shape)
        self._lead_s = lead_s
        self._is_begun = False

    def write(self, pcm: Pcm) -> float:
        """More of it as it was made; seconds of what is given out."""
        return self._give(self._shaping.feed(pcm))

    def end(self, rest_s: float) -> None:
        """The rest, and the silence that its file ends with."""
        self._give(self._shaping.end())
        if rest_s and self._is_begun:
            self._take.write(silence(rest_s))

    def _give(self, pcm: Pcm) -> float:
        if not len(pcm):
            return 0.0
        if self._lead_s and not self._is_begun:
            self._take.write(silence(self._lead_s))
        self._is_begun = True
        self._take.write(pcm)
        self._sound.write(pcm)
        return len(pcm) / SAMPLE_RATE


def in_shape(stream: Iterable[Pcm], shape: Shape) -> Iterator[Pcm]:
    """A take as it is given out; in its plain shape the very blocks it is made in."""
    shaping = Shaping(shape)
    yield from filter(len, map(shaping.feed, stream))
    rest = shaping.end()
    if len(rest):
        yield rest


def shaped(pcm: Pcm, shape: Shape) -> Pcm:
    """All of a take at once."""
    if shape == PLAIN:
        return pcm
    shaping = Shaping(shape)
    return np.concatenate([shaping.feed(pcm), shaping.end()])


def shaped_s(seconds: Iterable[float], shapes: Iterable[Shape]) -> float:
    """How long takes of so many seconds are heard."""
    return sum(each / shape.speed for each, shape in zip(seconds, shapes, strict=True))

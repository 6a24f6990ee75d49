"""Speech quicker or slower, its pitch kept, as a stream: WSOLA by the library audiotsm."""

from __future__ import annotations

import numpy as np
from audiotsm import wsola
from audiotsm.io.array import ArrayReader, ArrayWriter

from csm_chat.types import Pcm

SLOWEST, QUICKEST = 0.5, 2.0
# some 43 ms, and moved by up to 21 to where the waves go on
WINDOW_SAMPLES = 1024
_SILENCE = np.zeros(WINDOW_SAMPLES, np.float32)


class Stretch:
    """Samples in, samples out, n / speed of them in all, to the nearest."""

    def __init__(self, speed: float) -> None:
        """Between SLOWEST and QUICKEST."""
        assert SLOWEST <= speed <= QUICKEST, speed
        self._speed = speed
        self._stretch = wsola(1, speed, frame_length=WINDOW_SAMPLES)
        self._n_in = self._n_out = 0

    def feed(self, pcm: Pcm) -> Pcm:
        """What has become certain: some 60 ms wait for what follows."""
        self._n_in += len(pcm)
        # the library's steps are whole samples, so that it may be ahead by a little
        return self._within(self._through(pcm))

    def end(self) -> Pcm:
        """The rest, so that the length is that asked for."""
        left = round(self._n_in / self._speed) - self._n_out
        blocks: list[Pcm] = [np.zeros(0, np.float32)]
        while sum(map(len, blocks)) < left:
            blocks.append(self._through(_SILENCE))
        return np.concatenate(blocks)[:left]

    def _within(self, pcm: Pcm) -> Pcm:
        kept = pcm[: round(self._n_in / self._speed) - self._n_out]
        self._n_out += len(kept)
        return kept

    def _through(self, pcm: Pcm) -> Pcm:
        reader, writer = ArrayReader(pcm[None]), ArrayWriter(1)
        is_done = False
        while not (is_done and reader.empty):
            self._stretch.read_from(reader)
            is_done = self._stretch.write_to(writer)[1]
        out: Pcm = writer.data[0].astype(np.float32)
        return out

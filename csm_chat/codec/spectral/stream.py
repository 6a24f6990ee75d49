"""One stream of codes to samples, a frame at a time. Knows no files.

A frame is always computed by itself: so it has the same samples to the last bit however a stream is
cut, and pitch, which adds up to phase, does not drift apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csm_chat.codec.spectral.blocks import Past
from csm_chat.codec.spectral.nets import TAIL, Decoder, overlapped
from csm_chat.codec.spectral.quantizer import Quantizer
from csm_chat.codec.spectral.sizes import HOP, WINDOW
from csm_chat.codec.spectral.source import phases, pulses
from csm_chat.types import FRAME_SAMPLES

_NOISE_SEED = 0  # of every stream


class DecoderStream:
    """Holds the state of one stream: what convolutions saw, phase, and the windows' ends."""

    def __init__(self, decoder: Decoder, quantizer: Quantizer) -> None:
        self._decoder, self._quantizer = decoder, quantizer
        self._past: Past = {}
        self._noise = torch.Generator().manual_seed(_NOISE_SEED)
        self._phase = torch.zeros(1, dtype=torch.float64)
        self._hz: Tensor | None = None  # at the last moment of the source
        self._source = torch.zeros(2, 1, 0)  # its end, which the next windows reach back to
        self._tail = torch.zeros(1, TAIL)  # of the windows so far

    def decode(self, codes: Tensor) -> Tensor:
        """The next frame, (codebooks,): its samples (1920,), not clipped."""
        frames = self._quantizer.decode(codes[None, None])
        colours, gains, hz = self._decoder(frames, self._past)
        source = self._next_source(hz.double())
        windows = self._decoder.coloured(source[0], colours)
        windows += self._decoder.coloured(source[1], gains)
        total = overlapped(windows)
        total[:, :TAIL] += self._tail
        self._tail = total[:, FRAME_SAMPLES:]
        return total[0, :FRAME_SAMPLES]

    def _next_source(self, hz: Tensor) -> Tensor:
        """Pulses and noise for the windows of pitch `hz`, (1, steps): (2, 1, 1920 + TAIL)."""
        if self._hz is None:
            moments = torch.cat((hz[:, :1].expand(-1, WINDOW // HOP), hz), 1)
        else:
            moments = torch.cat((self._hz, hz), 1)
        phase, pitch, self._phase = phases(moments, self._phase)
        self._hz = moments[:, -1:]
        tone = pulses(phase, pitch)
        noise = torch.randn(tone.shape, generator=self._noise)
        source = torch.cat((self._source, torch.stack((tone, noise))), 2)
        self._source = source[..., FRAME_SAMPLES:]
        return source

"""Mimi's decoder on rows of channels, streamed: codes to samples. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from csm_chat.codec.quantizer import Quantizer
from csm_chat.codec.seanet import Past, run, steps_of
from csm_chat.codec.sizes import MimiSizes
from csm_chat.codec.windowed import Transformer


class MimiDecoder:
    """What all streams share; a `DecoderStream` holds the state of one."""

    def __init__(
        self, sizes: MimiSizes, tensors: Mapping[str, Tensor], quantizer: Quantizer
    ) -> None:
        self.quantizer = quantizer
        self.upsample = _Upsample(tensors["upsample.convtr.convtr.convtr.weight"])
        self.transformer = Transformer("decoder", sizes.transformer, tensors, sizes.stride)
        self.net = steps_of("decoder", sizes.decoder, tensors, sizes.stride)


class DecoderStream:
    """One stream of codes through a decoder."""

    def __init__(self, decoder: MimiDecoder) -> None:
        self._decoder = decoder
        self._steps = decoder.transformer.stream()
        self._past: Past = {}

    def decode(self, codes: Tensor) -> Tensor:
        """The next frames, (n, codebooks), n > 0: their samples (n * 1920,), not clipped."""
        decoder = self._decoder
        frames = decoder.quantizer.decode(codes)
        steps = self._steps(decoder.upsample(frames, self._past))
        return run(decoder.net, steps, self._past)[:, 0]


class _Upsample:
    """Two steps from each frame and the one before it, channel by channel."""

    def __init__(self, weight: Tensor) -> None:
        """`weight` is (channels, 1, taps), two strides long."""
        channels, _, taps = weight.shape
        self._now, self._before = weight[:, 0].T.reshape(2, taps // 2, channels).contiguous()

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        before = past.get(self)
        rows = torch.cat((torch.zeros_like(x[:1]) if before is None else before, x))
        past[self] = rows[-1:]
        steps = torch.addcmul(rows[1:, None] * self._now, rows[:-1, None], self._before)
        return steps.flatten(0, 1)  # from (n, stride, channels)

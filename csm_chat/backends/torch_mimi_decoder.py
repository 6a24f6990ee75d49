"""Mimi's decoder on rows of channels, streamed: codes to samples. Knows no files."""

from __future__ import annotations

from typing import Any

import torch
from moshi.models.compression import MimiModel
from torch import Tensor

from csm_chat.backends.torch_mimi_quantizer import Quantizer
from csm_chat.backends.torch_seanet import Past, layers_of, run
from csm_chat.backends.torch_windowed import Transformer


class MimiDecoder:
    """The decoder of moshi's Mimi, with its weights; a `DecoderStream` holds a stream's state."""

    def __init__(self, mimi: MimiModel, quantizer: Quantizer) -> None:
        self.quantizer = quantizer
        self.upsample = _Upsample(mimi.upsample)
        self.transformer = Transformer(mimi.decoder_transformer)
        self.layers = layers_of(mimi.decoder)


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
        return run(decoder.layers, steps, self._past)[:, 0]


class _Upsample:
    """Two steps from each frame and the one before it, channel by channel."""

    def __init__(self, upsample: Any) -> None:
        conv = upsample.convtr.convtr.convtr
        channels, _, taps = conv.weight.shape
        stride = conv.stride[0]
        assert (taps, conv.groups) == (2 * stride, channels) and conv.bias is None, conv
        self._now, self._before = conv.weight[:, 0].T.reshape(2, stride, channels).contiguous()

    def __call__(self, x: Tensor, past: Past) -> Tensor:
        before = past.get(self)
        rows = torch.cat((torch.zeros_like(x[:1]) if before is None else before, x))
        past[self] = rows[-1:]
        steps = torch.addcmul(rows[1:, None] * self._now, rows[:-1, None], self._before)
        return steps.flatten(0, 1)  # from (n, stride, channels)

"""Mimi's encoder on rows of channels: samples to codes. Knows no files."""

from __future__ import annotations

from typing import Any

import torch
from moshi.models.compression import MimiModel
from torch import Tensor

from csm_chat.backends.torch_mimi_quantizer import Quantizer
from csm_chat.backends.torch_seanet import Past, StridedConv, layers_of, run
from csm_chat.backends.torch_windowed import Transformer
from csm_chat.types import FRAME_SAMPLES

# frames that go through the convolutions together: what a core's own cache holds, or fills a GPU
_CHUNK_FRAMES_CPU = 8
_CHUNK_FRAMES = 100


class MimiEncoder:
    """The encoder of moshi's Mimi, with its weights."""

    def __init__(self, mimi: MimiModel, quantizer: Quantizer) -> None:
        downsample: Any = mimi.downsample
        some = next(mimi.encoder.parameters())
        cpu = some.device.type == "cpu"
        self._chunk_samples = (_CHUNK_FRAMES_CPU if cpu else _CHUNK_FRAMES) * FRAME_SAMPLES
        self._dtype = some.dtype  # of the convolutions
        self._layers = layers_of(mimi.encoder)
        self._transformer = Transformer(mimi.encoder_transformer)
        self._downsample = StridedConv(downsample.conv)
        self._quantizer = quantizer

    def encode(self, pcm: Tensor) -> Tensor:
        """Whole frames of one clip, (n * 1920,), on the encoder's device: codes (n, codebooks)."""
        past: Past = {}
        chunks = torch.split(pcm[:, None].to(self._dtype), self._chunk_samples)
        steps = torch.cat([run(self._layers, chunk, past) for chunk in chunks])
        steps = self._transformer.stream()(steps.to(pcm.dtype))
        # moshi lets the first step stand for those before the clip
        before: Past = {self._downsample: steps[:1].repeat(1, self._downsample.stride)}
        return self._quantizer.encode(self._downsample(steps, before))

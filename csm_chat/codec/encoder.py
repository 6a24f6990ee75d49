"""Mimi's encoder on rows of channels: samples to codes. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from csm_chat.codec.quantizer import Quantizer
from csm_chat.codec.seanet import Past, StridedConv, run, steps_of
from csm_chat.codec.sizes import MimiSizes
from csm_chat.codec.windowed import MOST_STEPS, Transformer
from csm_chat.types import FRAME_SAMPLES

# frames that go through the convolutions together: what a core's own cache holds, or fills a GPU
_CHUNK_FRAMES_CPU = 8
_CHUNK_FRAMES = 100


class MimiEncoder:
    """Whole clips at a time."""

    def __init__(
        self, sizes: MimiSizes, tensors: Mapping[str, Tensor], quantizer: Quantizer
    ) -> None:
        """Convolutions may be of another dtype than the rest."""
        some = tensors["encoder.model.0.conv.conv.weight"]
        cpu = some.device.type == "cpu"
        self._chunk_samples = (_CHUNK_FRAMES_CPU if cpu else _CHUNK_FRAMES) * FRAME_SAMPLES
        self._dtype = some.dtype  # of the convolutions
        self._net = steps_of("encoder", sizes.encoder, tensors, FRAME_SAMPLES)
        self._transformer = Transformer("encoder", sizes.transformer, tensors, MOST_STEPS)
        self._downsample = StridedConv(tensors["downsample.conv.conv.conv.weight"], None)
        self._quantizer = quantizer

    def encode(self, pcm: Tensor) -> Tensor:
        """Whole frames of one clip, (n * 1920,), on the encoder's device: codes (n, codebooks)."""
        past: Past = {}
        chunks = torch.split(pcm[:, None].to(self._dtype), self._chunk_samples)
        steps = torch.cat([run(self._net, chunk, past) for chunk in chunks])
        steps = self._transformer.stream()(steps.to(pcm.dtype))
        # the first step stands for those before the clip
        before: Past = {self._downsample: steps[:1].repeat(1, self._downsample.stride)}
        return self._quantizer.encode(self._downsample(steps, before))

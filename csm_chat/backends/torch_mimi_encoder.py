"""Mimi's encoder on rows of channels: samples to codes. Knows no files."""

from __future__ import annotations

from typing import Any

import torch
from moshi.models.compression import MimiModel
from torch import Tensor

from csm_chat.backends.torch_seanet import Past, StridedConv, layers_of, run
from csm_chat.backends.torch_windowed import Transformer
from csm_chat.types import FRAME_SAMPLES

# frames that go through the convolutions together: what a core's own cache likes, fills a GPU
_CHUNK_FRAMES = {"cpu": 8}
_CHUNK_FRAMES_ELSEWHERE = 100


class MimiEncoder:
    """The encoder of moshi's Mimi, with its weights. Any number of threads."""

    def __init__(self, mimi: MimiModel) -> None:
        downsample: Any = mimi.downsample
        quantizer: Any = mimi.quantizer
        self._device = next(mimi.parameters()).device
        self._layers = layers_of(mimi.encoder)
        self._transformer = Transformer(mimi.encoder_transformer)
        self._downsample = StridedConv(downsample.conv)
        self._quantizers = [_Quantizer(part) for part in (quantizer.rvq_first, quantizer.rvq_rest)]

    def encode(self, pcm: Tensor) -> Tensor:
        """Whole frames of one clip, (n * 1920,), on the encoder's device: codes (n, codebooks)."""
        past: Past = {}
        chunk = FRAME_SAMPLES * _CHUNK_FRAMES.get(self._device.type, _CHUNK_FRAMES_ELSEWHERE)
        pieces = [run(self._layers, piece[:, None], past) for piece in torch.split(pcm, chunk)]
        latent = self._transformer.stream()(torch.cat(pieces))
        # moshi lets the first row stand for those before the clip
        before: Past = {self._downsample: latent[:1].repeat(1, self._downsample.stride)}
        frames = self._downsample(latent, before)
        return torch.cat([quantizer(frames) for quantizer in self._quantizers], 1)


class _Quantizer:
    """One residual quantizer: each codebook takes the entry nearest to what the others left."""

    def __init__(self, quantizer: Any) -> None:
        self._projection = quantizer.input_proj.weight[:, :, 0]
        layers = quantizer.vq.layers[: quantizer.n_q]
        self._tables = [layer._codebook.embedding for layer in layers]  # (entries, width)
        self._half_norms = [table.square().sum(1) / 2 for table in self._tables]

    def __call__(self, x: Tensor) -> Tensor:
        """Frames (n, width) to codes (n, codebooks)."""
        left = x @ self._projection.T
        codes = []
        for table, half_norms in zip(self._tables, self._half_norms, strict=True):
            code = torch.addmm(half_norms, left, table.T, alpha=-1).argmin(1)
            left = left - table[code]
            codes.append(code)
        return torch.stack(codes, 1)

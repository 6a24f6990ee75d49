"""Mimi's nets on rows of channels: encoder, quantizer and streamed decoder. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from csm_chat.codec.seanet import Past, StridedConv, run, steps_of
from csm_chat.codec.sizes import MimiSizes
from csm_chat.codec.windowed import MOST_STEPS, Transformer
from csm_chat.types import FRAME_SAMPLES

# frames that go through the convolutions together: what a core's own cache holds, or fills a GPU
_CHUNK_FRAMES_CPU = 8
_CHUNK_FRAMES = 100
_BOOK = "quantizer.rvq_{}.vq.layers.{}._codebook."
_N_FIRST = 1  # codebooks of the first part
_LEAST_USAGE = 1e-5  # moshi's


class Quantizer:
    """A split residual quantizer: one codebook of its own, and others after each other."""

    def __init__(self, tensors: Mapping[str, Tensor], codebooks: int) -> None:
        """Takes the first `codebooks`, 2 or more."""
        books = [_BOOK.format("first", 0), *(_BOOK.format("rest", i) for i in range(codebooks - 1))]
        # (codebooks, entries, width)
        self._tables = torch.stack([_table(book, tensors) for book in books])
        n, entries, _ = self._tables.shape
        self._starts = torch.arange(0, n * entries, entries, device=self._tables.device)
        parts = [f"quantizer.rvq_{part}" for part in ("first", "rest")]
        out = [tensors[f"{part}.output_proj.weight"][:, :, 0] for part in parts]
        self._out = torch.cat(out, 1)  # (channels, 2 * width)
        self._in = [tensors[f"{part}.input_proj.weight"][:, :, 0] for part in parts]

    @cached_property
    def _half_norms(self) -> Tensor:
        return self._tables.square().sum(2) / 2

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, codebooks) to frames (n, channels)."""
        entries = F.embedding(codes + self._starts, self._tables.flatten(0, 1))
        first, rest = entries[:, :_N_FIRST].sum(1), entries[:, _N_FIRST:].sum(1)
        return F.linear(torch.cat((first, rest), 1), self._out)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (n, channels) to codes (n, codebooks): the entries nearest to what is left."""
        codes: list[Tensor] = []
        for start, stop, projection in (
            (0, _N_FIRST, self._in[0]),
            (_N_FIRST, len(self._tables), self._in[1]),
        ):
            left = frames @ projection.T
            for table, half_norms in zip(
                self._tables[start:stop], self._half_norms[start:stop], strict=True
            ):
                code = torch.addmm(half_norms, left, table.T, alpha=-1).argmin(1)
                left = left - table[code]
                codes.append(code)
        return torch.stack(codes, 1)


def _table(book: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """The entries: files hold each one's sum over the frames that took it, and their number."""
    usage = tensors[f"{book}cluster_usage"].clamp(min=_LEAST_USAGE)
    return tensors[f"{book}embedding_sum"] / usage[:, None]


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

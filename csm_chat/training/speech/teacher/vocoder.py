"""Kokoro's decoder in torch: its convolutions in bfloat16, everything that has a phase in float32.

A quarter quicker on a processor than onnxruntime's int8, and heard to be as natural as float32
(4.40 and 4.41 by DistillMOS; 4.22 in int8). All in bfloat16 it is at 2.0: its sines lose their
pitch.
The network is iSTFTNet's with StyleTTS 2's adaptive norms, as Kokoro-82M's export has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from csm_chat.training.speech.teacher.graphs import Links
from csm_chat.types import SAMPLE_RATE

ROOT = "/decoder/decoder/"
STORED = "decoder.decoder."
CURVE_SAMPLES = 300  # that a value of pitch or loudness lasts
HARMONICS = 9
VOICED_HZ = 10.0
N_FFT, HOP = 20, 5
UP_STRIDES, UP_PADDINGS = (10, 6), (5, 3)
DILATIONS = (1, 3, 5)
NARROW = torch.bfloat16


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution over time; computes in its weight's type, and gives float32."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor, stride: int = 1, dilation: int = 1, padding: int = -1) -> Tensor:
        """(1, in, T) to (1, out, T / stride), as long as the input where no padding is given."""
        if padding < 0:
            padding = dilation * (self.weight.shape[-1] // 2)
        x = x.to(self.weight.dtype)
        return F.conv1d(x, self.weight, self.bias, stride, padding, dilation).float()

    def narrow(self) -> Conv:
        """In bfloat16."""
        bias = None if self.bias is None else self.bias.to(NARROW)
        return Conv(self.weight.to(NARROW), bias)


class Weights:
    """The decoder's, found in its graph by what computes with them."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def conv(self, place: str, kind: str = "Conv") -> Conv:
        _, weight, *bias = self._links.makers[f"{ROOT}{place}/{kind}_output_0"].input
        return Conv(self._tensor(weight), self._tensor(bias[0]) if bias else None)

    def product(self, output: str) -> Tensor:
        """What a MatMul multiplies by."""
        return self._tensor(self._links.makers[f"{ROOT}{output}"].input[1])

    def stored(self, name: str) -> Tensor:
        return self._tensor(STORED + name.replace("/", "."))

    def _tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self._links.values(name).copy())


class Norm:
    """Each channel to mean 0 and variance 1, then to what the style asks for."""

    def __init__(self, weights: Weights, place: str) -> None:
        self._weight = weights.product(f"{place}/fc/Gemm_output_0_MatMul")
        self._bias = weights.stored(f"{place}.fc.bias")

    def __call__(self, x: Tensor, style: Tensor) -> Tensor:
        """(1, C, T) in the style (1, 128)."""
        gain, offset = (style @ self._weight + self._bias)[:, :, None].chunk(2, 1)
        mean = x.mean(2, keepdim=True)
        # torch's own variance takes ten times as long
        square = torch.linalg.vector_norm(x, dim=2, keepdim=True).square_() / x.shape[2]
        factor = (1 + gain) * torch.rsqrt(square - mean * mean + 1e-5)
        return torch.addcmul(offset - mean * factor, x, factor)


class Rings:
    """Three pairs of norm, snake and convolution beside their input."""

    def __init__(self, weights: Weights, place: str) -> None:
        self._parts = []
        for i, dilation in enumerate(DILATIONS):
            for k, spread in ((1, dilation), (2, 1)):
                norm = Norm(weights, f"{place}/adain{k}.{i}")
                rate = weights.stored(f"{place}.alpha{k}.{i}")
                conv = weights.conv(f"{place}/convs{k}.{i}").narrow()
                self._parts.append((norm, rate, conv, spread))

    def __call__(self, x: Tensor, style: Tensor) -> Tensor:
        for first, second in zip(self._parts[::2], self._parts[1::2], strict=True):
            y = x
            for norm, rate, conv, spread in (first, second):
                y = conv(_snake(norm(y, style), rate), dilation=spread)
            x = x + y
        return x


def _snake(x: Tensor, rate: Tensor) -> Tensor:
    """x + sin²(rate x) / rate, in place."""
    wave = (x * rate).sin_()
    return x.addcmul_(wave.square_(), 1 / rate)


class Block:
    """Two convolutions with norms beside one that only widens; the last one doubles the rate."""

    def __init__(self, weights: Weights, place: str, doubles: bool = False) -> None:
        self._norms = [Norm(weights, f"{place}/norm{k}") for k in (1, 2)]
        self._convs = [weights.conv(f"{place}/conv{k}").narrow() for k in (1, 2)]
        self._beside = weights.conv(f"{place}/conv1x1").narrow()
        self._pool = weights.conv(f"{place}/pool", "ConvTranspose") if doubles else None

    def __call__(self, x: Tensor, style: Tensor) -> Tensor:
        y = F.leaky_relu(self._norms[0](x, style), 0.2)
        if self._pool is not None:
            weight, bias = self._pool.weight, self._pool.bias
            y = F.conv_transpose1d(y, weight, bias, 2, 1, 1, groups=y.shape[1])
            x = x.repeat_interleave(2, -1)
        y = self._convs[0](y)
        y = self._convs[1](F.leaky_relu(self._norms[1](y, style), 0.2))
        return (y + self._beside(x)) / math.sqrt(2)


class Source:
    """The buzz of a pitch curve: the sum of nine harmonics, silent where nothing is voiced."""

    def __init__(self, weights: Weights) -> None:
        self._shares = weights.product("generator/m_source/l_linear/MatMul_output_0")
        self._bias = weights.stored("generator.m_source.l_linear.bias")

    def __call__(self, pitch: Tensor) -> Tensor:
        """Hz (1, n) to (1, n * CURVE_SAMPLES)."""
        hz = pitch.repeat_interleave(CURVE_SAMPLES, -1)[:, None]  # (1, 1, samples)
        turns = hz * torch.arange(1, HARMONICS + 1)[None, :, None] / SAMPLE_RATE % 1.0
        turns = F.interpolate(turns, scale_factor=1 / CURVE_SAMPLES, mode="linear")
        angle = turns.cumsum(-1) * (2 * math.pi * CURVE_SAMPLES)
        angle = F.interpolate(angle, scale_factor=float(CURVE_SAMPLES), mode="linear")
        waves = angle.sin() * 0.1 * (hz > VOICED_HZ)  # (1, HARMONICS, samples)
        return torch.tanh(waves.mT @ self._shares + self._bias)[:, :, 0]


class Vocoder:
    """What phonemes' features, pitch and loudness sound like."""

    def __init__(self, links: Links) -> None:
        weights = Weights(links)
        self._residue = weights.conv("asr_res/asr_res.0")
        self._curves = weights.conv("F0_conv"), weights.conv("N_conv")
        self._first = Block(weights, "encode")
        self._blocks = [Block(weights, f"decode.{i}", i == 3) for i in range(4)]
        self._source = Source(weights)
        self._sourced = [weights.conv(f"generator/noise_convs.{i}") for i in (0, 1)]
        self._noise = [Rings(weights, f"generator/noise_res.{i}") for i in (0, 1)]
        ups = [weights.conv(f"generator/ups.{i}", "ConvTranspose") for i in (0, 1)]
        self._ups = [conv.narrow() for conv in ups]
        self._rings = [Rings(weights, f"generator/resblocks.{i}") for i in range(6)]
        self._last = weights.conv("generator/conv_post")
        self._waves = weights.stored("generator.stft.istft.stft.inverse_basis")
        self._window = weights.stored("generator.stft.istft.stft.window_sum")

    @torch.inference_mode()
    def __call__(self, features: Tensor, pitch: Tensor, loudness: Tensor, style: Tensor) -> Tensor:
        """(1, 512, T), (1, 2T) in Hz, (1, 2T) and (1, 128) to samples (600 T,)."""
        curves = [
            conv(x[:, None], stride=2)
            for conv, x in zip(self._curves, (pitch, loudness), strict=True)
        ]
        x = self._first(torch.cat([features, *curves], 1), style)
        residue = self._residue(features)
        for block in self._blocks:
            x = block(torch.cat([x, residue, *curves], 1), style)
        for stage, buzz in enumerate(self._buzzes(pitch, style)):
            x = self._raised(x, stage) + buzz
            first, second, third = self._rings[3 * stage : 3 * stage + 3]
            x = (first(x, style) + second(x, style) + third(x, style)) / 3
        return self._heard(self._last(F.leaky_relu(x, 0.01)))

    def _buzzes(self, pitch: Tensor, style: Tensor) -> list[Tensor]:
        """The source as each stage is given it."""
        window = torch.hann_window(N_FFT)
        bins = torch.stft(self._source(pitch), N_FFT, HOP, N_FFT, window, return_complex=True)
        parts = torch.cat([bins.abs(), bins.angle()], 1)
        low = self._sourced[0](parts, stride=UP_STRIDES[1], padding=UP_STRIDES[1] // 2)
        return [self._noise[0](low, style), self._noise[1](self._sourced[1](parts), style)]

    def _raised(self, x: Tensor, stage: int) -> Tensor:
        """At the rate of a stage."""
        up = self._ups[stage]
        x = F.leaky_relu(x, 0.1).to(NARROW)
        stride, padding = UP_STRIDES[stage], UP_PADDINGS[stage]
        x = F.conv_transpose1d(x, up.weight, up.bias, stride, padding).float()
        return F.pad(x, (1, 0), "reflect") if stage == len(UP_STRIDES) - 1 else x

    def _heard(self, x: Tensor) -> Tensor:
        """Log magnitudes and phases, (1, N_FFT + 2, T), to samples."""
        magnitude, phase = x.chunk(2, 1)
        magnitude, phase = magnitude.exp(), phase.sin()
        parts = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], 1)
        y = F.conv_transpose1d(parts, self._waves, stride=HOP)[0, 0]
        # the export evens out the window over its first length alone; half of that is cut off
        y[1:N_FFT] /= self._window[1:]
        return y[N_FFT // 2 : -N_FFT // 2] * (N_FFT / HOP)

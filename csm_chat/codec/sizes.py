"""What Mimi is made of: its layers, and the shape of each tensor. Knows no framework.

Tensors have the names that moshi's Mimi gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from csm_chat.checkpoint.files import Shape
from csm_chat.types import FRAME_SAMPLES


@dataclass(frozen=True, slots=True)
class Conv:
    """A causal convolution, or a transposed one. With a stride its kernel is two strides long."""

    inputs: int
    outputs: int
    taps: int
    stride: int = 1
    dilation: int = 1
    is_transposed: bool = False

    @property
    def name(self) -> str:
        """Of its tensors, before .weight and .bias."""
        return "convtr.convtr" if self.is_transposed else "conv.conv"


@dataclass(frozen=True, slots=True)
class Residual:
    """x, or what its shortcut makes of it, + narrow(elu(wide(elu(x))))."""

    wide: Conv
    narrow: Conv
    shortcut: Conv | None

    @property
    def convs(self) -> dict[str, Conv]:
        """By name."""
        named = {"block.1": self.wide, "block.3": self.narrow, "shortcut": self.shortcut}
        return {f"{name}.{conv.name}": conv for name, conv in named.items() if conv}


@dataclass(frozen=True, slots=True)
class Elu:
    """The activation between two layers."""


Layer: TypeAlias = Conv | Residual | Elu


@dataclass(frozen=True, slots=True)
class TransformerSizes:
    """Of each of the two."""

    layers: int
    width: int
    mlp_width: int
    heads: int
    window: int  # steps that each one sees, its own among them
    max_period: float


@dataclass(frozen=True, slots=True)
class MimiSizes:
    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    transformer: TransformerSizes
    stride: int  # steps of the transformers a frame
    codebooks: int
    entries: int  # of a codebook
    code_width: int

    @property
    def width(self) -> int:
        """Of the steps and the frames."""
        return self.transformer.width


def sizes_of(config: Mapping[str, Any]) -> MimiSizes:
    """Those of a configuration in moshi's terms, as `mimi_config` gives it."""
    parts = ("seanet", "quantizer", "transformer")
    seanet, quantizer, transformer = (config[part] for part in parts)
    return MimiSizes(
        encoder=tuple(_encoder(seanet)),
        decoder=tuple(_decoder(seanet)),
        transformer=TransformerSizes(
            layers=transformer["num_layers"],
            width=transformer["d_model"],
            mlp_width=transformer["dim_feedforward"],
            heads=transformer["num_heads"],
            window=transformer["context"],
            max_period=transformer["max_period"],
        ),
        stride=FRAME_SAMPLES // prod(seanet["ratios"]),
        codebooks=quantizer["n_q"],
        entries=quantizer["bins"],
        code_width=quantizer["dimension"],
    )


def _encoder(seanet: Mapping[str, Any]) -> Iterator[Layer]:
    """Samples to steps."""
    width = seanet["n_filters"]
    yield Conv(seanet["channels"], width, seanet["kernel_size"])
    for ratio in reversed(seanet["ratios"]):
        yield from _residuals(width, seanet)
        yield Elu()
        yield Conv(width, 2 * width, 2 * ratio, ratio)
        width *= 2
    yield Elu()
    yield Conv(width, seanet["dimension"], seanet["last_kernel_size"])


def _decoder(seanet: Mapping[str, Any]) -> Iterator[Layer]:
    """Steps to samples."""
    width = seanet["n_filters"] * 2 ** len(seanet["ratios"])
    yield Conv(seanet["dimension"], width, seanet["kernel_size"])
    for ratio in seanet["ratios"]:
        yield Elu()
        yield Conv(width, width // 2, 2 * ratio, ratio, is_transposed=True)
        width //= 2
        yield from _residuals(width, seanet)
    yield Elu()
    yield Conv(width, seanet["channels"], seanet["last_kernel_size"])


def _residuals(width: int, seanet: Mapping[str, Any]) -> Iterator[Residual]:
    hidden = width // seanet["compress"]
    for i in range(seanet["n_residual_layers"]):
        dilation = seanet["dilation_base"] ** i
        yield Residual(
            Conv(width, hidden, seanet["residual_kernel_size"], dilation=dilation),
            Conv(hidden, width, 1),
            None if seanet["true_skip"] else Conv(width, width, 1),
        )


def tensor_shapes(sizes: MimiSizes) -> dict[str, Shape]:
    """Of all tensors, by name."""
    shapes = dict(_nets(sizes))
    for net in ("encoder", "decoder"):
        for i in range(sizes.transformer.layers):
            prefix = f"{net}_transformer.transformer.layers.{i}."
            shapes |= {prefix + name: shape for name, shape in _layer(sizes.transformer)}
    shapes |= _codebooks(sizes)
    width, taps = sizes.width, 2 * sizes.stride
    shapes["downsample.conv.conv.conv.weight"] = (width, width, taps)
    shapes["upsample.convtr.convtr.convtr.weight"] = (width, 1, taps)
    return shapes


def _nets(sizes: MimiSizes) -> Iterator[tuple[str, Shape]]:
    for net, layers in (("encoder", sizes.encoder), ("decoder", sizes.decoder)):
        for i, layer in enumerate(layers):
            convs = {} if isinstance(layer, Elu) else _convs(layer)
            for name, conv in convs.items():
                outer = (conv.outputs, conv.inputs)
                shape = (*(outer[::-1] if conv.is_transposed else outer), conv.taps)
                yield f"{net}.model.{i}.{name}.weight", shape
                yield f"{net}.model.{i}.{name}.bias", (conv.outputs,)


def _convs(layer: Conv | Residual) -> dict[str, Conv]:
    return {layer.name: layer} if isinstance(layer, Conv) else layer.convs


def _layer(sizes: TransformerSizes) -> Iterator[tuple[str, Shape]]:
    width = sizes.width
    yield "self_attn.in_projs.0.weight", (3 * width, width)
    yield "self_attn.out_projs.0.weight", (width, width)
    yield "linear1.weight", (sizes.mlp_width, width)
    yield "linear2.weight", (width, sizes.mlp_width)
    for i in (1, 2):
        yield f"norm{i}.weight", (width,)
        yield f"norm{i}.bias", (width,)
        yield f"layer_scale_{i}.scale", (width,)


def _codebooks(sizes: MimiSizes) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for part, n in (("first", 1), ("rest", sizes.codebooks - 1)):
        prefix = f"quantizer.rvq_{part}."
        shapes[f"{prefix}input_proj.weight"] = (sizes.code_width, sizes.width, 1)
        shapes[f"{prefix}output_proj.weight"] = (sizes.width, sizes.code_width, 1)
        for i in range(n):
            book = f"{prefix}vq.layers.{i}._codebook."
            shapes[f"{book}_initialized"] = (1,)
            shapes[f"{book}cluster_usage"] = (sizes.entries,)
            shapes[f"{book}embedding_sum"] = (sizes.entries, sizes.code_width)
    return shapes

"""The names and shapes of a spectral codec's tensors in a file. Knows no framework.

Written out, since torch's own way of building nothing takes two seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterator

from csm_chat.checkpoint.files import Shape
from csm_chat.codec.spectral.sizes import (
    CONTOUR,
    FRAME_TAPS,
    N_BINS,
    N_MELS,
    N_SPECTRA,
    SLOW_STEPS,
    STEP_TAPS,
    STEPS,
    Sizes,
)

Named = tuple[str, Shape]


def tensor_shapes(sizes: Sizes) -> dict[str, Shape]:
    """Of a codec's weights, by name."""
    return dict((*_quantizer(sizes), *_decoder(sizes)))


def _quantizer(sizes: Sizes) -> Iterator[Named]:
    entries, size, said = sizes.entries, sizes.coefficients, sizes.said_width
    yield from _linear("quantizer.listener.wide", 3 * N_SPECTRA, sizes.listener_width)
    yield from _linear("quantizer.listener.narrow", sizes.listener_width, said)
    yield "quantizer.mean", (N_SPECTRA,)
    yield "quantizer.basis", (N_SPECTRA, size)
    yield "quantizer.said", (entries, said)
    yield "quantizer.said_means", (entries, size)
    yield "quantizer.gains", (size,)
    yield "quantizer.contours", (entries, CONTOUR)
    yield "quantizer.heard", (entries, size)


def _decoder(sizes: Sizes) -> Iterator[Named]:
    frame, width, wide = sizes.frame_width, sizes.width, sizes.widening
    yield from _linear("decoder.begin", N_SPECTRA + CONTOUR, frame)
    yield from _blocks("decoder.frames", sizes.frame_layers, frame, wide, FRAME_TAPS)
    yield from _linear("decoder.to_slow", frame, SLOW_STEPS * width)
    yield from _blocks("decoder.slow", sizes.slow_layers, width, wide, STEP_TAPS)
    yield from _linear("decoder.to_steps", width, STEPS // SLOW_STEPS * width)
    yield from _linear("decoder.from_spectra", N_MELS + 2, width)
    yield from _blocks("decoder.steps", sizes.step_layers, width, wide, STEP_TAPS)
    yield from _norm("decoder.norm", width)
    yield from _linear("decoder.colours", width, 4 * N_BINS)
    yield from _linear("decoder.bend", width, 1)


def _blocks(name: str, layers: int, width: int, widening: int, taps: int) -> Iterator[Named]:
    for i in range(layers):
        block = f"{name}.blocks.{i}"
        yield f"{block}.conv.weight", (taps, width)
        yield f"{block}.conv.bias", (width,)
        yield from _norm(f"{block}.norm", width)
        yield from _linear(f"{block}.wide", width, widening * width)
        yield from _linear(f"{block}.narrow", widening * width, width)
        yield f"{block}.scale", (width,)


def _linear(name: str, inputs: int, outputs: int) -> Iterator[Named]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Iterator[Named]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)

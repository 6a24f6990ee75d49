"""The sizes of a spectral codec, and what is wrong with some. Knows no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from csm_chat.checkpoint.codec_files import SPECTRAL_CONFIG
from csm_chat.checkpoint.sizes import read_json
from csm_chat.errors import CheckpointError
from csm_chat.types import FRAME_SAMPLES

KIND = "spectral"  # what model_type in SPECTRAL_CONFIG names

STEPS = 8  # a frame, of 10 ms: a spectrum each
HOP = FRAME_SAMPLES // STEPS  # samples a step
WINDOW = 4 * HOP  # samples that a step's spectrum is heard in
N_BINS = WINDOW // 2 + 1
FIRST_HEARD = 2  # codebooks before it are for phonemes and pitch, from it on for spectra
SLOW_STEPS = 4  # a frame, where most of the work is done
N_MELS = 100  # bands of a step's spectrum, as the encoder hears it
N_SPECTRA = STEPS * N_MELS  # numbers of a frame
CONTOUR = 2 * STEPS  # numbers of a frame's pitch: octaves, and whether there is one
FRAME_TAPS, STEP_TAPS = 5, 7  # frames and steps that a block sees
_MOST_WIDTH = 4096  # of anything: a wrong file is to end in a line, not in the machine's memory


@dataclass(frozen=True, slots=True)
class Sizes:
    """Layers are those of ConvNeXt blocks."""

    codebooks: int = 16
    entries: int = 1024  # of a codebook
    coefficients: int = 128  # of a frame's spectra, along their principal components
    said_width: int = 48  # of what is heard of phonemes
    listener_width: int = 320
    frame_width: int = 384  # of the decoder at 12.5 Hz
    frame_layers: int = 2
    width: int = 256  # at 50 and 100 Hz
    slow_layers: int = 3  # at 50 Hz
    step_layers: int = 2  # at 100 Hz
    widening: int = 3  # of a block's inner layer


def read_sizes(folder: Path) -> Sizes:
    """Those of a codec in a folder. Raises CheckpointError."""
    path = folder / SPECTRAL_CONFIG
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; take the codec's config and weights together")
    return sizes_from(read_json(path), path)


def sizes_from(config: Mapping[str, Any], path: Path) -> Sizes:
    """Sizes as `config_fields` gave them. Raises CheckpointError, which names `path`."""
    names = [each.name for each in fields(Sizes)]
    if config.get("model_type") != KIND:
        raise CheckpointError(f"{path}: model_type is {config.get('model_type')!r}, not {KIND!r}")
    for name in names:
        if not _is_size(config.get(name)):
            raise CheckpointError(
                f"{path}: {name} is {config.get(name)!r}, not a whole number from 1 to "
                f"{_MOST_WIDTH}; take the codec's config and weights together"
            )
    if config["codebooks"] <= FIRST_HEARD:
        raise CheckpointError(f"{path}: codebooks is {config['codebooks']}, less than 3")
    return Sizes(**{name: config[name] for name in names})


def config_fields(sizes: Sizes) -> dict[str, Any]:
    """What SPECTRAL_CONFIG holds."""
    return {"model_type": KIND} | {each.name: getattr(sizes, each.name) for each in fields(Sizes)}


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MOST_WIDTH

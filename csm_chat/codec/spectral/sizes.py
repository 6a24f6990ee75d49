"""The sizes of a spectral codec, and what is wrong with some. Knows no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeGuard

from csm_chat.checkpoint.codec_files import SPECTRAL_CONFIG
from csm_chat.checkpoint.sizes import read_json
from csm_chat.errors import CheckpointError
from csm_chat.types import FRAME_SAMPLES

_SHARED = "shares"
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
# As many bits of a frame as of any other: by the variances of 2.1 h of speech
_SHARES = (2, 3, 3, 3, 4, 3, 5, 4, 5, 5, 5, 6, 7, 7, 7, 9, 9, 11, 13, 16, 22, 51)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Layers are those of ConvNeXt blocks."""

    entries: int = 2048  # of a codebook
    # principal components of a frame's spectra, which codebooks from FIRST_HEARD on share out
    shares: tuple[int, ...] = _SHARES
    said_width: int = 48  # of what is heard of phonemes
    listener_width: int = 320
    frame_width: int = 384  # of the decoder at 12.5 Hz
    frame_layers: int = 2
    width: int = 256  # at 50 and 100 Hz
    slow_layers: int = 3  # at 50 Hz
    step_layers: int = 2  # at 100 Hz
    widening: int = 3  # of a block's inner layer

    @property
    def codebooks(self) -> int:
        return FIRST_HEARD + len(self.shares)

    @property
    def coefficients(self) -> int:
        return sum(self.shares)


def read_sizes(folder: Path) -> Sizes:
    """Those of a codec in a folder. Raises CheckpointError."""
    path = folder / SPECTRAL_CONFIG
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; take the codec's config and weights together")
    return sizes_from(read_json(path), path)


def sizes_from(config: Mapping[str, Any], path: Path) -> Sizes:
    """Sizes as `config_fields` gave them. Raises CheckpointError, which names `path`."""
    names = [each.name for each in fields(Sizes) if each.name != _SHARED]
    if config.get("model_type") != KIND:
        raise CheckpointError(f"{path}: model_type is {config.get('model_type')!r}, not {KIND!r}")
    for name in names:
        if not _is_size(config.get(name)):
            raise CheckpointError(
                f"{path}: {name} is {config.get(name)!r}, not a whole number from 1 to "
                f"{_MOST_WIDTH}; take the codec's config and weights together"
            )
    shares = config.get(_SHARED)
    if not _are_shares(shares):
        raise CheckpointError(
            f"{path}: {_SHARED} is not a list of whole numbers, {N_SPECTRA} together at most; take "
            "the codec's config and weights together"
        )
    return Sizes(shares=tuple(shares), **{name: config[name] for name in names})


def config_fields(sizes: Sizes) -> dict[str, Any]:
    """What SPECTRAL_CONFIG holds."""
    return {"model_type": KIND} | {each.name: getattr(sizes, each.name) for each in fields(Sizes)}


def _are_shares(value: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(_is_size(each) for each in value)
        and sum(value) <= N_SPECTRA
    )


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MOST_WIDTH

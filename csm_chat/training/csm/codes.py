"""A frozen codec that encodes clips by the batch, on any device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from moshi.models import loaders
from moshi.utils.compile import no_compile, no_cuda_graph
from safetensors.torch import load_file
from torch import Tensor

from csm_chat.checkpoint.codec_files import find_mimi, is_spectral
from csm_chat.codec.config import mimi_config
from csm_chat.codec.nets import MimiEncoder, Quantizer
from csm_chat.codec.sizes import sizes_of
from csm_chat.codec.spectral.codec import load_spectral
from csm_chat.codec.spectral.sizes import read_sizes as read_spectral_sizes
from csm_chat.errors import CheckpointError
from csm_chat.types import FRAME_SAMPLES, Pcm

_GROUP_FRAMES = 8000  # encoded at once where a GPU is to be filled


def frozen_codec(folder: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> Frozen:
    """Of a folder, whichever codec it holds. Raises CheckpointError."""
    return (
        FrozenSpectral(folder, device)
        if is_spectral(folder)
        else FrozenCodec(folder, device, dtype)
    )


class Frozen(Protocol):
    entries: int
    codebooks: int
    identity: str  # of its codes

    def encode(self, clips: Sequence[Pcm]) -> Tensor:
        """Frames of all clips, one after the other: (frames, codebooks), int64, on the device."""
        ...


class FrozenSpectral:
    """The analysis of a spectral codec, which needs no device: 30 ms a second of speech."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Raises CheckpointError."""
        sizes = read_spectral_sizes(folder)
        self.entries, self.codebooks = sizes.entries, sizes.codebooks
        self._codec, self._device = load_spectral(folder, sizes.codebooks), device
        self.identity = f"{self._codec.identity}-{sizes.codebooks}"

    def encode(self, clips: Sequence[Pcm]) -> Tensor:
        codes = [torch.from_numpy(self._codec.encode(clip)).long() for clip in clips]
        return torch.cat(codes).to(self._device)


class FrozenCodec:
    """The encoder of a folder's Mimi, under moshi's or Kyutai's tensor names."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype = torch.float32):
        """`dtype` is that of the convolutions alone. Raises CheckpointError.

        In bfloat16 99 % of codebooks 0 and 1 are as in float32, 72 % of codebook 7.
        """
        config = mimi_config(folder, {})
        files = {stored.file for stored in find_mimi(folder, {}).values()}
        self.entries: int = config["quantizer"]["bins"]
        self.codebooks: int = config["quantizer"]["n_q"]
        self._mimi: Any = loaders.get_mimi(None, config, device, self.codebooks)
        state = {name: tensor for file in files for name, tensor in load_file(file).items()}
        try:
            self._mimi.load_state_dict(state)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(
                f"{folder}: not the codec of its mimi_config.json ({reason}); take both together"
            ) from error
        self._mimi.requires_grad_(False).eval()
        self._mimi.encoder.to(dtype)
        books = self._mimi.quantizer.state_dict().values()
        of_books = hashlib.sha256(b"".join(x.cpu().numpy().tobytes() for x in books))
        self.identity = f"{of_books.hexdigest()[:16]}-{self.codebooks}"
        self._sizes = sizes_of(config)
        self._device = device

    @cached_property
    def _encoder(self) -> MimiEncoder:
        tensors = self._mimi.state_dict()
        return MimiEncoder(self._sizes, tensors, Quantizer(tensors, self.codebooks))

    def encode(self, clips: Sequence[Pcm]) -> Tensor:
        """Frames of all clips, one after the other: (frames, codebooks), int64, on the device."""
        # not inference mode: training keeps the codes for its backward pass
        device = self._device
        with torch.no_grad(), torch.autocast(device.type, enabled=False), _exact(device):
            found = self._in_groups(clips) if device.type == "cuda" else self._each(clips)
            return torch.cat(found)

    def _each(self, clips: Sequence[Pcm]) -> list[Tensor]:
        """Alone: a core's caches hold no more than a piece of one clip."""
        padded = (np.pad(clip, (0, -len(clip) % FRAME_SAMPLES)) for clip in clips)
        return [self._encoder.encode(torch.from_numpy(pcm).to(self._device)) for pcm in padded]

    def _in_groups(self, clips: Sequence[Pcm]) -> list[Tensor]:
        counts = [-(-len(clip) // FRAME_SAMPLES) for clip in clips]
        codes: list[Tensor] = [torch.empty(0)] * len(clips)
        for group in _groups(counts, _GROUP_FRAMES):
            together = self._encode([clips[i] for i in group], max(counts[i] for i in group))
            for i, found in zip(group, together, strict=True):
                codes[i] = found[: counts[i]]
        return codes

    def _encode(self, clips: Sequence[Pcm], frames: int) -> Tensor:
        """What pads a clip's end changes no code before it: the codec is causal."""
        pcm = np.zeros((len(clips), 1, frames * FRAME_SAMPLES), np.float32)
        for row, clip in zip(pcm, clips, strict=True):
            row[0, : len(clip)] = clip
        codes: Tensor = self._mimi.encode(torch.from_numpy(pcm).to(self._device))
        return codes.transpose(1, 2)  # (clips, frames, codebooks)


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Run moshi without compilation, graphs (they fix the chunk length) and TF32."""
    with ExitStack() as stack:
        stack.enter_context(no_compile())
        stack.enter_context(no_cuda_graph())
        if device.type == "cuda":
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
        yield


def _groups(counts: Sequence[int], most: int) -> Iterator[list[int]]:
    """Clips of about one length, of `most` frames together, padding included, or one clip."""
    group: list[int] = []
    for i in sorted(range(len(counts)), key=counts.__getitem__):
        if group and (len(group) + 1) * counts[i] > most:
            yield group
            group = []
        group.append(i)
    if group:
        yield group

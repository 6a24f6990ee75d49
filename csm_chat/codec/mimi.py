"""The codec: Mimi, streamed, in float32."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from csm_chat.checkpoint.codec_files import Found
from csm_chat.checkpoint.files import unreadable
from csm_chat.checkpoint.sizes import FEW_WEIGHTS
from csm_chat.codec.load import stored_mimi
from csm_chat.codec.nets import DecoderStream, MimiDecoder, MimiEncoder, Quantizer
from csm_chat.codec.sizes import MimiSizes
from csm_chat.codec.streaming import opened
from csm_chat.errors import AudioError
from csm_chat.runtime import FOR_SMALL, return_freed_memory, threads
from csm_chat.types import FRAME_SAMPLES, Codes, Pcm

_MAX_FRAMES = 16  # decoded at once, for their rows of samples to stay in the caches
# Up to here one thread of a cpu decodes: a frame takes it 15 ms, two that sleep between products
# 20, and beside packed weights, whose threads spin after a frame, 30. From 8 on two are quicker.
_FEW_FRAMES = 4
_NUMBERS_A_GROUP = 8 << 20  # read between two openings of a file
# parts of Mimi by the first word of their tensors' names
_CODES = ("quantizer.",)
_DECODING = ("decoder.", "decoder_transformer.", "upsample.")
_ENCODING = ("encoder.", "encoder_transformer.", "downsample.")
# gives the tensors whose names begin with one of the words
Read: TypeAlias = Callable[[tuple[str, ...]], Mapping[str, torch.Tensor]]


def load_codec(folder: Path, codebooks: int, device: str = "cpu") -> MimiCodec:
    """Load Mimi from a folder, in float32, to speak in `codebooks`. Raises CheckpointError."""
    stored = stored_mimi(folder, codebooks)
    sizes, names, found = stored.sizes, stored.names, stored.found

    def read(parts: tuple[str, ...]) -> dict[str, torch.Tensor]:
        of_parts = {ours: theirs for ours, theirs in names.items() if ours.startswith(parts)}
        return _read(of_parts, found, sizes.transformer.heads, device)

    codec = MimiCodec(sizes, codebooks, read)
    return_freed_memory()
    return codec


class MimiCodec:
    """Mimi, streamed frame by frame.

    One thread. Streams do not touch each other, nor does encoding touch them.
    """

    def __init__(self, sizes: MimiSizes, codebooks: int, read: Read) -> None:
        """Speaks in the first `codebooks`. What encoding needs is read once a clip comes."""
        self._sizes, self._read = sizes, read
        self.codebooks = codebooks
        self.entries = sizes.entries
        with torch.inference_mode():
            books = read(_CODES)
            self.identity = _identity(books)
            self._quantizer = Quantizer(books, codebooks)
            del books  # before more is read
            tensors = read(_DECODING)
            self._decoder = MimiDecoder(sizes, tensors, self._quantizer)
            widest = tensors["decoder.model.0.conv.conv.weight"]
            self._device = widest.device
            is_small = widest.numel() <= FEW_WEIGHTS
            self._threads = FOR_SMALL if is_small else None  # that decode many frames

    @cached_property
    def _encoder(self) -> MimiEncoder:
        return MimiEncoder(self._sizes, self._read(_ENCODING), self._quantizer)

    def encode(self, pcm: Pcm) -> Codes:
        """Encode mono 24 kHz audio. `pcm` is (n,), padded to whole frames.

        Returns (ceil(n / 1920), codebooks). Raises AudioError if n is 0.
        """
        if len(pcm) == 0:
            raise AudioError("the audio to encode is empty; record at least a second")
        padded = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
        with torch.inference_mode():
            codes = self._encoder.encode(torch.from_numpy(padded).to(self._device))
            numpy: Codes = codes.to(torch.int32).cpu().numpy()
            return numpy

    def decoding(self) -> AbstractContextManager[Callable[[Codes], Pcm]]:
        """Decode a stream: state lives inside the `with`.

        The callable turns (n, codebooks) into (n * 1920,): the samples of decoding the whole at
        once, within 1e-4, however the stream is cut.
        """
        return opened(DecoderStream(self._decoder), self._decode)

    def _decode(self, stream: DecoderStream, codes: Codes) -> Pcm:
        assert codes.ndim == 2 and codes.shape[1] == self.codebooks, codes.shape
        assert not len(codes) or 0 <= codes.min() <= codes.max() < self._sizes.entries, codes.max()
        if not len(codes):
            return np.zeros(0, np.float32)
        few = self._device.type == "cpu" and len(codes) <= _FEW_FRAMES
        with torch.inference_mode(), threads(1 if few else self._threads):
            rows = torch.from_numpy(codes.astype(np.int64)).to(self._device)
            pieces = [stream.decode(piece) for piece in torch.split(rows, _MAX_FRAMES)]
            pcm: Pcm = torch.cat(pieces).clamp_(-1, 1).cpu().numpy()
            return pcm


def _identity(tensors: Mapping[str, torch.Tensor]) -> str:
    """Codecs that were trained apart differ in their first codebook already."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith("quantizer.rvq_first."):
            digest.update(tensors[name].cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(
    names: Mapping[str, tuple[str, ...]], found: Found, heads: int, device: str
) -> dict[str, torch.Tensor]:
    """Tensors in float32, given their names in the files. Raises CheckpointError.

    They are copied: a mapped page that was read counts as memory in use until its file is closed.
    """
    tensors = {}
    for group in _groups(names, found):
        with ExitStack() as stack:
            stored = {ours: [found[name] for name in names[ours]] for ours in group}
            paths = {part.file for parts in stored.values() for part in parts}
            files = {path: stack.enter_context(_open(path)) for path in paths}
            for ours, parts in stored.items():
                of_parts = [files[part.file].get_tensor(part.name) for part in parts]
                tensor = _fused(of_parts, heads) if len(of_parts) > 1 else of_parts[0]
                tensors[ours] = tensor.to(device, torch.float32, copy=True)
    return tensors


def _groups(names: Mapping[str, tuple[str, ...]], found: Found) -> Iterator[list[str]]:
    """The names of tensors that are read before the files are opened anew."""
    group: list[str] = []
    n_numbers = 0
    for ours, theirs in names.items():
        group.append(ours)
        n_numbers += sum(prod(found[name].shape) for name in theirs)
        if n_numbers >= _NUMBERS_A_GROUP:
            yield group
            group, n_numbers = [], 0
    yield group


def _open(path: Path) -> Any:
    """Raises CheckpointError: a clip may come long after the files were first seen."""
    try:
        return safe_open(path, framework="pt")  # type: ignore[no-untyped-call]  # the library's
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


def _fused(parts: list[torch.Tensor], heads: int) -> torch.Tensor:
    """Query, key and value rows in one matrix, as moshi has them, from transformers' three."""
    query, key, value = parts
    return torch.cat([_interleaved(query, heads), _interleaved(key, heads), value])


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder each head's rows for RoPE: transformers pairs the two halves, moshi neighbours."""
    rows, columns = weight.shape
    halves = weight.view(heads, 2, rows // heads // 2, columns)
    return halves.transpose(1, 2).reshape(rows, columns)

"""The codec: moshi's Mimi, streamed, in float32. Knows neither CSM nor tensor names in files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from moshi.utils.compile import no_compile, no_cuda_graph
from safetensors import SafetensorError, safe_open

from csm_chat.backends.mimi_files import Found, file_names, find_mimi, mimi_config
from csm_chat.backends.sizes import read_json
from csm_chat.backends.torch_mimi_decoder import DecoderStream, MimiDecoder
from csm_chat.backends.torch_mimi_encoder import MimiEncoder
from csm_chat.backends.torch_mimi_quantizer import Quantizer
from csm_chat.backends.torch_undrawn import undrawn
from csm_chat.backends.weights import unreadable
from csm_chat.errors import AudioError, CheckpointError
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Codes, Pcm

_MAX_FRAMES = 16  # decoded at once, for their rows of samples to stay in the caches
_NUMBERS_A_GROUP = 8 << 20  # read between two openings of a file
# parts of moshi's model by the first word of their tensors
_DECODING = ("decoder.", "decoder_transformer.", "quantizer.", "upsample.")
_ENCODING = ("encoder.", "encoder_transformer.", "downsample.")
# what torch and moshi raise for sizes that are no sizes
_BAD_SIZES = (
    *(ArithmeticError, AssertionError, AttributeError, KeyError),
    *(RuntimeError, TypeError, ValueError),
)


def load_codec(
    folder: Path, codebooks: int, device: str = "cpu", decode_threads: int | None = None
) -> MimiCodec:
    """Load Mimi from a folder, in float32, to speak in `codebooks`. Raises CheckpointError.

    `decode_threads` is for a cpu on which others spin between frames; None: as many as torch has.
    """
    config_path = folder / "config.json"
    fields = read_json(config_path) if config_path.is_file() else {}
    found = find_mimi(folder, fields)
    mimi = _empty(folder, fields)
    if not 1 < codebooks <= mimi.total_codebooks:
        raise CheckpointError(
            f"{folder}: the model speaks in {codebooks} codebooks, the codec has "
            f"{mimi.total_codebooks}; take both from one checkpoint"
        )
    names = _names(folder, mimi, found)

    def fill(parts: tuple[str, ...]) -> None:
        of_parts = {ours: theirs for ours, theirs in names.items() if ours.startswith(parts)}
        _fill(mimi, of_parts, found, device)

    fill(_DECODING)
    mimi.set_num_codebooks(codebooks)
    return MimiCodec(mimi, lambda: fill(_ENCODING), decode_threads)


class MimiCodec:
    """Mimi, streamed frame by frame, with the weights of moshi's, which it takes over.

    One thread. Streams do not touch each other, nor does encoding touch them.
    """

    def __init__(
        self,
        mimi: MimiModel,
        fill_encoder: Callable[[], None] = lambda: None,
        decode_threads: int | None = None,
    ) -> None:
        """`fill_encoder` reads the encoder's weights, once a clip comes."""
        self._decode_threads = decode_threads
        self.codebooks: int = mimi.num_codebooks
        self.identity = _identity(mimi)
        self._entries: int = mimi.cardinality
        self._device = next(mimi.decoder.parameters()).device
        with torch.inference_mode():
            self._quantizer = Quantizer(mimi.quantizer)
            self._decoder = MimiDecoder(mimi, self._quantizer)
        # their weights are held in another order now
        del mimi.decoder, mimi.decoder_transformer, mimi.quantizer
        self._mimi, self._fill_encoder = mimi, fill_encoder

    @cached_property
    def _encoder(self) -> MimiEncoder:
        self._fill_encoder()
        encoder = MimiEncoder(self._mimi, self._quantizer)
        del self._mimi.encoder, self._mimi.encoder_transformer
        return encoder

    def encode(self, pcm: Pcm) -> Codes:
        """Encode mono 24 kHz audio. `pcm` is (n,), padded to whole frames.

        Returns (ceil(n / 1920), codebooks). Raises AudioError if n is 0.
        """
        if len(pcm) == 0:
            raise AudioError("the audio to encode is empty; record at least a second")
        padded = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
        with torch.inference_mode(), exact(self._device):
            codes = self._encoder.encode(torch.from_numpy(padded).to(self._device))
            numpy: Codes = codes.to(torch.int32).cpu().numpy()
            return numpy

    @contextmanager
    def decoding(self) -> Iterator[Callable[[Codes], Pcm]]:
        """Decode a stream: state lives inside the `with`.

        The callable turns (n, codebooks) into (n * 1920,): the samples of decoding the whole at
        once, within 1e-4, however the stream is cut.
        """
        streams = [DecoderStream(self._decoder)]

        def decode(codes: Codes) -> Pcm:
            assert streams, "the stream's `with` has ended"
            return self._decode(streams[0], codes)

        try:
            yield decode
        finally:
            streams.clear()

    def _decode(self, stream: DecoderStream, codes: Codes) -> Pcm:
        assert codes.ndim == 2 and codes.shape[1] == self.codebooks, codes.shape
        assert not len(codes) or 0 <= codes.min() <= codes.max() < self._entries, codes.max()
        if not len(codes):
            return np.zeros(0, np.float32)
        with torch.inference_mode(), exact(self._device), _threads(self._decode_threads):
            rows = torch.from_numpy(codes.astype(np.int64)).to(self._device)
            pieces = [stream.decode(piece) for piece in torch.split(rows, _MAX_FRAMES)]
            pcm: Pcm = torch.cat(pieces).clamp_(-1, 1).cpu().numpy()
            return pcm


def _identity(mimi: MimiModel) -> str:
    """Codecs that were trained apart differ in their first codebook already."""
    quantizer: Any = mimi.quantizer
    state = quantizer.rvq_first.state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """None: as many as torch has."""
    if n is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Run moshi without compilation, graphs (they fix the chunk length) and TF32."""
    with ExitStack() as stack:
        stack.enter_context(no_compile())
        stack.enter_context(no_cuda_graph())
        if device.type == "cuda":
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
        yield


def _empty(folder: Path, fields: dict[str, Any]) -> MimiModel:
    """The model without weights. Raises CheckpointError when the sizes make no Mimi for CSM."""
    try:
        config = mimi_config(folder, fields)
        with undrawn():
            n_q = config["quantizer"]["n_q"]
            mimi = loaders.get_mimi(None, config, device="meta", num_codebooks=n_q)
    except _BAD_SIZES as error:
        raise CheckpointError(
            f"{folder}: the codec's sizes make no Mimi ({error!r}); "
            "take config and weights from one place"
        ) from error
    if (mimi.sample_rate, mimi.frame_size) != (SAMPLE_RATE, FRAME_SAMPLES):
        raise CheckpointError(
            f"{folder}: the codec has {mimi.frame_size} samples a frame at {mimi.sample_rate} Hz; "
            f"CSM needs {FRAME_SAMPLES} at {SAMPLE_RATE} Hz"
        )
    return mimi


def _names(folder: Path, mimi: MimiModel, found: Found) -> dict[str, tuple[str, ...]]:
    """For each tensor of the model its names in the files. Raises CheckpointError."""
    shapes = {name: tuple(tensor.shape) for name, tensor in mimi.state_dict().items()}
    try:
        return file_names(shapes, found)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def _fill(mimi: MimiModel, names: Mapping[str, tuple[str, ...]], found: Found, device: str) -> None:
    """Read weights, given their names in the files. Raises CheckpointError.

    They are copied: a mapped page that was read counts as memory in use until its file is closed.
    """
    transformer: Any = mimi.encoder_transformer
    heads = transformer.transformer.layers[0].self_attn.num_heads
    state = {}
    for group in _groups(names, found):
        with ExitStack() as stack:
            stored = {ours: [found[name] for name in names[ours]] for ours in group}
            paths = {part.file for parts in stored.values() for part in parts}
            files = {path: stack.enter_context(_open(path)) for path in paths}
            for ours, parts in stored.items():
                tensors = [files[part.file].get_tensor(part.name) for part in parts]
                tensor = _fused(tensors, heads) if len(tensors) > 1 else tensors[0]
                state[ours] = tensor.to(device, torch.float32, copy=True)
    mimi.load_state_dict(state, strict=False, assign=True)
    mimi.requires_grad_(False)


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

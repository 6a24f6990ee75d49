"""The spectral codec, streamed, in float32 on the cpu."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from csm_chat.checkpoint.codec_files import SPECTRAL_WEIGHTS
from csm_chat.checkpoint.files import unreadable
from csm_chat.codec.load import stored_spectral
from csm_chat.codec.spectral.analysis import frames_of
from csm_chat.codec.spectral.features import Mels
from csm_chat.codec.spectral.nets import Decoder
from csm_chat.codec.spectral.quantizer import Quantizer
from csm_chat.codec.spectral.sizes import Sizes
from csm_chat.codec.spectral.stream import DecoderStream
from csm_chat.codec.streaming import opened
from csm_chat.errors import AudioError
from csm_chat.runtime import FOR_SMALL, threads
from csm_chat.types import FRAME_SAMPLES, Codes, Pcm

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def load_spectral(folder: Path, codebooks: int) -> SpectralCodec:
    """Load a folder's codec, to speak in `codebooks`. Raises CheckpointError."""
    sizes = stored_spectral(folder, codebooks)
    return SpectralCodec(sizes, codebooks, folder / SPECTRAL_WEIGHTS)


class SpectralCodec:
    """Pulses and noise, coloured by what codes say; streamed frame by frame.

    One thread. Streams do not touch each other, nor does encoding touch them.
    """

    def __init__(self, sizes: Sizes, codebooks: int, path: Path) -> None:
        """Speaks in the first `codebooks`."""
        self._sizes = sizes
        self.codebooks, self.entries = codebooks, sizes.entries
        with torch.inference_mode():
            self._quantizer = _loaded(Quantizer(sizes), "quantizer", path)
            self._decoder = _loaded(Decoder(sizes), "decoder", path)
            self._mels = Mels()
            said = self._quantizer.said
            self.identity = hashlib.sha256(said.numpy().tobytes()).hexdigest()[:16]

    def encode(self, pcm: Pcm) -> Codes:
        """Encode mono 24 kHz audio. `pcm` is (n,), padded to whole frames.

        Returns (ceil(n / 1920), codebooks). Raises AudioError if n is 0.
        """
        if len(pcm) == 0:
            raise AudioError("the audio to encode is empty; record at least a second")
        padded = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES)).astype(np.float32)
        with torch.inference_mode():
            codes = self._quantizer.encode(frames_of(padded, self._mels))[0, :, : self.codebooks]
            numpy: Codes = codes.to(torch.int32).numpy()
            return numpy

    def decoding(self) -> AbstractContextManager[Callable[[Codes], Pcm]]:
        """Decode a stream: state lives inside the `with`.

        The callable turns (n, codebooks) into (n * 1920,): the same samples however the stream is
        cut.
        """
        return opened(DecoderStream(self._decoder, self._quantizer), self._decode)

    def _decode(self, stream: DecoderStream, codes: Codes) -> Pcm:
        assert codes.ndim == 2 and codes.shape[1] == self.codebooks, codes.shape
        assert not len(codes) or 0 <= codes.min() <= codes.max() < self._sizes.entries, codes.max()
        if not len(codes):
            return np.zeros(0, np.float32)
        with torch.inference_mode(), threads(FOR_SMALL):
            frames = torch.from_numpy(codes.astype(np.int64))
            pcm: Pcm = torch.cat([stream.decode(frame) for frame in frames]).clamp_(-1, 1).numpy()
            return pcm


def _loaded(part: ModuleT, name: str, path: Path) -> ModuleT:
    part.load_state_dict(_read(path, f"{name}."))
    part.requires_grad_(False).eval()
    return part


def _read(path: Path, prefix: str) -> dict[str, Tensor]:
    """A part's tensors in float32, without the prefix. Raises CheckpointError.

    They are copied: a mapped page that was read counts as memory in use until its file is closed.
    """
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {
                name.removeprefix(prefix): file.get_tensor(name).to(torch.float32, copy=True)
                for name in names
            }
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error

"""The codec: moshi's Mimi, streamed, in float32. Knows neither CSM nor tensor names in files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from moshi.modules.conv import NormConvTranspose1d
from moshi.modules.transformer import RingKVCache
from moshi.utils.compile import no_compile, no_cuda_graph
from safetensors import safe_open
from torch import nn
from torch.overrides import TorchFunctionMode

from csm_chat.backends.mimi_files import Found, file_names, find_mimi, mimi_config
from csm_chat.backends.sizes import read_json
from csm_chat.errors import AudioError, CheckpointError
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Codes, Pcm

# frames given to the model at once: its attention cache has to hold them beside the window
_MAX_FRAMES = 16
_STEPS_PER_FRAME = 2  # Mimi's transformers run at 25 Hz
# what torch and moshi raise for sizes that are no sizes
_BAD_SIZES = (
    *(ArithmeticError, AssertionError, AttributeError, KeyError),
    *(RuntimeError, TypeError, ValueError),
)


def load_codec(folder: Path, codebooks: int, device: str = "cpu") -> MimiCodec:
    """Load Mimi from a folder, in float32, to speak in `codebooks`. Raises CheckpointError."""
    config_path = folder / "config.json"
    fields = read_json(config_path) if config_path.is_file() else {}
    found = find_mimi(folder, fields)
    mimi = _empty(folder, fields)
    if not 1 < codebooks <= mimi.total_codebooks:
        raise CheckpointError(
            f"{folder}: the model speaks in {codebooks} codebooks, the codec has "
            f"{mimi.total_codebooks}; take both from one checkpoint"
        )
    _fill(folder, mimi, found)
    mimi.set_num_codebooks(codebooks)
    return MimiCodec(mimi.to(device))


class MimiCodec:
    """Mimi, streamed frame by frame. One thread; decodes one stream at a time."""

    def __init__(self, mimi: MimiModel) -> None:
        self.codebooks: int = mimi.num_codebooks
        self.identity = _identity(mimi)
        self._mimi = mimi
        self._device = next(mimi.parameters()).device

    def encode(self, pcm: Pcm) -> Codes:
        """Encode mono 24 kHz audio. `pcm` is (n,), padded to whole frames.

        Returns (ceil(n / 1920), codebooks). Raises AudioError if n is 0.
        """
        assert not self._mimi.is_streaming, "encoding would disturb the stream being decoded"
        if len(pcm) == 0:
            raise AudioError("the audio to encode is empty; record at least a second")
        padded = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
        with _plain(self._device):
            codes = self._mimi.encode(torch.from_numpy(padded).to(self._device)[None, None])
            numpy: Codes = codes[0].T.to(torch.int32).contiguous().cpu().numpy()  # from (1, K, n)
            return numpy

    @contextmanager
    def decoding(self) -> Iterator[Callable[[Codes], Pcm]]:
        """Decode a stream: state lives inside the `with`.

        The callable turns (n, codebooks) into (n * 1920,): the samples of decoding the whole at
        once, within 1e-4, however the stream is cut.
        """
        assert not self._mimi.is_streaming, "one stream at a time"
        with ExitStack() as stack:
            with _plain(self._device):
                stack.enter_context(self._mimi.streaming(1))
                self._widen_caches()
            yield self._decode

    def _decode(self, codes: Codes) -> Pcm:
        assert self._mimi.is_streaming, "the stream's `with` has ended"
        assert codes.ndim == 2 and codes.shape[1] == self.codebooks, codes.shape
        entries = self._mimi.cardinality
        assert not len(codes) or 0 <= codes.min() <= codes.max() < entries, (codes.max(), entries)
        pieces = [
            self._decode_piece(codes[start : start + _MAX_FRAMES])
            for start in range(0, len(codes), _MAX_FRAMES)
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def _decode_piece(self, codes: Codes) -> Pcm:
        with _plain(self._device):
            rows = torch.from_numpy(codes.T.astype(np.int64))[None].to(self._device)  # (1, K, n)
            samples = self._mimi.decode(rows)[0, 0].clamp_(-1, 1)
            pcm: Pcm = samples.cpu().numpy()
            return pcm

    def _widen_caches(self) -> None:
        """Give the decoder's attention room for a piece beside its window.

        moshi's own hold just the window: the second step of a frame overwrites what the first one
        still attends to, and past 10 s streamed audio differs from the whole clip's.
        """
        for attention in _attentions(self._mimi):
            attention._streaming_state.kv_cache = RingKVCache(
                1,
                attention.num_heads,
                attention.embed_dim // attention.num_heads,
                attention.context + _MAX_FRAMES * _STEPS_PER_FRAME,
                device=self._device,
                dtype=torch.float32,
            )


def _identity(mimi: MimiModel) -> str:
    """Codecs that were trained apart differ in their first codebook already."""
    quantizer: Any = mimi.quantizer
    state = quantizer.rvq_first.state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _attentions(mimi: MimiModel) -> list[Any]:
    transformer: Any = mimi.decoder_transformer
    return [layer.self_attn for layer in transformer.transformer.layers]


class _TransposedConv(nn.ConvTranspose1d):
    """A transposed convolution with a kernel two strides long, as one product of matrices.

    PyTorch's own multiplies by the transposed weight, slow for the few columns of a short chunk:
    the widest made 45 of the 69 ms that a frame of the real Mimi took on one core, now it makes 2.
    """

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        stride = conv.stride[0]
        assert conv.kernel_size[0] == 2 * stride, conv
        super().__init__(conv.in_channels, conv.out_channels, 2 * stride, stride)

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        assert output_size is None and self.bias is not None
        stride, channels = self.stride[0], self.out_channels
        pieces = x.transpose(1, 2) @ self.weight.flatten(1)  # (B, T, channels * 2 * stride)
        pieces = pieces.view(*pieces.shape[:2], channels, 2, stride).permute(3, 0, 2, 1, 4)
        out = nn.functional.pad(pieces[0], (0, 0, 0, 1))  # (B, channels, T + 1, stride)
        out[:, :, 1:] += pieces[1]
        return out.flatten(2) + self.bias[:, None]


@contextmanager
def _plain(device: torch.device) -> Iterator[None]:
    """Run moshi for inference, `exact`."""
    with torch.inference_mode(), exact(device):
        yield


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
        with torch.device("meta"), _NoDraws():
            n_q = config["quantizer"]["n_q"]
            mimi = loaders.get_mimi(None, config, device="meta", num_codebooks=n_q)
            for module in mimi.decoder.modules():
                if isinstance(module, NormConvTranspose1d):
                    module.convtr = _TransposedConv(module.convtr)
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


class _NoDraws(TorchFunctionMode):
    """Leave new layers undrawn: on "meta" drawing the random weights imports sympy, for 2 s."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> torch.Tensor | Any:
        kwargs = kwargs or {}
        if func in (nn.init.uniform_, nn.init.kaiming_uniform_):
            return kwargs["tensor"]
        return func(*args, **kwargs)


def _fill(folder: Path, mimi: MimiModel, found: Found) -> None:
    """Read the weights. Raises CheckpointError."""
    shapes = {name: tuple(tensor.shape) for name, tensor in mimi.state_dict().items()}
    try:
        names = file_names(shapes, found)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    heads = _attentions(mimi)[0].num_heads
    state = {}
    with ExitStack() as stack:
        files = {
            path: stack.enter_context(_open(path)) for path in {s.file for s in found.values()}
        }
        for ours, theirs in names.items():
            stored = [found[name] for name in theirs]
            parts = [files[part.file].get_tensor(part.name).float() for part in stored]
            state[ours] = _fused(parts, heads) if len(parts) > 1 else parts[0]
    # assigned, not copied: what is float32 stays mapped, and the encoder unread until a clip comes
    mimi.load_state_dict(state, assign=True)
    mimi.requires_grad_(False)


def _open(path: Path) -> Any:
    return safe_open(path, framework="pt")  # type: ignore[no-untyped-call]  # the library's


def _fused(parts: list[torch.Tensor], heads: int) -> torch.Tensor:
    """Query, key and value rows in one matrix, as moshi has them, from transformers' three."""
    query, key, value = parts
    return torch.cat([_interleaved(query, heads), _interleaved(key, heads), value])


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder each head's rows for RoPE: transformers pairs the two halves, moshi neighbours."""
    rows, columns = weight.shape
    halves = weight.view(heads, 2, rows // heads // 2, columns)
    return halves.transpose(1, 2).reshape(rows, columns)

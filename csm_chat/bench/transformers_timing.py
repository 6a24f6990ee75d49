"""transformers' CsmForConditionalGeneration in the sizes of a checkpoint: what a `Remote` serves.

Its weights are random: they cost what others cost. Prompts, audio and frames are those it is given
by its own processor, and everything goes through `generate`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csm_chat.bench import machine
from csm_chat.bench.answers import Ready, TimedTake
from csm_chat.bench.dialogue import LINE_ROWS, turns
from csm_chat.bench.limit import weight_bytes
from csm_chat.bench.random_checkpoint import draw
from csm_chat.checkpoint.sizes import CsmSizes, read_json, read_sizes, stack_fields
from csm_chat.codec.config import mimi_config
from csm_chat.engine.torch.load import NoDraws
from csm_chat.types import FRAME_SAMPLES

DTYPE = "bfloat16"  # what it is run in; its own float32 is slower
_WARM_UP = 2  # frames
_BESIDE_BYTES = 1.5e9
_TOP_K = 50
_N_IDS = 32  # of text tokens drawn


class Transformers:
    """A model ready to generate."""

    def __init__(self, notify: Callable[[str], None], folder: str, device: str) -> None:
        """Raises CsmChatError if there is no memory for it."""
        sizes = read_sizes(Path(folder))
        if device == "cpu":
            n_bytes = weight_bytes(sizes, DTYPE) + _BESIDE_BYTES
            machine.check_memory(n_bytes, "transformers' model", "leave --vs out")
        self._sizes, self._device = sizes, device
        self._model = _model(sizes, Path(folder)).to(device)
        self._sampling = _sampling(sizes)
        self.take(LINE_ROWS, _WARM_UP)

    def ready(self) -> Ready:
        library = f"transformers {version('transformers')}"
        threads, rows = torch.get_num_threads(), self._sizes.context_rows
        return Ready("transformers", "", self._device, DTYPE, rows, threads, library)

    def peak_bytes(self) -> int:
        return machine.peak_bytes()

    def take(self, n_rows: int, n_frames: int) -> TimedTake:
        """As ours; it computes all rows each time, and decodes the frames together at the end."""
        ids = torch.randint(1, _N_IDS, (1, n_rows), device=self._device)
        row = ids[:, :1]
        again_s = self._generate(1, input_ids=row)[0][0]
        times, codes = self._generate(n_frames + 1, input_ids=ids)
        start = time.perf_counter()
        with torch.inference_mode():
            self._model.codec_model.decode(codes[0].T[None])
        self._wait()
        decode_s = (time.perf_counter() - start) / len(codes[0])
        return TimedTake(n_rows, times[0], again_s, tuple(times[1:]), (decode_s,))

    def first_sample(self, n_rows: int) -> float:
        """Seconds from a new line to its first sample, in a conversation of `n_rows` so far.

        It is given what was said as its processor gives it: text, and audio that it encodes.
        """
        inputs = self._asked(n_rows)
        start = time.perf_counter()
        self._generate(1, **inputs, output_audio=True)
        self._wait()
        return time.perf_counter() - start

    def _asked(self, n_rows: int) -> dict[str, Tensor]:
        """What the processor makes of a conversation and a line."""
        config, ids, ends = self._model.config, [], [0]
        for n_frames in turns(n_rows) if n_rows else ():
            ids += [_text(), torch.full((n_frames,), config.audio_token_id)]
            ids.append(torch.tensor([config.audio_eos_token_id]))
            ends.append(ends[-1] + n_frames * FRAME_SAMPLES)
        inputs = {"input_ids": torch.cat([*ids, _text()])[None].to(self._device)}
        if ends[-1]:
            pcm = torch.randn(1, 1, ends[-1], device=self._device, dtype=self._model.dtype)
            inputs["input_values"] = pcm * 0.1
            inputs["input_values_cutoffs"] = torch.tensor([ends[1:]], device=self._device)
        return inputs

    def _generate(self, n_frames: int, **inputs: Any) -> tuple[list[float], Any]:
        """Seconds of each frame, the first one's with the prompt, and what was generated."""
        watch = _Watch()
        with torch.inference_mode():
            made = self._model.generate(
                **inputs,
                attention_mask=torch.ones_like(inputs["input_ids"]),
                max_new_tokens=n_frames,
                streamer=watch,
                **self._sampling,
            )
        assert len(watch.times) == n_frames + 1, "it ended early"
        steps = zip(watch.times[1:], watch.times[:-1], strict=True)
        return [end - start for end, start in steps], made

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()
        elif self._device == "mps":
            torch.mps.synchronize()


class _Watch:
    """Notes when a frame is handed out, and before the first when it is asked for.

    transformers' streamers are duck-typed: `put` gets the prompt, then each frame.
    """

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def _text() -> Tensor:
    return torch.randint(1, _N_IDS, (LINE_ROWS,))


def _sampling(sizes: CsmSizes) -> dict[str, Any]:
    """As our own: drawn from the likeliest codes, which keeps to those the codec knows."""
    drawn = {"do_sample": True, "top_k": min(_TOP_K, sizes.entries // 4)}
    return drawn | {f"depth_decoder_{name}": value for name, value in drawn.items()}


def _model(sizes: CsmSizes, folder: Path) -> Any:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it explains itself on stderr
    from transformers import CsmConfig, CsmForConditionalGeneration

    make_config: Any = CsmConfig  # untyped in 4
    config = make_config(**_config(sizes, folder))
    with NoDraws():  # drawing a billion weights takes minutes, filling them seconds
        model = CsmForConditionalGeneration._from_config(config, dtype=getattr(torch, DTYPE))
    model.requires_grad_(False).eval()
    for name, tensor in model.named_parameters():
        tensor.copy_(draw(name, tuple(tensor.shape)))
    for name, tensor in model.codec_model.named_buffers():
        if name.endswith(("embed_sum", "cluster_usage")):
            tensor.copy_(draw(name, tuple(tensor.shape)))
    # of codes that the codec has no entry for the logits are 0, so that others are likelier
    model.lm_head.weight[sizes.entries :] = 0
    model.depth_decoder.codebooks_head.weight[:, :, sizes.entries :] = 0
    return model


def _config(sizes: CsmSizes, folder: Path) -> dict[str, Any]:
    """A checkpoint's sizes in the fields of transformers' CsmConfig. Raises CheckpointError."""
    path = folder / "config.json"
    last = sizes.text_vocab - 1  # its marks stand for text nobody draws here
    return {
        **stack_fields(sizes.backbone),
        "num_codebooks": sizes.codebooks,
        "vocab_size": sizes.audio_vocab,
        "text_vocab_size": sizes.text_vocab,
        "max_position_embeddings": sizes.context_rows,
        "audio_token_id": last,
        "audio_eos_token_id": last - 1,
        "pad_token_id": last - 2,
        "bos_token_id": last - 3,
        "codebook_pad_token_id": sizes.audio_vocab - 1,
        "depth_decoder_config": {
            **stack_fields(sizes.depth),
            "backbone_hidden_size": sizes.backbone.width,
            "num_codebooks": sizes.codebooks,
            "vocab_size": sizes.audio_vocab,
            "max_position_embeddings": sizes.codebooks + 1,
        },
        "codec_config": codec_fields(mimi_config(folder, read_json(path))),
    }


def codec_fields(config: dict[str, Any]) -> dict[str, Any]:
    """moshi's configuration of a Mimi in the fields of transformers'."""
    seanet, quantizer = config["seanet"], config["quantizer"]
    transformer = config["transformer"]
    return {
        "model_type": "mimi",
        "hidden_size": seanet["dimension"],
        "num_filters": seanet["n_filters"],
        "num_residual_layers": seanet["n_residual_layers"],
        "upsampling_ratios": seanet["ratios"],
        "kernel_size": seanet["kernel_size"],
        "last_kernel_size": seanet["last_kernel_size"],
        "residual_kernel_size": seanet["residual_kernel_size"],
        "dilation_growth_rate": seanet["dilation_base"],
        "compress": seanet["compress"],
        "codebook_size": quantizer["bins"],
        "codebook_dim": quantizer["dimension"],
        "vector_quantization_hidden_dimension": quantizer["dimension"],
        "num_quantizers": quantizer["n_q"],
        "upsample_groups": seanet["dimension"],
        "num_hidden_layers": transformer["num_layers"],
        "intermediate_size": transformer["dim_feedforward"],
        "num_attention_heads": transformer["num_heads"],
        "num_key_value_heads": transformer["num_heads"],
        "head_dim": transformer["d_model"] // transformer["num_heads"],
        "sliding_window": transformer["context"],
        "rope_theta": transformer["max_period"],
    }

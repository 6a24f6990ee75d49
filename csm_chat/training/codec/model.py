"""A small Mimi and its training step. Knows moshi's classes, no losses but the commitment.

The model is moshi's own. Only the quantiser's training step is written here: moshi's draws one
number of codebooks for a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from moshi.models import loaders
from moshi.modules.seanet import SEANetResnetBlock
from moshi.utils.compile import no_compile
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.types import FRAMES_PER_S, SAMPLE_RATE

_CHECK_EXPIRED_EVERY = 5  # steps; moshi's own counter is not in a checkpoint
_SPEECH_LEVEL = 0.1  # root mean square of what is loud
_BRANCH_LEVEL = 0.3  # of a residual branch at first


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the codec. Most of the time goes at 24 kHz; a large last stride keeps it there."""

    width: int = 192
    n_filters: int = 24  # at 24 kHz, doubled at every stride
    strides: tuple[int, ...] = (5, 4, 6, 8)  # decoder's order; down to 25 steps a second
    heads: int = 4
    layers: int = 2
    feedforward: int = 384
    context: int = 24  # steps of 40 ms; longer than a crop's could not be learnt
    codebooks: int = 8
    entries: int = 1024
    code_width: int = 64


def mimi_config(sizes: Sizes) -> dict[str, Any]:
    """moshi's configuration, as mimi_config.json holds it."""
    return {
        "sample_rate": SAMPLE_RATE,
        "channels": 1,
        "frame_rate": FRAMES_PER_S,
        "seanet": {
            "channels": 1,
            "dimension": sizes.width,
            "causal": True,
            "n_filters": sizes.n_filters,
            "n_residual_layers": 1,
            "activation": "ELU",
            "compress": 2,
            "dilation_base": 2,
            "disable_norm_outer_blocks": 0,
            "kernel_size": 7,
            "residual_kernel_size": 3,
            "last_kernel_size": 3,
            "norm": "none",
            "pad_mode": "constant",
            "ratios": list(sizes.strides),
            "true_skip": True,
        },
        "quantizer": {
            "dimension": sizes.code_width,
            "n_q": sizes.codebooks,
            "bins": sizes.entries,
            "input_dimension": sizes.width,
            "output_dimension": sizes.width,
        },
        "transformer": {
            "d_model": sizes.width,
            "num_heads": sizes.heads,
            "num_layers": sizes.layers,
            "causal": True,
            "layer_scale": 0.1,
            "context": sizes.context,
            "conv_layout": True,
            "max_period": 10000,
            "gating": "none",
            "norm": "layer_norm",
            "positional_embedding": "rope",
            "dim_feedforward": sizes.feedforward,
            "input_dimension": sizes.width,
            "output_dimensions": [sizes.width],
        },
    }


def new_mimi(sizes: Sizes) -> Any:
    """moshi's MimiModel with weights to begin with, drawn from torch's generator."""
    with no_compile():
        model = loaders.get_mimi(
            None, mimi_config(sizes), device="cpu", num_codebooks=sizes.codebooks
        )
    draw_weights(model)
    return model


@torch.no_grad()
def draw_weights(model: Any) -> None:
    """Draw the convolutions anew, so that levels last from the waveform to the codes and back.

    PyTorch's own draw loses half the level at each: after 15 of them codes are all alike, and
    training stood still for hundreds of steps.
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            continue
        inputs = module.weight[0].numel()
        if isinstance(module, nn.ConvTranspose1d):  # two strides long: two inputs an output
            inputs = module.in_channels // module.groups * 2
        module.weight.normal_(0, inputs**-0.5)
        if module.bias is not None:
            module.bias.zero_()
    for side in (model.encoder, model.decoder):
        for block in side.model:
            if isinstance(block, SEANetResnetBlock):
                last: Any = block.block[-1]
                last.conv.conv.weight *= _BRANCH_LEVEL
    model.encoder.model[0].conv.conv.weight /= _SPEECH_LEVEL
    model.decoder.model[-1].conv.conv.weight *= _SPEECH_LEVEL


def encoded(model: Any, pcm: Tensor) -> Tensor:
    """(B, 1, n) to (B, width, n / 1920)."""
    (steps,) = model.encoder_transformer(model.encoder(pcm))
    latents: Tensor = model.downsample(steps)
    return latents


def decoded(model: Any, latents: Tensor) -> Tensor:
    """(B, width, frames) to (B, 1, n)."""
    (steps,) = model.decoder_transformer(model.upsample(latents))
    pcm: Tensor = model.decoder(steps)
    return pcm


def quantise(
    model: Any, latents: Tensor, depths: Tensor, step: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Quantise each item to its own number of codebooks, with gradients straight through.

    Returns (B, width, frames), the commitment loss, and what codebook 0 says, 1, and 1 to half of
    all together, each as (B, frames, code width). Codebooks follow their vectors and dead entries
    are replaced, by moshi's own step; all of them learn from all items.
    """
    groups = model.quantizer.rvq_first, model.quantizer.rvq_rest
    if not bool(depths.any()):
        first, rest = (group.input_proj(latents) for group in groups)
        out = groups[0].output_proj(first) + groups[1].output_proj(rest)
        return out, latents.new_zeros(()), [x.transpose(1, 2) for x in (first, rest, rest)]
    out, losses, level = torch.zeros_like(latents), [], 0
    half = max(2, sum(len(group.vq.layers) for group in groups) // 2)
    asked = (1, 2, half)  # how many codebooks have spoken, the first one in a group of its own
    said: dict[int, Tensor] = {}
    passes = (depths == 0)[:, None, None]
    for group in groups:
        vectors = group.input_proj(latents).transpose(1, 2)  # (B, frames, code width)
        present = passes | (depths > level)[:, None, None]
        residual, total = vectors, torch.zeros_like(vectors)
        may_begin = True
        for layer in group.vq.layers:
            codebook = layer._codebook
            # one level a step: what its own batch made leaves nothing of that batch to the next
            had_begun, entry = codebook.initialized, _nearest(codebook, residual, step, may_begin)
            may_begin = had_begun
            losses.append(functional.mse_loss(residual, entry))
            residual = residual - entry
            total = total + entry * (depths > level)[:, None, None]
            level += 1
            if level in asked:
                said[level] = torch.where(passes, vectors, _straight(vectors, vectors - residual))
        total = torch.where(passes, vectors, total)
        straight = _straight(vectors, total) * present
        out = out + group.output_proj(straight.transpose(1, 2))
    return out, torch.stack(losses).sum(), [said[n] for n in asked]


def _straight(vectors: Tensor, quantised: Tensor) -> Tensor:
    """The quantised ones, with the vectors' gradients."""
    return vectors + (quantised - vectors).detach()


def _nearest(codebook: Any, vectors: Tensor, step: int, may_begin: bool) -> Tensor:
    """The entries nearest to (..., width) vectors, detached; the codebook learns from them."""
    codebook._next_unused_check = 1 if step % _CHECK_EXPIRED_EVERY == 0 else 2
    with torch.no_grad():
        entries: Tensor = codebook(vectors.detach(), initialize=may_begin).quantized
    return entries


def forget_embeddings(model: Any) -> None:
    """moshi keeps the entries it computed from usage and sums, also when these change."""
    for name, module in model.named_modules():
        if name.endswith("_codebook"):
            module.register_buffer("_embedding", None, persistent=False)

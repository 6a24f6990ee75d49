"""One map of tensor names for all layouts and backends. Opens no file.

A backend asks for the plan and copies each tensor where its model keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from csm_chat.checkpoint.files import Shape
from csm_chat.checkpoint.sizes import CsmSizes, StackSizes
from csm_chat.errors import CheckpointError


class Rows(Protocol):
    """Rows of a matrix, whichever framework holds them."""

    @property
    def shape(self) -> Any: ...
    def reshape(self, shape: Any, /) -> Any: ...


R = TypeVar("R", bound=Rows)

# parts that are tables: rows looked up by number
TABLES = ("text_embeddings", "audio_embeddings")


@dataclass(frozen=True, slots=True)
class Source:
    """One tensor of a checkpoint and the part of the model it is.

    Parts: text_embeddings, audio_embeddings, projection, codebook0_head, depth_heads, and of each
    stack ("backbone", "depth") `<stack>.norm` and `<stack>.layers.<i>.` attn_norm, q, k, v,
    out, mlp_norm, gate, up, down. `depth_heads` is (codebooks - 1, width, audio_vocab), used as
    `hidden @ head`; all other matrices are (out, in).
    """

    part: str
    name: str  # in the file
    shape: Shape  # in the file and of the part
    interleaved_heads: int  # above 0: rows of that many heads, whose neighbours RoPE turns together


@dataclass(frozen=True, slots=True)
class Layout:
    column: int  # of the tables below
    interleaved: bool  # RoPE turns neighbours (0, 1) instead of halves (0, n / 2)


ORIGINAL = Layout(0, interleaved=True)  # SesameAILabs/csm: torchtune's names
MLX = Layout(1, interleaved=True)  # senstella/csm-1b-mlx
TRANSFORMERS = Layout(2, interleaved=False)
LAYOUTS = {"original": ORIGINAL, "mlx": MLX, "transformers": TRANSFORMERS}
_PREFIX = "model."  # of every name in what mlx-audio saves

# transformers ties the depth decoder's table to the audio table; a saved file may hold either name
_TIED = "depth_decoder.model.embed_tokens.weight"
_TIED_TO = "backbone_model.embed_tokens.embed_audio_tokens.weight"

# columns: Sesame's original, MLX, transformers
_TOP = {
    "text_embeddings": (
        "text_embeddings.weight",
        "text_embeddings.weight",
        "embed_text_tokens.weight",
    ),
    "audio_embeddings": ("audio_embeddings.weight", "audio_embeddings.weight", _TIED_TO),
    "projection": (
        "projection.weight",
        "projection.weight",
        "depth_decoder.model.inputs_embeds_projector.weight",
    ),
    "codebook0_head": ("codebook0_head.weight", "codebook0_head.weight", "lm_head.weight"),
    "depth_heads": ("audio_head", "audio_head", "depth_decoder.codebooks_head.weight"),
}
_STACK = {
    "backbone": ("backbone.", "backbone.", "backbone_model."),
    "depth": ("decoder.", "decoder.", "depth_decoder.model."),
}
_NORM = ("norm.scale", "norm.weight", "norm.weight")
_LAYER = {
    "attn_norm": ("sa_norm.scale", "input_layernorm.weight", "input_layernorm.weight"),
    "q": ("attn.q_proj.weight", "self_attn.q_proj.weight", "self_attn.q_proj.weight"),
    "k": ("attn.k_proj.weight", "self_attn.k_proj.weight", "self_attn.k_proj.weight"),
    "v": ("attn.v_proj.weight", "self_attn.v_proj.weight", "self_attn.v_proj.weight"),
    "out": ("attn.output_proj.weight", "self_attn.o_proj.weight", "self_attn.o_proj.weight"),
    "mlp_norm": (
        "mlp_norm.scale",
        "post_attention_layernorm.weight",
        "post_attention_layernorm.weight",
    ),
    "gate": ("mlp.w1.weight", "mlp.gate_proj.weight", "mlp.gate_proj.weight"),
    "down": ("mlp.w2.weight", "mlp.down_proj.weight", "mlp.down_proj.weight"),
    "up": ("mlp.w3.weight", "mlp.up_proj.weight", "mlp.up_proj.weight"),
}

# the codec, and buffers that some tools save: RoPE tables, torchtune's caches and masks, offsets
_IGNORED = re.compile(
    r"codec_model\.|(.*\.)?(_?rope|rotary_emb|pos_embeddings|kv_cache)\."
    rf"|.*causal_mask$|.*audio_tokens_offsets$|{re.escape(_TIED)}$"
)


def plan(sizes: CsmSizes, found: Mapping[str, Shape], folder: Path) -> tuple[Source, ...]:
    """Which tensor is which part. The layout is told by the tensor names alone.

    `found` has packed tensors under their unpacked shapes: a backend that reads them sees to it.

    Raises CheckpointError when a tensor is missing, of another shape than expected, or extra.
    """
    expected = part_shapes(sizes)
    prefix = _PREFIX if all(name.startswith(_PREFIX) for name in found) else ""
    layout = max(
        LAYOUTS.values(),
        key=lambda layout: len(part_names(sizes, layout, prefix).values() & found.keys()),
    )
    names = part_names(sizes, layout, prefix)
    if not names.values() & found.keys():
        seen = ", ".join(sorted(found)[:3]) or "nothing"
        raise CheckpointError(f"{folder}: not a CSM checkpoint; it holds {seen} ...")
    if layout is TRANSFORMERS and _TIED_TO not in found and _TIED in found:
        names["audio_embeddings"] = _TIED
    if any(name.endswith(".scales") for name in found):
        raise CheckpointError(
            f"{folder}: weights packed by MLX, which backend mlx alone reads; take unpacked ones"
        )
    problems = [*_problems(expected, names, found)]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CheckpointError(
            f"{folder}: {problems[0]}{more}; is this config.json of these weights?"
        )
    heads = rope_heads(sizes) if layout.interleaved else {}
    return tuple(
        Source(part, names[part], shape, heads.get(part, 0)) for part, shape in expected.items()
    )


def _problems(
    expected: Mapping[str, Shape], names: Mapping[str, str], found: Mapping[str, Shape]
) -> Iterator[str]:
    for part, shape in expected.items():
        name = names[part]
        if name not in found:
            yield f"tensor {name} is missing; expected {list(shape)}, found none"
        elif found[name] != shape:
            yield f"tensor {name}: expected {list(shape)}, found {list(found[name])}"
    for name in sorted(found.keys() - set(names.values())):
        if not _IGNORED.match(name):
            yield f"tensor {name}: expected none, found {list(found[name])}"


def part_names(sizes: CsmSizes, layout: Layout, prefix: str = "") -> dict[str, str]:
    """Each part of a model, under the name it has in files of that layout."""
    column = layout.column
    names = {part: prefix + row[column] for part, row in _TOP.items()}
    for stack, size in _stacks(sizes):
        of_stack = prefix + _STACK[stack][column]
        names[f"{stack}.norm"] = of_stack + _NORM[column]
        for i in range(size.layers):
            for part, row in _LAYER.items():
                names[f"{stack}.layers.{i}.{part}"] = f"{of_stack}layers.{i}.{row[column]}"
    return names


def part_shapes(sizes: CsmSizes) -> dict[str, Shape]:
    width, depth_width = sizes.backbone.width, sizes.depth.width
    shapes: dict[str, Shape] = {
        "text_embeddings": (sizes.text_vocab, width),
        "audio_embeddings": (sizes.codebooks * sizes.audio_vocab, width),
        "projection": (depth_width, width),
        "codebook0_head": (sizes.audio_vocab, width),
        "depth_heads": (sizes.codebooks - 1, depth_width, sizes.audio_vocab),
    }
    for stack, size in _stacks(sizes):
        shapes[f"{stack}.norm"] = (size.width,)
        for i in range(size.layers):
            for part, shape in _layer_shapes(size).items():
                shapes[f"{stack}.layers.{i}.{part}"] = shape
    return shapes


def _layer_shapes(size: StackSizes) -> dict[str, Shape]:
    queries, keys = size.heads * size.head_width, size.kv_heads * size.head_width
    return {
        "attn_norm": (size.width,),
        "q": (queries, size.width),
        "k": (keys, size.width),
        "v": (keys, size.width),
        "out": (size.width, queries),
        "mlp_norm": (size.width,),
        "gate": (size.mlp_width, size.width),
        "up": (size.mlp_width, size.width),
        "down": (size.width, size.mlp_width),
    }


def rope_heads(sizes: CsmSizes) -> dict[str, int]:
    """Parts whose rows RoPE turns, and how many heads they hold."""
    heads = {}
    for stack, size in _stacks(sizes):
        for i in range(size.layers):
            heads[f"{stack}.layers.{i}.q"] = size.heads
            heads[f"{stack}.layers.{i}.k"] = size.kv_heads
    return heads


def _stacks(sizes: CsmSizes) -> tuple[tuple[str, StackSizes], ...]:
    return (("backbone", sizes.backbone), ("depth", sizes.depth))


def halves_first(rows: R, heads: int) -> R:
    """Where RoPE pairs neighbours, each head's rows in the order 0, 2, 4 ... 1, 3, 5 ...

    0 heads leave them as they are. Packed rows too: what is packed together is columns.
    """
    return _turned(rows, (heads, -1, 2, rows.shape[-1])) if heads else rows


def pairs_first(rows: R, heads: int) -> R:
    """The inverse of `halves_first`."""
    return _turned(rows, (heads, 2, -1, rows.shape[-1])) if heads else rows


def _turned(rows: R, shape: tuple[int, ...]) -> R:
    turned: R = rows.reshape(shape).swapaxes(1, 2).reshape(rows.shape)
    return turned

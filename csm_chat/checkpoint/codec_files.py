"""Mimi in a checkpoint folder: its files, and its tensors' names in them. Knows no framework.

Names are moshi's; those of transformers' MimiModel are mapped to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from csm_chat.checkpoint.files import INDEX, Shape, safetensors_shapes, shards
from csm_chat.errors import CheckpointError

KYUTAI_FILE = "tokenizer-e351c8d8-checkpoint125.safetensors"
_KYUTAI_PATTERNS = ("tokenizer-*.safetensors", "mimi.safetensors")
SPECTRAL_CONFIG = "codec_config.json"  # beside the weights of a codec that is no Mimi
SPECTRAL_WEIGHTS = "codec.safetensors"
BUNDLED_PREFIX = "codec_model."  # of the codec's tensors inside a transformers checkpoint

_Names: TypeAlias = tuple[tuple[str, str], ...]
# from moshi's tensor names to those of transformers' MimiModel
_TRANSFORMERS_NAMES: _Names = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"(\.convtr|\.conv)+\.(weight|bias)$", r".conv.\2"),
    (r"_transformer\.transformer\.", "_transformer."),
    (r"\.self_attn\.out_projs\.0\.", ".self_attn.o_proj."),
    (r"\.linear(\d)\.", r".mlp.fc\1."),
    (r"\.norm1\.", ".input_layernorm."),
    (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.layer_scale_1\.", ".self_attn_layer_scale."),
    (r"\.layer_scale_2\.", ".mlp_layer_scale."),
    (r"\.rvq_first\.", ".semantic_residual_vector_quantizer."),
    (r"\.rvq_rest\.", ".acoustic_residual_vector_quantizer."),
    (r"\.vq\.layers\.(\d+)\._codebook\._?", r".layers.\1.codebook."),
    (r"\.embedding_sum$", ".embed_sum"),
)
# from moshi's tensor names to those that Kyutai's file was written with
_KYUTAI_NAMES: _Names = (
    (r"\.in_projs\.0\.weight$", ".in_proj_weight"),
    (r"\.out_projs\.0\.weight$", ".out_proj.weight"),
)
_TRANSFORMERS_MARK = "encoder.layers.0.conv.weight"
_FUSED = ".in_projs.0."  # query, key and value in one matrix; transformers keeps three


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies."""

    file: Path
    name: str  # in the file
    shape: Shape


Found: TypeAlias = Mapping[str, Stored]  # by name, without the prefix


def is_spectral(folder: Path) -> bool:
    """Whether a folder's codec is not Mimi but has a config of its own."""
    return (folder / SPECTRAL_CONFIG).is_file()


def holds_codec(folder: Path, fields: Mapping[str, Any]) -> bool:
    """Whether a checkpoint folder, whose config.json holds `fields`, has a codec."""
    if is_spectral(folder):
        return (folder / SPECTRAL_WEIGHTS).is_file()
    try:
        find_mimi(folder, fields)
    except CheckpointError:
        return False
    return True


def find_mimi(folder: Path, fields: Mapping[str, Any]) -> Found:
    """The codec's tensors in a checkpoint folder, whose config.json holds `fields`.

    Looked for in this order: Kyutai's file, `codec_model.*` tensors of a transformers checkpoint,
    a Mimi of transformers'. Raises CheckpointError.
    """
    for pattern in _KYUTAI_PATTERNS:
        for file in sorted(folder.glob(pattern)):
            return _stored(file, "")
    prefix = "" if fields.get("model_type") == "mimi" else BUNDLED_PREFIX
    single = folder / "model.safetensors"
    found = _stored(single, prefix) if single.is_file() else {}
    # sesame/csm-1b has the original, without a codec, in model.safetensors and shards beside it
    for index in () if found else sorted(folder.glob(f"*{INDEX}")):
        for file in shards(index, prefix):
            found |= _stored(file, prefix)
    if not found:
        raise CheckpointError(
            f"{folder}: no codec here; put {KYUTAI_FILE} "
            "of kyutai/moshiko-pytorch-bf16 beside the weights"
        )
    return found


def _stored(file: Path, prefix: str) -> dict[str, Stored]:
    return {
        name[len(prefix) :]: Stored(file, name, shape)
        for name, shape in safetensors_shapes(file).items()
        if name.startswith(prefix)
    }


def file_names(expected: Mapping[str, Shape], found: Found) -> dict[str, tuple[str, ...]]:
    """For each tensor of moshi's model its names in the files: one, or query, key and value.

    Raises CheckpointError when a tensor is missing, misshapen or one too many.
    """
    table = _TRANSFORMERS_NAMES if _TRANSFORMERS_MARK in found else _KYUTAI_NAMES
    names = {name: _file_names(name, table, found) for name in expected}
    problems = [*_problems(names, expected, found)]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CheckpointError(f"the codec's {problems[0]}{more}; take config and weights together")
    return names


def _file_names(name: str, table: _Names, found: Found) -> tuple[str, ...]:
    renamed = name
    for pattern, replacement in table:
        renamed = re.sub(pattern, replacement, renamed)
    if table is _TRANSFORMERS_NAMES and _FUSED in renamed:
        return tuple(renamed.replace(_FUSED, f".{part}_proj.") for part in "qkv")
    return (name,) if name in found else (renamed,)


def _problems(
    names: Mapping[str, tuple[str, ...]], expected: Mapping[str, Shape], found: Found
) -> Iterator[str]:
    for ours, theirs in names.items():
        rows, *rest = expected[ours]
        shape = [rows // len(theirs), *rest]
        for name in theirs:
            if name not in found:
                yield f"tensor {name} is missing; expected {shape}, found none"
            elif list(found[name].shape) != shape:
                yield f"tensor {name}: expected {shape}, found {list(found[name].shape)}"
    known = {name for theirs in names.values() for name in theirs}
    for name in sorted(found.keys() - known):
        yield f"tensor {name}: expected none, found {list(found[name].shape)}"

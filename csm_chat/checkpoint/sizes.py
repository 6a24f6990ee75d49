"""The sizes of a CSM, from a config.json with transformers' fields or Sesame's flavour names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from csm_chat.errors import CheckpointError
from csm_chat.plain_files import read_bytes

MIMI_ENTRIES = 2048  # of a codebook of Mimi; CSM's audio vocabulary has a few ids more
FEW_WEIGHTS = 2**20  # of a matrix, for which a core's own cache has room
_CONTEXT_ROWS = 2048

# A wrong file is to end in a line, not in the machine's memory: tables, caches and lists of names
# are made in these sizes before a tensor is read.
_CONFIG_BYTES = 20_000_000  # of any JSON file; an index of CSM-1B has 50 kB
_MOST = {"num_hidden_layers": 256, "max_position_embeddings": 65_536, "num_codebooks": 256}
_MOST_OF_REST = 1 << 20
_MOST_NUMBER = 1e12

_Fields: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions as Llama 3 scales them. A factor of 1 is no scaling."""

    theta: float = 500_000.0
    factor: float = 32.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_rows: float = 8192.0


@dataclass(frozen=True, slots=True)
class StackSizes:
    """One transformer: the backbone, or the depth decoder."""

    layers: int
    width: int
    mlp_width: int
    heads: int
    kv_heads: int
    head_width: int
    norm_eps: float = 1e-5
    rope: Rope = Rope()


@dataclass(frozen=True, slots=True)
class CsmSizes:
    backbone: StackSizes
    depth: StackSizes
    text_vocab: int
    audio_vocab: int  # ids of a codebook
    codebooks: int
    entries: int  # codes the codec has an entry for; ids from here on are never sampled
    context_rows: int

    @property
    def is_small(self) -> bool:
        """Whether its matrices lie in a core's own cache, as the built-in voice's do."""
        return self.backbone.width * self.backbone.mlp_width <= FEW_WEIGHTS


# the flavours of SesameAILabs/csm; also what a field that config.json leaves out means
_FLAVOURS = {
    "llama-1B": StackSizes(
        layers=16, width=2048, mlp_width=8192, heads=32, kv_heads=8, head_width=64
    ),
    "llama-100M": StackSizes(
        layers=4, width=1024, mlp_width=8192, heads=8, kv_heads=2, head_width=128
    ),
}


def read_sizes(folder: Path) -> CsmSizes:
    """Sizes from `folder`/config.json. Raises CheckpointError."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; download it beside the weights")
    fields = read_json(path)
    # the codec's own sizes, beside a CSM whose config.json does not hold them
    if (bins := _codec_entries(folder)) is not None:
        fields = {"codec_config": {"codebook_size": bins}} | fields
    try:
        return parse_sizes(fields)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _codec_entries(folder: Path) -> object:
    """What the codec's own config calls them; None where there is no such file."""
    spectral, mimi = folder / "codec_config.json", folder / "mimi_config.json"
    if spectral.is_file():
        return read_json(spectral).get("entries")
    return _object(read_json(mimi), "quantizer").get("bins") if mimi.is_file() else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises CheckpointError."""
    try:
        fields = json.loads(read_bytes(path, _CONFIG_BYTES).decode("utf-8"))
    except RecursionError as error:
        raise CheckpointError(f"{path}: nested too deep; download it again") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable JSON ({error}); download it again") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: holds no JSON object; download it again")
    return fields


def parse_sizes(fields: _Fields) -> CsmSizes:
    """Sizes from a config.json's fields; one left out is CSM-1B's. Raises CheckpointError."""
    if fields.get("tie_codebooks_embeddings") is False:
        raise CheckpointError("tie_codebooks_embeddings is false; only tied tables are supported")
    depth_fields = _object(fields, "depth_decoder_config")
    backbone = _stack(fields, _flavour(fields, "backbone_flavor", "llama-1B"))
    depth = _flavour(fields, "decoder_flavor", "llama-100M")
    depth = _stack(depth_fields, replace(depth, rope=backbone.rope))
    audio_vocab = _count(fields, ("vocab_size", "audio_vocab_size"), MIMI_ENTRIES + 3)
    entries = _count(_object(fields, "codec_config"), ("codebook_size",), MIMI_ENTRIES)
    codebooks = _count(fields, ("num_codebooks", "audio_num_codebooks"), 32)
    if codebooks < 2:
        raise CheckpointError(f"num_codebooks is {codebooks}; a CSM has 2 or more")
    return CsmSizes(
        backbone=backbone,
        depth=depth,
        text_vocab=_count(fields, ("text_vocab_size",), 128_256),
        audio_vocab=audio_vocab,
        codebooks=codebooks,
        entries=min(entries, audio_vocab),
        context_rows=_count(fields, ("max_position_embeddings",), _CONTEXT_ROWS),
    )


def _stack(fields: _Fields, default: StackSizes) -> StackSizes:
    width = _count(fields, ("hidden_size",), default.width)
    heads = _count(fields, ("num_attention_heads",), default.heads)
    kv_heads = _count(fields, ("num_key_value_heads",), default.kv_heads)
    same = (width, heads) == (default.width, default.heads)
    head_width = _count(fields, ("head_dim",), default.head_width if same else width // heads)
    if heads % kv_heads or head_width % 2:
        raise CheckpointError(
            f"{heads} heads, {kv_heads} key-value heads, {head_width} wide: "
            "heads must be a multiple of key-value heads, and the width even"
        )
    return StackSizes(
        layers=_count(fields, ("num_hidden_layers",), default.layers),
        width=width,
        mlp_width=_count(fields, ("intermediate_size",), default.mlp_width),
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        norm_eps=_number(fields, "rms_norm_eps", default.norm_eps),
        rope=_rope(fields, default.rope),
    )


def stack_fields(sizes: StackSizes) -> dict[str, Any]:
    """A transformer's sizes in the fields of a config.json, which `_stack` reads."""
    return {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.mlp_width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_width,
        "rms_norm_eps": sizes.norm_eps,
        "rope_theta": sizes.rope.theta,
        "rope_scaling": _rope_fields(sizes.rope),
    }


def _rope_fields(rope: Rope) -> dict[str, Any]:
    if rope.factor == 1.0:
        return {"rope_type": "default"}
    return {
        "rope_type": "llama3",
        "factor": rope.factor,
        "low_freq_factor": rope.low_freq_factor,
        "high_freq_factor": rope.high_freq_factor,
        "original_max_position_embeddings": int(rope.original_rows),
    }


def _rope(fields: _Fields, default: Rope) -> Rope:
    """RoPE parameters, of transformers 4 (rope_scaling, rope_theta) or 5 (rope_parameters)."""
    key = "rope_parameters" if "rope_parameters" in fields else "rope_scaling"
    if key not in fields:
        return replace(default, theta=_number(fields, "rope_theta", default.theta))
    scaling = _object(fields, key)
    theta = _number(fields, "rope_theta", _number(scaling, "rope_theta", default.theta))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return replace(default, theta=theta, factor=1.0)
    if kind != "llama3":
        raise CheckpointError(f"{key} is of type {kind!r}; supported are llama3 and default")
    return Rope(
        theta=theta,
        factor=_number(scaling, "factor", default.factor),
        low_freq_factor=_number(scaling, "low_freq_factor", default.low_freq_factor),
        high_freq_factor=_number(scaling, "high_freq_factor", default.high_freq_factor),
        original_rows=_number(scaling, "original_max_position_embeddings", default.original_rows),
    )


def _flavour(fields: _Fields, key: str, default: str) -> StackSizes:
    name = fields.get(key, default)
    if name not in _FLAVOURS:
        raise CheckpointError(f"{key} is {name!r}; known are {', '.join(_FLAVOURS)}")
    return _FLAVOURS[name]


def _object(fields: _Fields, key: str) -> _Fields:
    value = fields.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CheckpointError(f"{key} is {value!r}; expected an object")
    return value


def _count(fields: _Fields, keys: tuple[str, ...], default: int) -> int:
    for key in keys:
        value = fields.get(key)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            raise CheckpointError(f"{key} is {_shown(value)}; expected a whole number above 0")
        most = _MOST.get(keys[0], _MOST_OF_REST)
        if value > most:
            raise CheckpointError(f"{key} is {_shown(value)}; no model here has more than {most}")
        return value
    return default


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _number(fields: _Fields, key: str, default: float) -> float:
    value = fields.get(key, default)
    if type(value) not in (int, float) or not 0 < value < _MOST_NUMBER:
        raise CheckpointError(f"{key} is {_shown(value)}; expected a number above 0")
    return float(value)

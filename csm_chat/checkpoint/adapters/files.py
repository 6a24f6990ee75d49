"""From a folder to an adapter, and back.

Read: what csm-mlx and this program write (`adapters.safetensors`), and what peft and unsloth write
over transformers' names (`adapter_model.safetensors`), each with its `adapter_config.json`.
Written: the first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from csm_chat.checkpoint.adapters.adapter import Adapter, Floats, LowRank
from csm_chat.checkpoint.adapters.names import (
    CSM_MLX,
    PEFT,
    Naming,
    Place,
    check,
    module_of,
    places,
)
from csm_chat.checkpoint.files import safetensors_shapes, unreadable
from csm_chat.checkpoint.sizes import CsmSizes, read_json
from csm_chat.checkpoint.weights import TABLES, halves_first, pairs_first, part_names, rope_heads
from csm_chat.errors import CheckpointError

Scales: TypeAlias = Callable[[str], float]  # by a module's name

TENSORS, CONFIG = "adapters.safetensors", "adapter_config.json"
_PEFT_TENSORS = "adapter_model.safetensors"
_FILES = {TENSORS: CSM_MLX, "adapter.safetensors": CSM_MLX, _PEFT_TENSORS: PEFT}


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """How an adapter was trained, in csm-mlx' fields."""

    rank: int
    scale: float  # of `lora_a @ lora_b`: alpha / rank
    keys: tuple[str, ...] = ()  # the modules that were asked for
    dropout: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)  # of this program: others skip them


def find(folder: Path) -> Path | None:
    """The file of tensors of an adapter in a folder; None where there is none."""
    return next((folder / name for name in _FILES if (folder / name).is_file()), None)


def read_adapter(folder: Path, sizes: CsmSizes) -> Adapter:
    """The adapter in a folder, for a model of these sizes.

    Raises CheckpointError where nothing of it is there, where a name fits no tensor, and where it
    was made for other sizes.
    """
    path = find(folder)
    if path is None:
        raise CheckpointError(
            f"{folder}: no adapter there; it is a folder with {TENSORS} or {_PEFT_TENSORS} "
            f"and {CONFIG}"
        )
    naming = _FILES[path.name]
    known = places(sizes, naming)
    found = safetensors_shapes(path)
    check(sizes, known, found, str(path))
    scales = _scales(read_json(folder / CONFIG), naming, folder / CONFIG)
    halves: dict[str, dict[str, Floats]] = {}
    for name, tensor in _tensors(path).items():
        place = known[name]
        array = _as_the_model_has_it(tensor, place, sizes, naming)
        if place.role == "up":
            array = array * np.float32(scales(module_of(name, naming)))
        halves.setdefault(place.part, {})[place.role] = array
    low_rank = {part: LowRank(of["up"], of["down"]) for part, of in halves.items() if "up" in of}
    whole = {part: of["whole"] for part, of in halves.items() if "whole" in of}
    return Adapter(folder, low_rank, whole)


def write_adapter(folder: Path, adapter: Adapter, settings: LoraSettings, sizes: CsmSizes) -> None:
    """Write it as csm-mlx does; the tensors last, each file whole or not at all."""
    from safetensors.numpy import save_file

    names, heads = part_names(sizes, CSM_MLX.layout), rope_heads(sizes)
    tensors: dict[str, Floats] = {}
    for part, change in adapter.low_rank.items():
        module = names[part].removesuffix(".weight")
        up = pairs_first(change.up, heads.get(part, 0)) / np.float32(settings.scale)
        a, b = (up, change.down) if part in TABLES else (change.down.T, up.T)
        tensors |= {f"{module}.lora_a": a, f"{module}.lora_b": b}
    for part, weight in adapter.whole.items():
        tensors[names[part]] = pairs_first(weight, heads.get(part, 0))
    lora = {"rank": settings.rank, "scale": settings.scale, "dropout": settings.dropout}
    config = {
        "fine_tune_type": "lora",
        "lora_parameters": lora | {"keys": [*settings.keys]},
        "csm_chat": dict(settings.facts),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / CONFIG, lambda part: part.write_text(json.dumps(config, indent=2) + "\n"))
    contiguous = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    _replace(folder / TENSORS, lambda part: save_file(contiguous, part))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    write(part)
    part.replace(path)


def _scales(config: Mapping[str, Any], naming: Naming, path: Path) -> Scales:
    """What the product of a module's halves is multiplied with, by the module's name."""
    try:
        if naming is PEFT:
            return _peft_scales(config, path)
        if config.get("fine_tune_type", "lora") != "lora":
            raise CheckpointError(
                f"{path}: fine_tune_type is {config['fine_tune_type']!r}; only lora can be added"
            )
        scale = float(config["lora_parameters"]["scale"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: no config of an adapter ({type(error).__name__}: {error}); "
            "take the one beside its tensors"
        ) from error
    return lambda module: scale


def _peft_scales(config: Mapping[str, Any], path: Path) -> Scales:
    if config.get("use_dora"):
        raise CheckpointError(f"{path}: use_dora is true; only plain LoRA can be added")
    rank, alpha = config["r"], config["lora_alpha"]
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}

    def scale(module: str) -> float:
        r, a = _of_pattern(ranks, module, rank), _of_pattern(alphas, module, alpha)
        return float(a) / (math.sqrt(r) if config.get("use_rslora") else float(r))

    return scale


def _of_pattern(patterns: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """peft's rule: a key is a module's name or its end."""
    ends = (key for key in patterns if module == key or module.endswith(f".{key}"))
    return next((patterns[key] for key in ends), otherwise)


def _tensors(path: Path) -> dict[str, Floats]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # NumPy has no bfloat16

    try:
        return {name: tensor.float().numpy() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


def _as_the_model_has_it(tensor: Floats, place: Place, sizes: CsmSizes, naming: Naming) -> Floats:
    array = tensor.T if place.is_turned else tensor
    heads = rope_heads(sizes).get(place.part, 0)
    if heads and place.role != "down" and naming.layout.interleaved:
        array = halves_first(array, heads)
    return np.ascontiguousarray(array)

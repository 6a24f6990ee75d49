"""An adapter in an engine says what a checkpoint says that has it fused, and leaves no trace.

What is expected is computed here from the files' own definitions: csm-mlx adds
`scale * lora_a @ lora_b`, turned, to a matrix; peft adds `alpha / r * lora_B @ lora_A`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from csm_chat.checkpoint.adapters.files import LoraSettings, read_adapter, write_adapter
from csm_chat.checkpoint.sizes import read_sizes
from csm_chat.engine import choice
from csm_chat.errors import CheckpointError
from csm_chat.types import Codes, Engine, Sampling
from tests import parity
from tests.parity import Tensors, load_engine, on_each_backend

RANK, ALPHA = 4, 12.0
MLX_MODULES = (
    "backbone.layers.0.self_attn.q_proj",
    "backbone.layers.1.self_attn.k_proj",
    "backbone.layers.1.self_attn.v_proj",
    "backbone.layers.0.mlp.gate_proj",
    "decoder.layers.1.self_attn.q_proj",
    "decoder.layers.0.self_attn.o_proj",
    "decoder.layers.0.mlp.down_proj",
    "codebook0_head",
    "projection",
)
HF_MODULES = (
    "backbone_model.layers.0.self_attn.q_proj",
    "backbone_model.layers.1.mlp.up_proj",
    "depth_decoder.model.layers.1.self_attn.k_proj",
    "depth_decoder.model.inputs_embeds_projector",
    "lm_head",
)
TABLE = "text_embeddings"


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.2


def mlx_adapter(folder: Path, **more: torch.Tensor) -> Path:
    weights = parity.tensors("tiny-a-mlx")
    tensors: Tensors = {}
    for i, module in enumerate((*MLX_MODULES, TABLE)):
        n_out, n_in = weights[f"{module}.weight"].shape
        if module == TABLE:
            n_out, n_in = n_in, n_out  # an embedding's halves stand the other way round
        tensors[f"{module}.lora_a"] = normal(i, n_in, RANK)
        tensors[f"{module}.lora_b"] = normal(100 + i, RANK, n_out)
    config = {
        "fine_tune_type": "lora",
        "lora_parameters": {
            "rank": RANK,
            "scale": ALPHA / RANK,
            "dropout": 0.0,
            "keys": ["attn", "codebook0_head", "projection"],
        },
    }
    return written(folder, "adapters.safetensors", tensors | more, config)


def peft_adapter(folder: Path, **fields: Any) -> Path:
    weights = parity.tensors("tiny-a-hf")
    tensors: Tensors = {}
    for i, module in enumerate(HF_MODULES):
        n_out, n_in = weights[f"{module}.weight"].shape
        tensors[f"base_model.model.{module}.lora_A.weight"] = normal(i, RANK, n_in)
        tensors[f"base_model.model.{module}.lora_B.weight"] = normal(100 + i, n_out, RANK)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none"} | fields
    return written(folder, "adapter_model.safetensors", tensors, config)


def written(folder: Path, name: str, tensors: Tensors, config: dict[str, Any]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / name)
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def mlx_fused(folder: Path, adapter: Path) -> Path:
    weights, halves = parity.tensors("tiny-a-mlx"), torch_load(adapter)
    scale = ALPHA / RANK
    edits = {}
    for module in MLX_MODULES:
        added = scale * (halves[f"{module}.lora_a"] @ halves[f"{module}.lora_b"]).T
        edits[f"{module}.weight"] = weights[f"{module}.weight"] + added
    added = scale * halves[f"{TABLE}.lora_a"] @ halves[f"{TABLE}.lora_b"]
    edits[f"{TABLE}.weight"] = weights[f"{TABLE}.weight"] + added
    return parity.copy("tiny-a-mlx", folder, **edits)


def peft_fused(folder: Path, adapter: Path, scale: Callable[[str], float]) -> Path:
    weights, halves = parity.tensors("tiny-a-hf"), torch_load(adapter)
    edits = {}
    for module in HF_MODULES:
        name = f"base_model.model.{module}"
        added = halves[f"{name}.lora_B.weight"] @ halves[f"{name}.lora_A.weight"]
        edits[f"{module}.weight"] = weights[f"{module}.weight"] + scale(module) * added
    return parity.copy("tiny-a-hf", folder, **edits)


def torch_load(folder: Path) -> Tensors:
    from safetensors.torch import load_file

    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def greedy(engine: Engine, n: int = 12) -> Codes:
    prompt = parity.expected("tiny-a").prompt
    return np.stack(list(engine.frames(prompt, Sampling(temperature=0, max_frames=n))))


@on_each_backend
@pytest.mark.parametrize("name", ["tiny-a", "tiny-a-hf", "tiny-a-mlx"])
def test_adapted_says_what_fused_says_in_every_layout(name: str, tmp_path: Path) -> None:
    adapter = mlx_adapter(tmp_path / "ana")
    expected = greedy(load_engine(mlx_fused(tmp_path / "fused", adapter)))
    engine = load_engine(parity.PARITY / name)
    before = greedy(engine)
    engine.adapt(adapter)
    np.testing.assert_array_equal(greedy(engine), expected)
    assert (before != expected).any()
    engine.adapt(None)
    np.testing.assert_array_equal(greedy(engine), before)


@on_each_backend
@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({}, lambda module: ALPHA / RANK),
        ({"use_rslora": True}, lambda module: ALPHA / RANK**0.5),
        (
            {"alpha_pattern": {"q_proj": 2.0}},
            lambda module: (2.0 if module.endswith("q_proj") else ALPHA) / RANK,
        ),
    ],
    ids=["plain", "rank-stabilised", "an alpha of its own"],
)
def test_what_peft_saves_is_added_as_peft_adds_it(
    fields: dict[str, Any], scale: Callable[[str], float], tmp_path: Path
) -> None:
    adapter = peft_adapter(tmp_path / "ana", **fields)
    expected = greedy(load_engine(peft_fused(tmp_path / "fused", adapter, scale)))
    engine = load_engine(parity.PARITY / "tiny-a")
    engine.adapt(adapter)
    np.testing.assert_array_equal(greedy(engine), expected)


@on_each_backend
def test_one_adapter_after_another_is_as_if_it_were_the_first(tmp_path: Path) -> None:
    first = peft_adapter(tmp_path / "ana")
    second = mlx_adapter(tmp_path / "ben")
    engine = load_engine(parity.PARITY / "tiny-a")
    engine.adapt(first)
    greedy(engine)
    engine.adapt(second)
    fresh = load_engine(parity.PARITY / "tiny-a")
    fresh.adapt(second)
    np.testing.assert_array_equal(greedy(engine), greedy(fresh))


@on_each_backend
def test_tables_and_norms_that_were_trained_themselves_are_taken_whole(tmp_path: Path) -> None:
    weights = parity.tensors("tiny-a-mlx")
    edits = {
        "audio_embeddings.weight": weights["audio_embeddings.weight"] * 0.7,
        "backbone.norm.weight": weights["backbone.norm.weight"] * 1.5,
        "backbone.layers.0.self_attn.o_proj.weight": normal(1, 64, 64),
    }
    # csm-mlx keeps a matrix that LoRA changes under the name of the module that wraps it
    held = dict(edits)
    held["decoder.layers.1.self_attn.q_proj.linear.weight"] = normal(2, 32, 32)
    edits["decoder.layers.1.self_attn.q_proj.weight"] = normal(2, 32, 32)
    config = {"fine_tune_type": "lora", "lora_parameters": {"rank": 1, "scale": 1.0}}
    adapter = written(tmp_path / "ana", "adapters.safetensors", held, config)
    expected = greedy(load_engine(parity.copy("tiny-a-mlx", tmp_path / "fused", **edits)))
    engine = load_engine(parity.PARITY / "tiny-a")
    engine.adapt(adapter)
    np.testing.assert_array_equal(greedy(engine), expected)


@pytest.mark.parametrize("kept", [True, False], ids=["packed on disk", "packed anew"])
@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.parametrize("backend", parity.BACKENDS)
def test_on_packed_weights_the_change_stays_unrounded(
    backend: str, mode: str, kept: bool, tmp_path: Path
) -> None:
    cache = tmp_path / "packed" if kept else None
    options = parity.on_cpu(quantize=mode, backend=backend, cache=cache)
    prompt = parity.expected("tiny-a").prompt
    adapter = mlx_adapter(tmp_path / "ana")
    plain = parity.load_torch(parity.PARITY / "tiny-a")
    unadapted = plain.frame_logits(prompt)
    plain.adapt(adapter)
    engine = choice.load_engine(parity.PARITY / "tiny-a", options)
    before, codes = engine.frame_logits(prompt), greedy(engine)
    rounding = np.linalg.norm(before[0] - unadapted[0])
    engine.adapt(adapter)
    after = engine.frame_logits(prompt)
    # the packed matrices are off as they were, the change is not rounded on top of them
    expected = plain.frame_logits(prompt)
    assert np.linalg.norm(after[0] - expected[0]) < 2 * rounding + 1e-3
    assert np.linalg.norm(expected[0] - unadapted[0]) > 4 * rounding
    engine.adapt(None)
    np.testing.assert_array_equal(engine.frame_logits(prompt), before)
    np.testing.assert_array_equal(greedy(engine), codes)


def test_an_adapter_that_is_read_and_written_is_the_same(tmp_path: Path) -> None:
    sizes = read_sizes(parity.PARITY / "tiny-a")
    theirs = mlx_adapter(tmp_path / "theirs", **{"backbone.norm.weight": normal(7, 64)})
    settings = LoraSettings(RANK, ALPHA / RANK, ("attn", "codebook0_head", "projection"))
    write_adapter(tmp_path / "ours", read_adapter(theirs, sizes), settings, sizes)
    expected, found = torch_load(theirs), torch_load(tmp_path / "ours")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7)
    config = json.loads((tmp_path / "ours" / "adapter_config.json").read_text("utf-8"))
    of_theirs = json.loads((theirs / "adapter_config.json").read_text("utf-8"))
    assert config["lora_parameters"] == of_theirs["lora_parameters"]


def without(name: str, folder: Path) -> Path:
    tensors = torch_load(folder)
    del tensors[name]
    save_file(tensors, folder / "adapters.safetensors")
    return folder


def broken(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    no_config, bad_config = mlx_adapter(tmp_path / "c"), mlx_adapter(tmp_path / "d")
    (no_config / "adapter_config.json").unlink()
    (bad_config / "adapter_config.json").write_text("{}", encoding="utf-8")
    half = without("projection.lora_b", mlx_adapter(tmp_path / "e"))
    damaged = mlx_adapter(tmp_path / "f")
    (damaged / "adapters.safetensors").write_bytes(b"no tensors")
    (tmp_path / "empty").mkdir()
    other = mlx_adapter(tmp_path / "g", **{"projection.lora_b": normal(0, RANK, 48)})
    strange = mlx_adapter(tmp_path / "h", **{"encoder.layers.0.lora_a": normal(0, 4, 4)})
    return {
        "nothing there": (tmp_path / "empty", "no adapter there"),
        "no config": (no_config, "adapter_config.json"),
        "a config of nothing": (bad_config, "no config of an adapter"),
        "half a product": (half, "lora_b missing"),
        "not a file of tensors": (damaged, "cannot be read"),
        "other sizes": (other, "projection is changed as [48, 64], here it is [32, 64]"),
        "a name of nothing": (strange, "encoder.layers.0.lora_a"),
        "DoRA": (peft_adapter(tmp_path / "i", use_dora=True), "use_dora"),
    }


@on_each_backend
def test_a_wrong_adapter_is_named_and_changes_nothing(tmp_path: Path) -> None:
    engine = load_engine(parity.PARITY / "tiny-a")
    before = greedy(engine)
    for what, (folder, words) in broken(tmp_path).items():
        with pytest.raises(CheckpointError) as raised:
            engine.adapt(folder)
        message = str(raised.value)
        assert words in message and str(folder) in message and "\n" not in message, what
        np.testing.assert_array_equal(greedy(engine), before)

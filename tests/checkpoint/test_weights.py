"""Checkpoint folders: sizes, files, names; and what is said of those that do not fit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from csm_chat.checkpoint.files import find_weights
from csm_chat.checkpoint.sizes import Rope, parse_sizes, read_sizes
from csm_chat.checkpoint.weights import plan
from csm_chat.errors import CheckpointError
from tests import parity
from tests.parity import load_engine, on_each_backend

FLAVOURS = {
    "backbone_flavor": "llama-1B",
    "decoder_flavor": "llama-100M",
    "text_vocab_size": 128_256,
    "audio_vocab_size": 2051,
    "audio_num_codebooks": 32,
}


def test_flavour_names_give_the_sizes_of_csm_1b() -> None:
    sizes = parse_sizes(FLAVOURS)
    backbone, depth = sizes.backbone, sizes.depth
    assert (backbone.layers, backbone.width, backbone.heads, backbone.kv_heads) == (16, 2048, 32, 8)
    assert (depth.layers, depth.width, depth.heads, depth.kv_heads) == (4, 1024, 8, 2)
    assert (sizes.codebooks, sizes.audio_vocab, sizes.entries) == (32, 2051, 2048)
    assert sizes.context_rows == 2048


def test_an_empty_config_means_csm_1b() -> None:
    assert parse_sizes({}) == parse_sizes(FLAVOURS)


def test_transformers_fields_give_the_sizes() -> None:
    sizes = read_sizes(parity.PARITY / "tiny-b")
    assert (sizes.backbone.layers, sizes.backbone.width, sizes.backbone.head_width) == (3, 128, 16)
    assert (sizes.depth.layers, sizes.depth.width, sizes.depth.mlp_width) == (2, 64, 128)
    assert (sizes.codebooks, sizes.text_vocab, sizes.audio_vocab) == (32, 512, 131)


def test_no_scaling_is_no_scaling() -> None:
    rope = parse_sizes({"rope_scaling": None, "rope_theta": 10_000}).backbone.rope
    assert (rope.theta, rope.factor) == (10_000, 1)


def test_rope_of_transformers_5_is_read() -> None:
    parameters = {"rope_type": "llama3", "rope_theta": 7.0, "factor": 8.0, "low_freq_factor": 2.0}
    rope = parse_sizes({"rope_parameters": parameters}).backbone.rope
    assert rope == Rope(theta=7.0, factor=8.0, low_freq_factor=2.0)


def test_the_codec_s_entries_bound_what_is_sampled() -> None:
    assert parse_sizes({"vocab_size": 67, "codec_config": {"codebook_size": 64}}).entries == 64
    assert parse_sizes({"vocab_size": 67}).entries == 67


def test_mimi_s_own_config_tells_its_entries(tmp_path: Path) -> None:
    parity.write_config(tmp_path, {"vocab_size": 67})
    (tmp_path / "mimi_config.json").write_text('{"quantizer": {"bins": 64}}', encoding="utf-8")
    assert read_sizes(tmp_path).entries == 64


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"backbone_flavor": "llama-3B"}, "backbone_flavor is 'llama-3B'; known are llama-1B"),
        ({"hidden_size": "64"}, "hidden_size is '64'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_codebooks": True}, "num_codebooks is True"),
        ({"num_codebooks": 1}, "num_codebooks is 1"),
        ({"num_attention_heads": 5}, "5 heads, 8 key-value heads"),
        ({"rms_norm_eps": None}, "rms_norm_eps is None"),
        ({"depth_decoder_config": 3}, "depth_decoder_config is 3"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling is of type 'yarn'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; no model here has more"),
        ({"max_position_embeddings": 2**45}, "max_position_embeddings is 35184372088832; no model"),
        ({"hidden_size": 10**400}, "hidden_size is 1000000000000000000000000000000000000...; no"),
        ({"rope_theta": 10**400}, "rope_theta is 1000000000000000000000000000000000000..."),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps is inf"),
        ({"tie_codebooks_embeddings": False}, "tie_codebooks_embeddings is false"),
    ],
)
def test_a_field_that_cannot_be_is_named(
    tmp_path: Path, fields: dict[str, object], said: str
) -> None:
    parity.write_config(tmp_path, fields)
    with pytest.raises(CheckpointError) as caught:
        read_sizes(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {said}")


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_config_that_is_no_object_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_sizes(tmp_path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, '{"hidden_size": 1e999}']
)
def test_a_config_that_would_exhaust_its_reader_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_sizes(tmp_path)


def test_a_config_that_is_a_pipe_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_sizes(tmp_path)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "a/b", "..", "a\\b"])
def test_an_index_that_names_a_file_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": name}}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="not a file beside it"):
        find_weights(tmp_path)


def test_a_folder_without_config_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: missing"):
        load_engine(tmp_path)


def test_a_folder_without_weights_says_what_it_looks_for(tmp_path: Path) -> None:
    parity.write_config(tmp_path, {})
    with pytest.raises(CheckpointError, match=r"no weights here.*ckpt\.pt"):
        load_engine(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"x": "gone.safetensors"}}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: missing"):
        find_weights(tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"weight_map": []}', '{"weight_map": 1}'])
def test_an_index_without_map_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"index\.json: has no weight_map"):
        find_weights(tmp_path)


@on_each_backend
@pytest.mark.parametrize("name", ["model.safetensors", "ckpt.safetensors", "ckpt.pt"])
@pytest.mark.parametrize("size", [0, 7, 5000])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, size: int) -> None:
    parity.write_config(tmp_path, parity.config("tiny-a"))
    whole = tmp_path / "whole"
    torch.save(parity.tensors("tiny-a"), whole)
    if name.endswith("safetensors"):
        whole = parity.weights_file(parity.PARITY / "tiny-a")
    (tmp_path / name).write_bytes(whole.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=f"{name}: cannot be read.*download") as caught:
        load_engine(tmp_path)
    assert "\n" not in str(caught.value)


@on_each_backend
def test_a_ckpt_pt_that_would_run_code_is_refused(tmp_path: Path) -> None:
    parity.write_config(tmp_path, parity.config("tiny-a"))
    torch.save({"model": Path("x")}, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match=r"ckpt\.pt: cannot be read"):
        load_engine(tmp_path)


@on_each_backend
def test_a_ckpt_pt_of_something_else_is_named(tmp_path: Path) -> None:
    parity.write_config(tmp_path, parity.config("tiny-a"))
    torch.save([1, 2], tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_engine(tmp_path)


@on_each_backend
@pytest.mark.parametrize(
    ("layout", "name", "shape"),
    [
        ("tiny-a", "text_embeddings.weight", [320, 64]),
        ("tiny-a", "backbone.layers.1.attn.k_proj.weight", [32, 64]),
        ("tiny-a-mlx", "decoder.layers.0.mlp.down_proj.weight", [32, 64]),
        ("tiny-a-hf", "embed_text_tokens.weight", [320, 64]),
        ("tiny-a-hf", "backbone_model.embed_tokens.embed_audio_tokens.weight", [536, 64]),
        ("tiny-a-hf", "depth_decoder.codebooks_head.weight", [7, 32, 67]),
    ],
)
def test_a_missing_tensor_is_named_with_the_shape_expected(
    tmp_path: Path, layout: str, name: str, shape: list[int]
) -> None:
    folder = parity.copy(layout, tmp_path, **{name: None})
    with pytest.raises(CheckpointError) as caught:
        load_engine(folder)
    assert f"tensor {name} is missing; expected {shape}, found none" in str(caught.value)


@on_each_backend
@pytest.mark.parametrize("layout", ["tiny-a", "tiny-a-hf", "tiny-a-mlx"])
def test_an_extra_tensor_is_named_with_its_shape(tmp_path: Path, layout: str) -> None:
    folder = parity.copy(layout, tmp_path, adapter=torch.zeros(2, 3))
    with pytest.raises(CheckpointError, match=r"tensor adapter: expected none, found \[2, 3\]"):
        load_engine(folder)


@on_each_backend
def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path: Path) -> None:
    folder = parity.copy("tiny-a", tmp_path, audio_head=torch.zeros(7, 67, 32))
    with pytest.raises(CheckpointError) as caught:
        load_engine(folder)
    assert "tensor audio_head: expected [7, 32, 67], found [7, 67, 32]" in str(caught.value)


@on_each_backend
def test_weights_of_another_size_than_an_empty_config_means_are_refused(tmp_path: Path) -> None:
    folder = parity.copy("tiny-a", tmp_path)
    parity.write_config(folder, {})
    with pytest.raises(CheckpointError) as caught:
        load_engine(folder)
    assert "text_embeddings.weight: expected [128256, 2048], found [320, 64]" in str(caught.value)
    assert "more); is this config.json of these weights?" in str(caught.value)


def test_other_weights_are_no_csm(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a CSM checkpoint; it holds conv"):
        plan(parse_sizes({}), {"conv": (3,)}, tmp_path)


@on_each_backend
@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("tiny-a-hf", "codec_model.decoder.layers.0.weight"),
        ("tiny-a-hf", "depth_decoder.model.embed_tokens.weight"),
        ("tiny-a-hf", "backbone_model.rotary_emb.inv_freq"),
        ("tiny-a-hf", "backbone_model.embed_tokens.audio_tokens_offsets"),
        ("tiny-a", "backbone_causal_mask"),
        ("tiny-a", "backbone.layers.0.attn.pos_embeddings.theta"),
        ("tiny-a", "decoder.layers.0.attn.kv_cache.k_cache"),
        ("tiny-a-mlx", "backbone.layers.0.self_attn.rope._freqs"),
    ],
)
def test_codec_and_buffers_are_left_aside(tmp_path: Path, layout: str, name: str) -> None:
    assert load_engine(parity.copy(layout, tmp_path, **{name: torch.zeros(4)})).codebooks == 8

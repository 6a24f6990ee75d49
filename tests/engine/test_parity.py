"""Every layout answers as the reference implementation does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from platform import machine

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from csm_chat.types import Engine, Sampling
from tests import parity
from tests.parity import load_engine, on_each_backend

TOLERANCE = 1e-4


def test_both_backends_are_tested_wherever_mlx_can_be() -> None:
    has_mlx = sys.platform == "linux" or (sys.platform, machine()) == ("darwin", "arm64")
    assert ("mlx" in parity.BACKENDS) == has_mlx


def greedy(engine: Engine, case: parity.Expected) -> np.ndarray:
    sampling = Sampling(temperature=0, max_frames=len(case.greedy_codes))
    return np.stack(list(engine.frames(case.prompt, sampling)))


@on_each_backend
@pytest.mark.parametrize("name", parity.FOLDERS)
def test_greedy_codes_are_the_reference_s(name: str) -> None:
    case = parity.expected(name)
    np.testing.assert_array_equal(
        greedy(load_engine(parity.PARITY / name), case), case.greedy_codes
    )


@on_each_backend
@pytest.mark.parametrize("name", parity.FOLDERS)
def test_logits_of_the_first_frame_are_the_reference_s(name: str) -> None:
    case = parity.expected(name)
    logits = load_engine(parity.PARITY / name).frame_logits(case.prompt)
    np.testing.assert_allclose(logits, case.first_frame_logits, rtol=0, atol=TOLERANCE)


@on_each_backend
@pytest.mark.parametrize("reused", [False, True], ids=["cold", "after generating"])
@pytest.mark.parametrize("name", parity.FOLDERS)
def test_logits_of_the_last_frame_are_the_reference_s(name: str, reused: bool) -> None:
    case = parity.expected(name)
    engine = load_engine(parity.PARITY / name)
    if reused:
        greedy(engine, case)
    prompt = parity.joined(case.prompt, parity.audio_rows(case.greedy_codes[:-1]))
    logits = engine.frame_logits(prompt)
    np.testing.assert_allclose(logits, case.last_frame_logits, rtol=0, atol=TOLERANCE)
    assert engine.prefilled_rows == (1 if reused else len(prompt.tokens))


def shard(folder: Path, index_name: str) -> Path:
    """transformers' own way to save what is too large for a file."""
    tensors = parity.tensors("tiny-a-hf") | {"codec_model.encoder.weight": torch.zeros(3)}
    names = sorted(tensors)
    files = {
        "a-00001-of-00002.safetensors": names[::2],
        "a-00002-of-00002.safetensors": names[1::2],
    }
    for file, held in files.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    where = {name: file for file, held in files.items() for name in held}
    (folder / index_name).write_text(
        json.dumps({"metadata": {}, "weight_map": where}), encoding="utf-8"
    )
    parity.write_config(folder, parity.config("tiny-a-hf"))
    return folder


@on_each_backend
@pytest.mark.parametrize(
    "index_name", ["model.safetensors.index.json", "transformers.safetensors.index.json"]
)
def test_shards_answer_as_one_file(tmp_path: Path, index_name: str) -> None:
    case = parity.expected("tiny-a-hf")
    np.testing.assert_array_equal(
        greedy(load_engine(shard(tmp_path, index_name)), case), case.greedy_codes
    )


@on_each_backend
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "under model"])
def test_ckpt_pt_answers_as_safetensors(tmp_path: Path, nested: bool) -> None:
    tensors = parity.tensors("tiny-a")
    torch.save({"model": tensors} if nested else tensors, tmp_path / "ckpt.pt")
    parity.write_config(tmp_path, parity.config("tiny-a"))
    case = parity.expected("tiny-a")
    np.testing.assert_array_equal(greedy(load_engine(tmp_path), case), case.greedy_codes)


@on_each_backend
def test_the_shards_are_read_where_a_folder_holds_the_weights_thrice(tmp_path: Path) -> None:
    shard(tmp_path, "transformers.safetensors.index.json")
    for name in ("model.safetensors", "ckpt.pt"):
        (tmp_path / name).write_bytes(b"not read")
    case = parity.expected("tiny-a-hf")
    np.testing.assert_array_equal(greedy(load_engine(tmp_path), case), case.greedy_codes)


@on_each_backend
def test_shards_that_are_not_whole_leave_it_to_a_file_that_is(tmp_path: Path) -> None:
    shard(tmp_path, "transformers.safetensors.index.json")
    (tmp_path / "a-00002-of-00002.safetensors").unlink()
    parity.copy("tiny-a", tmp_path)
    case = parity.expected("tiny-a")
    np.testing.assert_array_equal(greedy(load_engine(tmp_path), case), case.greedy_codes)


@on_each_backend
def test_a_tied_table_may_be_saved_under_the_depth_decoder_s_name(tmp_path: Path) -> None:
    table = "backbone_model.embed_tokens.embed_audio_tokens.weight"
    kept = parity.tensors("tiny-a-hf")[table]
    tied = {table: None, "depth_decoder.model.embed_tokens.weight": kept}
    case = parity.expected("tiny-a-hf")
    engine = load_engine(parity.copy("tiny-a-hf", tmp_path, **tied))
    np.testing.assert_array_equal(greedy(engine, case), case.greedy_codes)


@on_each_backend
def test_rope_of_transformers_own_config_is_the_same(tmp_path: Path) -> None:
    folder = parity.copy("tiny-a-hf", tmp_path)
    fields = parity.config("tiny-a-hf")
    scaling = fields.pop("rope_scaling") | {
        "low_freq_factor": 0.125,
        "high_freq_factor": 0.5,
        "original_max_position_embeddings": 1024,
    }
    fields["rope_parameters"] = scaling
    parity.write_config(folder, fields)
    case = parity.expected("tiny-a-hf")
    logits = load_engine(folder).frame_logits(case.prompt)
    np.testing.assert_allclose(logits, case.first_frame_logits, rtol=0, atol=TOLERANCE)


@on_each_backend
@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_half_the_bits_come_close(dtype: str, tolerance: float) -> None:
    case = parity.expected("tiny-b")
    logits = load_engine(parity.PARITY / "tiny-b", dtype).frame_logits(case.prompt)[0]
    reference = case.first_frame_logits[0]
    assert np.abs(logits - reference).max() < tolerance * np.abs(reference).max()

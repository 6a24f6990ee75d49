"""Weights of 8 and 4 bits: how close they come, where they are kept, what is held while packing."""

from __future__ import annotations

import os
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from csm_chat.checkpoint.sizes import read_sizes
from csm_chat.engine.choice import load_engine
from csm_chat.engine.options import LoadOptions
from csm_chat.engine.quantising import choose_quantize
from csm_chat.engine.torch.device import kernels
from csm_chat.engine.torch.load import sources_of
from csm_chat.engine.torch.quantised.load import packer, parts_of
from csm_chat.engine.torch.quantised.model import Product, Table
from csm_chat.engine.torch.quantised.packing import pack, pack_table, unpack
from csm_chat.errors import UsageError
from csm_chat.types import Engine, Sampling
from csm_chat.wording import lines_to
from tests import parity

MODES = ("int8", "int4")
# Of logits, on random weights: these have no structure, so rounding errors add up as they do in no
# trained model. Measured: 0.022 to 0.035 and 0.19 to 0.28.
LOGITS_ERROR = {"int8": 0.04, "int4": 0.3}
GREEDY = Sampling(temperature=0, max_frames=6)


def quantised(name: str, mode: str, cache: Path | None = None, lines: list[str] | None = None):
    tell = lines_to([].append if lines is None else lines.append)
    return load_engine(parity.PARITY / name, parity.on_cpu(quantize=mode, cache=cache), tell)


def error(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """Relative to what was expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", parity.FOLDERS)
def test_logits_come_close_in_every_layout(name: str, mode: str) -> None:
    case = parity.expected(name)
    logits = quantised(name, mode).frame_logits(case.prompt)
    assert error(logits[0], case.first_frame_logits[0]) < LOGITS_ERROR[mode]


@pytest.mark.parametrize("mode", MODES)
def test_a_long_prompt_comes_as_close(mode: str) -> None:
    codes = np.random.default_rng(0).integers(0, 67, (300, 8), np.int32)
    prompt = parity.joined(parity.text_rows([5, 6, 7], 8), parity.audio_rows(codes))
    logits = quantised("tiny-a", mode).frame_logits(prompt)[0]
    expected = parity.load_torch(parity.PARITY / "tiny-a").frame_logits(prompt)[0]
    assert error(logits, expected) < LOGITS_ERROR[mode]


@pytest.mark.parametrize(("bits", "most"), [(8, 0.008), (4, 0.12)])
@pytest.mark.parametrize("n_in", [20, 64, 256])
def test_a_product_is_that_of_the_matrix_it_packs(n_in: int, bits: int, most: float) -> None:
    weight = torch.randn(70, n_in, generator=torch.Generator().manual_seed(1))
    weight[3] = 0
    packed = pack(weight, bits)
    assert error(unpack(packed), weight) < most
    x = torch.randn(5, n_in, generator=torch.Generator().manual_seed(2))
    product = Product(packed)
    for rows in (x, x[:1]):  # one row has kernels of its own
        found = product(rows)
        assert error(found, rows @ unpack(packed).T) < 0.01  # activations of 8 bits
        assert found[:, 3].eq(0).all()


def test_a_table_s_rows_are_looked_up_in_8_bits() -> None:
    rows = torch.randn(9, 64, generator=torch.Generator().manual_seed(1))
    rows[4] = 0
    table = Table(*pack_table(rows))
    ids = torch.tensor([[4, 2], [8, 2]])
    assert error(table(ids), rows[ids]) < 0.01
    assert table(ids)[0, 0].eq(0).all()


@pytest.mark.parametrize("mode", MODES)
def test_rows_in_the_cache_are_reused_and_true(mode: str) -> None:
    case = parity.expected("tiny-a")
    engine = quantised("tiny-a", mode)
    said = np.stack(list(engine.frames(case.prompt, GREEDY)))
    grown = parity.joined(case.prompt, parity.audio_rows(said[:-1]))
    reused = engine.frame_logits(grown)
    assert engine.prefilled_rows == 1
    assert error(reused[0], quantised("tiny-a", mode).frame_logits(grown)[0]) < 0.02


@pytest.mark.parametrize("mode", MODES)
def test_a_take_that_is_stopped_leaves_the_next_one_as_it_was(mode: str) -> None:
    case, engine = parity.expected("tiny-b"), quantised("tiny-b", mode)
    first = [*engine.frames(case.prompt, GREEDY)]
    stopped = engine.frames(case.prompt, replace(GREEDY, temperature=1.0, seed=3))
    next(stopped)
    stopped.close()
    np.testing.assert_array_equal([*engine.frames(case.prompt, GREEDY)], first)
    assert len(first) == GREEDY.max_frames


def answer(engine: Engine) -> npt.NDArray[np.float32]:
    return engine.frame_logits(parity.expected("tiny-a").prompt)


def test_packed_weights_are_kept_and_answer_the_same(tmp_path: Path) -> None:
    lines: list[str] = []
    first = answer(quantised("tiny-a", "int4", tmp_path, lines))
    assert len(lines) == 1 and "once" in lines[0]
    second = answer(quantised("tiny-a", "int4", tmp_path, lines))
    assert len(lines) == 1
    np.testing.assert_array_equal(first, second)
    quantised("tiny-a", "int8", tmp_path, lines)
    assert len(lines) == 2, "another mode has a folder of its own"
    assert len(list(tmp_path.iterdir())) == 2, "nothing unfinished stays"


def test_the_kernels_library_says_nothing_about_the_user() -> None:
    answer(quantised("tiny-a", "int8"))
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert not (Path(os.environ["XDG_CACHE_HOME"]) / "Microsoft").exists()


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_damaged_packed_weights_are_made_anew(tmp_path: Path, damage: str) -> None:
    lines: list[str] = []
    first = answer(quantised("tiny-a", "int8", tmp_path))
    path = next(tmp_path.glob("*/depth.layers.0.safetensors"))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.unlink()
    np.testing.assert_array_equal(answer(quantised("tiny-a", "int8", tmp_path, lines)), first)
    assert len(lines) == 2 and "damaged" in lines[0]
    quantised("tiny-a", "int8", tmp_path, lines)
    assert len(lines) == 2


def test_changed_weights_are_packed_anew(tmp_path: Path) -> None:
    folder = parity.copy("tiny-a", tmp_path / "model")
    options = parity.on_cpu(quantize="int8", cache=tmp_path / "cache")
    before = answer(load_engine(folder, options))
    head = parity.tensors("tiny-a")["codebook0_head.weight"]
    parity.copy("tiny-a", folder, **{"codebook0_head.weight": -head})
    after = answer(load_engine(folder, options))
    np.testing.assert_allclose(after[0], -before[0], atol=0.01 * np.abs(before[0]).max())


def test_where_nothing_can_be_kept_it_runs_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    lines: list[str] = []
    first = answer(quantised("tiny-a", "int8", tmp_path / "file" / "cache", lines))
    np.testing.assert_array_equal(first, answer(quantised("tiny-a", "int8")))
    assert "not kept" in lines[-1] and "\n" not in lines[-1]


def test_one_matrix_at_a_time_is_held_in_full_precision() -> None:
    folder = parity.PARITY / "tiny-a"
    sources, _ = sources_of(folder, read_sizes(folder))
    tensors, alive, n_most = parity.tensors("tiny-a"), weakref.WeakSet(), 0

    def read(source, start, end):
        nonlocal n_most
        n_most = max(n_most, len(alive))
        rows = tensors[source.name][start:end].clone()
        if rows.ndim > 1:  # a norm's vector stays as it is
            alive.add(rows)
        return rows

    make = packer(sources, read, "int4")
    for part in parts_of(sources):
        make(part)
    assert n_most <= 1, "the one before may go when the next one comes"


def choose(wanted: str, device: str = "cpu", dtype: str = "auto", lines: list[str] | None = None):
    tell = lines_to([].append if lines is None else lines.append)
    folder, options = parity.PARITY / "tiny-a", LoadOptions("torch", device, dtype, wanted)
    return choose_quantize(options, folder, kernels(device, folder), tell)


def test_auto_leaves_gpus_small_models_and_chosen_formats_as_they_are() -> None:
    assert choose("auto") == "none"
    assert choose("auto", "cuda") == "none"
    assert choose("auto", dtype="bfloat16") == "none"
    assert choose("int4") == "int4"


def test_packed_weights_asked_for_on_a_gpu_are_refused_in_words() -> None:
    lines: list[str] = []
    assert choose("int8", "cuda", lines=lines) == "none"
    assert len(lines) == 1 and "none is used" in lines[0]


@pytest.mark.parametrize(("wanted", "dtype"), [("int3", "auto"), ("int8", "float16")])
def test_what_cannot_be_is_refused_in_one_line(wanted: str, dtype: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(wanted, dtype=dtype)
    assert wanted in str(caught.value) and "\n" not in str(caught.value)

"""What MLX alone does: packed checkpoints, frames ahead, compiled loops, threads, memory.

That it does what torch does is tested where torch is, by `on_each_backend`.
"""

from __future__ import annotations

import gc
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import csm_chat
from csm_chat.checkpoint.sizes import read_sizes
from csm_chat.config.settings import SamplingConfig
from csm_chat.conversation.session import Session
from csm_chat.engine import choice, quantising
from csm_chat.engine.choice import choose_backend, choose_device, choose_dtype
from csm_chat.engine.options import LoadOptions
from csm_chat.errors import CheckpointError, UsageError
from csm_chat.types import Codes, Engine, Sampling, Utterance
from tests import parity
from tests.in_process import Run

mx = pytest.importorskip("mlx.core")  # test_parity.py has where it may not be missing

from csm_chat.engine.mlx import device  # noqa: E402  # it imports mlx
from csm_chat.engine.mlx.engine import MlxEngine  # noqa: E402
from csm_chat.wording import lines_to  # noqa: E402

GREEDY = Sampling(temperature=0, max_frames=6)
SEEDED = Sampling(seed=7, max_frames=6)
MODES = ("int8", "int4")
# Of logits of codebook 0, on random weights, as in test_quantised.py. Measured: 0.016 to 0.020 and
# 0.12 to 0.18.
LOGITS_ERROR = {"int8": 0.025, "int4": 0.22}

Array = npt.NDArray[np.float32]


def load(folder: Path, quantize: str = "none", dtype: str = "float32") -> MlxEngine:
    engine = choice.load_engine(folder, parity.on_cpu(dtype, quantize, "mlx"))
    assert isinstance(engine, MlxEngine)
    return engine


def tiny(name: str = "tiny-a") -> MlxEngine:
    return load(parity.PARITY / name)


def codes(engine: Engine, name: str, sampling: Sampling) -> Codes:
    return np.stack(list(engine.frames(parity.expected(name).prompt, sampling)))


def answer(engine: Any, name: str = "tiny-b") -> Array:
    logits: Array = engine.frame_logits(parity.expected(name).prompt)
    return logits


def error(found: Array, expected: Array) -> float:
    """Relative to what was expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


# ahead, compiled, in threads


@pytest.mark.parametrize("name", parity.FOLDERS)
def test_a_seed_is_the_same_take_on_torch(name: str) -> None:
    torch_s = parity.load_torch(parity.PARITY / name)
    sampling = replace(SEEDED, max_frames=3, top_p=0.9, min_p=0.02, depth_top_k=20)
    np.testing.assert_array_equal(codes(tiny(name), name, sampling), codes(torch_s, name, sampling))


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cpu MLX compiles what it has traced with g++, for seconds a kernel, or does without."""
    monkeypatch.setenv("PATH", "")


@pytest.mark.parametrize("name", ["tiny-a", "tiny-b"])
def test_a_compiled_depth_loop_draws_the_same(name: str, no_compiler: None) -> None:
    folder, plain = parity.PARITY / name, tiny(name)
    compiled = MlxEngine(
        lambda _: plain._model,
        read_sizes(folder),
        device.mlx_device("cpu"),
        mx.float32,
        compiled=True,
    )
    ways = [GREEDY, SEEDED, replace(SEEDED, seed=8), replace(SEEDED, top_k=0, top_p=0.9)]
    for sampling in [*ways, *ways[::-1]]:
        few = replace(sampling, max_frames=3)
        np.testing.assert_array_equal(codes(compiled, name, few), codes(plain, name, few))
    assert len(compiled._loops) == 3  # a seed is no other loop


def test_compiled_loops_are_forgotten_before_they_are_many(no_compiler: None) -> None:
    plain = tiny()
    sizes = read_sizes(parity.PARITY / "tiny-a")
    compiled = MlxEngine(
        lambda _: plain._model, sizes, device.mlx_device("cpu"), mx.float32, compiled=True
    )
    for k in range(1, 8):
        codes(compiled, "tiny-a", replace(SEEDED, max_frames=1, top_k=k))
    assert len(compiled._loops) == 4


def test_a_frame_is_fed_and_the_next_begun_before_it_is_handed_out() -> None:
    engine, prompt = tiny(), parity.expected("tiny-a").prompt
    frames = engine.frames(prompt, GREEDY)
    for n_heard in range(1, 4):
        next(frames)
        assert engine._rows.n == len(prompt.tokens) + n_heard
    frames = engine.frames(prompt, replace(GREEDY, max_frames=1))
    next(frames)
    assert engine._rows.n == len(prompt.tokens)  # the last one is not


def test_a_caller_s_code_runs_for_a_frame_when_that_is_asked_for() -> None:
    lengths: list[int] = []

    def look(history: npt.NDArray[np.int32], logits: Array) -> Array:
        lengths.append(len(history))
        return logits

    frames = tiny().frames(parity.expected("tiny-a").prompt, replace(SEEDED, processors=(look,)))
    for n_heard in range(1, 4):
        next(frames)
        assert lengths == [*range(n_heard)]


def elsewhere(work: Callable[[], Any]) -> Any:
    """What `work` returns, in a thread of its own."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def test_an_engine_speaks_in_the_thread_that_made_it_and_in_others() -> None:
    expected = codes(tiny(), "tiny-a", SEEDED)
    engine = elsewhere(tiny)
    for say in (elsewhere, elsewhere, lambda work: work()):
        np.testing.assert_array_equal(say(lambda: codes(engine, "tiny-a", SEEDED)), expected)
    frames = engine.frames(parity.expected("tiny-a").prompt, SEEDED)
    heard = [next(frames), *elsewhere(lambda: [*frames])]
    np.testing.assert_array_equal(np.stack(heard), expected)


def test_a_frame_copies_no_cache_and_leaves_nothing(tmp_path: Path) -> None:
    parity.copy("tiny-a", tmp_path)
    parity.write_config(tmp_path, parity.config("tiny-a") | {"max_position_embeddings": 40_000})
    engine, prompt = load(tmp_path), parity.expected("tiny-a").prompt
    layer = engine._backbone.keys[0].nbytes
    frames = engine.frames(prompt, replace(SEEDED, max_frames=40))
    next(frames)
    mx.synchronize(engine._stream)
    held = mx.get_active_memory()
    for _ in frames:
        mx.reset_peak_memory()
        mx.synchronize(engine._stream)
        assert mx.get_peak_memory() - held < layer / 4
    gc.collect()
    assert mx.get_active_memory() - held < layer / 100


# checkpoints


def test_tensors_in_half_precision_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    half = {name: t.bfloat16() for name, t in parity.tensors("tiny-b").items()}
    folder = parity.copy("tiny-b", tmp_path, **half)
    np.testing.assert_allclose(
        answer(load(folder)), answer(parity.load_torch(folder)), rtol=0, atol=1e-4
    )


def test_tensors_in_8_bit_floats_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    tensors = parity.tensors("tiny-b").items()
    narrow = {name: t.to(torch.float8_e4m3fn) for name, t in tensors if t.ndim > 1}
    folder = parity.copy("tiny-b", tmp_path, **narrow)
    np.testing.assert_allclose(
        answer(load(folder)), answer(parity.load_torch(folder)), rtol=0, atol=1e-4
    )


@parity.on_each_backend
def test_names_may_begin_with_model(tmp_path: Path) -> None:
    edits: dict[str, torch.Tensor | None] = {}
    for name, tensor in parity.tensors("tiny-a-mlx").items():
        edits |= {name: None, f"model.{name}": tensor}
    engine = parity.load_engine(parity.copy("tiny-a-mlx", tmp_path, **edits))
    expected = parity.expected("tiny-a-mlx").greedy_codes
    said = codes(engine, "tiny-a-mlx", replace(GREEDY, max_frames=len(expected)))
    np.testing.assert_array_equal(said, expected)


def pack_folder(
    folder: Path, form: dict[str, int], name: str = "tiny-a-mlx", **own: dict[str, int]
) -> tuple[Path, Path]:
    """A folder as `mlx.nn.quantize` leaves it, and one of the weights that it stands for."""
    packed: dict[str, torch.Tensor | None] = {}
    unpacked: dict[str, torch.Tensor | None] = {}
    for key, tensor in parity.tensors(name).items():
        module = key.removesuffix(".weight")
        how = own.get(module, form)
        if module == key or tensor.ndim != 2 or tensor.shape[1] % how["group_size"]:
            continue
        parts = mx.quantize(mx.array(tensor.numpy()), **how)
        dense = mx.dequantize(*parts, **how)
        unpacked[key] = torch.from_numpy(np.array(dense))
        arrays = [torch.from_numpy(np.array(part)) for part in parts]
        packed |= zip((key, f"{module}.scales", f"{module}.biases"), arrays, strict=True)
    folders = folder / "packed", folder / "unpacked"
    parity.copy(name, folders[0], **packed)
    parity.copy(name, folders[1], **unpacked)
    parity.write_config(folders[0], parity.config(name) | {"quantization": form | own})
    return folders


@pytest.mark.parametrize("form", [(64, 4), (64, 8), (32, 4), (32, 6)], ids=str)
def test_packed_checkpoints_answer_as_the_weights_they_stand_for(
    tmp_path: Path, form: tuple[int, int]
) -> None:
    group, bits = form
    packed, unpacked = pack_folder(tmp_path, {"group_size": group, "bits": bits})
    np.testing.assert_allclose(
        answer(load(packed), "tiny-a"), answer(load(unpacked), "tiny-a"), rtol=0, atol=1e-4
    )
    np.testing.assert_array_equal(
        codes(load(packed), "tiny-a", GREEDY), codes(load(unpacked), "tiny-a", GREEDY)
    )


def test_single_modules_may_be_packed_otherwise(tmp_path: Path) -> None:
    own = {
        "backbone.layers.0.self_attn.q_proj": {"group_size": 32, "bits": 8},
        "text_embeddings": {"group_size": 64, "bits": 8},
        "backbone.layers.1.mlp.gate_proj": {"group_size": 128, "bits": 4},  # left as it is
    }
    packed, unpacked = pack_folder(tmp_path, {"group_size": 64, "bits": 4}, **own)
    np.testing.assert_allclose(
        answer(load(packed), "tiny-a"), answer(load(unpacked), "tiny-a"), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "no quantization with group_size and bits"),
        ({"quantization": {"group_size": 64, "bits": 8}}, "not packed as config.json says"),
        ({"quantization": {"group_size": 64}}, "group_size 64 and bits None cannot be read"),
        (
            {"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}},
            "mxfp4 with group_size 32 and bits 4 cannot be read",
        ),
    ],
)
def test_packing_that_cannot_be_read_is_told_in_a_line(
    tmp_path: Path, fields: dict[str, object], said: str
) -> None:
    packed, _ = pack_folder(tmp_path, {"group_size": 64, "bits": 4})
    parity.write_config(packed, parity.config("tiny-a-mlx") | fields)
    with pytest.raises(CheckpointError, match=said) as caught:
        load(packed)
    assert "\n" not in str(caught.value)


def test_torch_says_which_backend_reads_packed_weights(tmp_path: Path) -> None:
    packed, _ = pack_folder(tmp_path, {"group_size": 64, "bits": 4})
    with pytest.raises(CheckpointError, match="packed by MLX, which backend mlx alone reads"):
        parity.load_torch(packed)


@pytest.mark.parametrize("mode", MODES)
def test_packing_on_loading_comes_close(mode: str) -> None:
    close = error(answer(load(parity.PARITY / "tiny-b", mode))[0], answer(tiny("tiny-b"))[0])
    assert 0 < close < LOGITS_ERROR[mode]


@pytest.mark.parametrize("mode", MODES)
def test_widths_that_no_group_divides_stay_in_full_precision(mode: str) -> None:
    engine = load(parity.PARITY / "tiny-a", mode)  # 64 wide, and 32 in the depth decoder
    assert codes(engine, "tiny-a", GREEDY).shape == (6, 8)
    exact = answer(tiny("tiny-a"), "tiny-a")
    assert 0 < error(answer(engine, "tiny-a")[0], exact[0]) < LOGITS_ERROR[mode]


def test_packing_on_loading_holds_one_matrix_in_full_precision(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    tensors = parity.tensors("tiny-b")
    large = {"text_embeddings.weight": torch.randn(8000, 128, generator=rng)}
    folder = parity.copy("tiny-b", tmp_path, **large)
    parity.write_config(folder, parity.config("tiny-b") | {"text_vocab_size": 8000})
    n_bytes = sum(t.nbytes for t in (tensors | large).values())
    largest = large["text_embeddings.weight"].nbytes
    gc.collect()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    engine = load(folder, "int4")
    held, peak = mx.get_active_memory() - before, mx.get_peak_memory() - before
    assert engine.codebooks == 32
    assert peak < held + 2.2 * largest, "it is read, and cast, and gone"
    assert held < n_bytes / 2


# choices


def test_auto_is_mlx_on_apple_silicon_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def on(system: str, machine: str) -> None:
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(platform, "machine", lambda: machine)

    on("darwin", "arm64")
    assert choose_backend() == choose_backend("auto", "metal") == "mlx"
    assert choose_backend("auto", "cpu") == choose_backend("auto", "mps") == "torch"
    on("linux", "x86_64")
    assert choose_backend() == "torch" and choose_backend("mlx") == "mlx"
    monkeypatch.setattr(choice, "has_mlx", lambda: False)
    with pytest.raises(UsageError, match="mlx is not installed: pip install"):
        choose_backend("mlx")
    on("darwin", "arm64")
    assert choose_backend() == "torch"
    lines: list[str] = []
    on("darwin", "x86_64")
    assert choose_backend("auto", tell=lines_to(lines.append)) == "torch" and lines == []
    assert choose_backend("mlx", tell=lines_to(lines.append)) == "torch"
    assert lines == ["backend mlx: not made for Intel Macs; torch computes"]


def test_devices_of_torch_are_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match="device 'mps' is unknown to mlx; choose auto, metal, cpu"):
        choose_device("mps", "mlx")
    with pytest.raises(UsageError, match="dtype 'int8' is unknown"):
        choose_dtype("int8", "cpu", "mlx")
    with pytest.raises(UsageError, match="backend 'jax' is unknown; choose auto, torch, mlx"):
        choose_backend("jax")


@pytest.mark.skipif(mx.metal.is_available(), reason="this machine has it")
def test_metal_that_is_absent_is_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match=r"device 'metal': mlx .* sees none; usable here: cpu"):
        choose_device("metal", "mlx")


def test_apple_gpus_compute_in_float16() -> None:
    assert choose_dtype("auto", "metal", "mlx") == "float16"
    assert choose_dtype("auto", "cpu", "mlx") == "float32"
    assert choose_dtype("bfloat16", "metal", "mlx") == "bfloat16"


def quantize(folder: Path, wanted: str, dtype: str = "auto", lines: list[str] | None = None) -> str:
    tell = lines_to([].append if lines is None else lines.append)
    options = LoadOptions("mlx", "cpu", dtype, wanted)
    return quantising.choose_quantize(options, folder, device.kernels("cpu", folder), tell)


def test_small_models_and_chosen_formats_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = parity.PARITY / "tiny-a"
    assert quantize(folder, "auto") == quantize(folder, "none") == "none"
    assert quantize(folder, "int4", "float16") == "int4"
    monkeypatch.setattr(quantising, "_SMALL", 0)
    assert quantize(folder, "auto", "float16") == "none"
    with pytest.raises(UsageError, match="quantize 'int3' is unknown"):
        quantize(folder, "int3")


@pytest.mark.parametrize(
    ("seconds", "mode"),
    [((1, 1, 1), "none"), ((9, 1, 1), "int8"), ((9, 9, 1), "int4"), ((9, 9, 9), "int4")],
)
def test_the_most_bits_that_keep_up_are_chosen(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[int, ...], mode: str
) -> None:
    by_mode = dict(zip(("none", *MODES), seconds, strict=True))
    monkeypatch.setattr(quantising, "_SMALL", 0)
    n_read = quantising.count_weights(read_sizes(parity.PARITY / "tiny-a"))[1]
    unit = 0.02 / n_read  # of a frame's 80 ms
    monkeypatch.setattr(device, "_seconds_per_weight", lambda _, mode: by_mode[mode] * unit)
    assert quantize(parity.PARITY / "tiny-a", "auto") == mode


@pytest.mark.parametrize("mode", ["none", "int4"])
def test_what_a_weight_costs_is_measured(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(device, "_PACKED_S", 0.01)
    monkeypatch.setattr(device, "_PACKED_SHAPE", (512, 512))
    assert 0 < device._seconds_per_weight("cpu", mode) < 1e-4


def test_packed_checkpoints_stay_as_they_are_and_say_so(tmp_path: Path) -> None:
    packed, _ = pack_folder(tmp_path, {"group_size": 64, "bits": 4})
    lines: list[str] = []
    assert quantize(packed, "auto", lines=lines) == quantize(packed, "int4", lines=lines) == "int4"
    assert lines == []
    assert quantize(packed, "int8", lines=lines) == "int4"
    assert len(lines) == 1 and "are int4 and stay so" in lines[0]


def test_programs_of_torch_are_told_metal_in_torch_s_words(checkpoint: Path) -> None:
    backend = csm_chat.load(checkpoint, backend="mlx", device="cpu", dtype="float32")
    generator = csm_chat.Generator(backend)
    assert generator.device == torch.device("cpu")
    assert csm_chat.Generator(replace(backend, device="metal")).device == torch.device("mps")
    assert generator.generate("Hi.", 0, seed=3, max_audio_length_ms=400).dtype == torch.float32


# sessions and the prompt


def turns(backend: csm_chat.Backend, n_turns: int) -> Iterator[Codes]:
    session = Session(backend, sampling=SamplingConfig(seed=5))
    for n in range(n_turns):
        stream = session.take(Utterance(f"Turn {n} of an evening.", n % 2))
        while True:
            try:
                next(stream)
            except StopIteration as end:
                yield end.value.segment.codes
                break


def test_fifty_turns_say_what_torch_says_and_keep_memory_flat(checkpoint: Path) -> None:
    loaded = {
        name: csm_chat.load(checkpoint, backend=name, device="cpu", dtype="float32")
        for name in ("torch", "mlx")
    }
    held = []
    for n, (ours, torch_s) in enumerate(
        zip(turns(loaded["mlx"], 50), turns(loaded["torch"], 50), strict=True)
    ):
        np.testing.assert_array_equal(ours, torch_s, err_msg=f"turn {n}")
        held.append(mx.get_active_memory())
    assert max(held[10:]) - held[10] < 100_000


def test_the_prompt_speaks_through_mlx(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    flags = ("--model", str(checkpoint), "--audio", "off", "--seed", "3", "--device", "cpu")
    off = ("--set", "watermark.method=off", "--dtype", "float32")
    said = []
    for backend in ("torch", "mlx"):
        folder = tmp_path / backend
        ran = run(*flags, *off, "--backend", backend, "--takes", backend, stdin=b"Hi!||Oh.\n")
        assert ran.code == 0, ran.err
        said.append([path.read_bytes() for path in sorted(folder.glob("*/0*.wav"))])
    assert said[0] == said[1] and len(said[0]) >= 2


def test_the_prompt_packs_and_says_so(run: Run, checkpoint: Path) -> None:
    flags = ("--model", str(checkpoint), "--audio", "off", "--backend", "mlx", "--device", "cpu")
    ran = run(*flags, "--quantize", "int8", stdin=b"Hi!\n")
    assert ran.code == 0 and "on cpu, int8 weights" in ran.err


def test_doctor_knows_mlx(run: Run) -> None:
    ran = run("doctor", "--set", "backend=mlx", "--audio", "off")
    assert f"ok    mlx         {mx.__version__} on " in ran.text
    device = next(line for line in ran.text.splitlines() if line.split()[1] == "device")
    assert device.endswith(", mlx")

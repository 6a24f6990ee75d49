"""The engine: reuse of cached rows, sampling, limits; equality with a loop without a cache."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F

from csm_chat.checkpoint.sizes import StackSizes, parse_sizes
from csm_chat.engine.choice import choose_device, choose_dtype
from csm_chat.engine.torch import model
from csm_chat.engine.torch.model import Cache
from csm_chat.engine.torch.sampling import Noise, Sampler, samplers
from csm_chat.errors import ContextError, Interrupted, UsageError
from csm_chat.runtime import threads
from csm_chat.types import Codes, Engine, Prompt, Sampling
from tests import parity
from tests.parity import load_engine, on_each_backend

GREEDY = Sampling(temperature=0, max_frames=6)
SEEDED = Sampling(temperature=0.9, top_k=50, seed=7, max_frames=6)
TEXT = parity.text_rows([5, 6, 7, 8], 8)
EOS = parity.audio_rows(np.zeros((1, 8), np.int32))


def tiny() -> Engine:
    return load_engine(parity.PARITY / "tiny-a")


def codes(engine: Engine, prompt: Prompt, sampling: Sampling) -> Codes:
    frames = list(engine.frames(prompt, sampling))
    return np.stack(frames) if frames else np.zeros((0, engine.codebooks), np.int32)


# a forward pass without cache, in NumPy, of the original's tensors: RoPE turns neighbours


def naive_norm(x: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> npt.NDArray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale


def naive_rope(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`x` is (rows, heads, width)."""
    freqs = 500_000.0 ** -(np.arange(0, x.shape[-1], 2) / x.shape[-1])
    waves = 2 * np.pi / freqs
    smooth = (8192 / waves - 1) / (4 - 1)
    between = (1 - smooth) * freqs / 32 + smooth * freqs
    freqs = np.where(waves < 8192 / 4, freqs, np.where(waves > 8192 / 1, freqs / 32, between))
    turns = np.exp(1j * np.arange(len(x))[:, None] * freqs)[:, None]  # (rows, 1, width / 2)
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * turns
    return np.stack((turned.real, turned.imag), -1).reshape(x.shape).astype(np.float32)


def naive_stack(
    w: dict[str, npt.NDArray], stack: str, x: npt.NDArray, head_width: int = 16
) -> npt.NDArray:
    n, later = len(x), np.triu(np.full((len(x), len(x)), -np.inf), 1)
    for i in range(2):
        layer = {k.split(f"{stack}.layers.{i}.")[-1]: v for k, v in w.items()}
        h = naive_norm(x, layer["sa_norm.scale"])
        q, k, v = ((h @ layer[f"attn.{p}_proj.weight"].T).reshape(n, -1, head_width) for p in "qkv")
        group = q.shape[1] // k.shape[1]
        q, k, v = naive_rope(q), naive_rope(k).repeat(group, 1), v.repeat(group, 1)
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(head_width) + later
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        seen = np.einsum("hij,jhd->ihd", shares, v).reshape(n, -1)
        x = x + seen @ layer["attn.output_proj.weight"].T
        h = naive_norm(x, layer["mlp_norm.scale"])
        gate = h @ layer["mlp.w1.weight"].T
        x = (
            x
            + (gate / (1 + np.exp(-gate)) * (h @ layer["mlp.w3.weight"].T))
            @ layer["mlp.w2.weight"].T
        )
    return naive_norm(x, w[f"{stack}.norm.scale"])


def naive_frames(prompt: Prompt, n_frames: int, draw: Callable[[npt.NDArray, int], int]) -> Codes:
    """All rows anew for each frame, and all codes of a frame anew for each of its codes."""
    w = {name: t.numpy() for name, t in parity.tensors("tiny-a").items()}
    table, vocab, frames = w["audio_embeddings.weight"], 67, []
    for _ in range(n_frames):
        audio = table[prompt.tokens[:, :-1] + np.arange(8) * vocab]
        rows = np.concatenate((audio, w["text_embeddings.weight"][prompt.tokens[:, -1:]]), 1)
        hidden = naive_stack(w, "backbone", (rows * prompt.mask[..., None]).sum(1))[-1]
        frame = [draw(w["codebook0_head.weight"] @ hidden, 0)]
        for codebook in range(1, 8):
            said = [table[code + i * vocab] for i, code in enumerate(frame)]
            depth = np.stack([hidden, *said]) @ w["projection.weight"].T
            logits = naive_stack(w, "decoder", depth)[-1] @ w["audio_head"][codebook - 1]
            frame.append(draw(logits, codebook))
        frames.append(frame)
        prompt = parity.joined(prompt, parity.audio_rows(np.array([frame], np.int32)))
    return np.array(frames, np.int32)


@on_each_backend
def test_greedy_frames_equal_the_naive_loop() -> None:
    prompt = parity.expected("tiny-a").prompt
    naive = naive_frames(prompt, 6, lambda logits, codebook: int(logits.argmax()))
    np.testing.assert_array_equal(codes(tiny(), prompt, GREEDY), naive)


@on_each_backend
def test_seeded_frames_equal_the_naive_loop() -> None:
    noise = Noise([SEEDED.seed], 8, SEEDED.top_k, torch.device("cpu"))
    rows: list[npt.NDArray[np.float32]] = []

    def draw(logits: npt.NDArray, codebook: int) -> int:
        if codebook == 0:
            rows[:] = noise.frame()[0].numpy()
        best = np.argsort(-logits)[: SEEDED.top_k]
        return int(best[(np.exp(logits[best] / SEEDED.temperature) / rows[codebook]).argmax()])

    prompt = parity.expected("tiny-a").prompt
    naive = naive_frames(prompt, 6, draw)
    np.testing.assert_array_equal(codes(tiny(), prompt, SEEDED), naive)


def long_prompt() -> Prompt:
    """Of more rows than are prefilled at a time."""
    rng = np.random.default_rng(0)
    return parity.joined(TEXT, parity.audio_rows(rng.integers(0, 67, (300, 8), np.int32)), TEXT)


@on_each_backend
def test_a_prompt_of_several_chunks_equals_the_naive_loop() -> None:
    naive = naive_frames(long_prompt(), 1, lambda logits, codebook: int(logits.argmax()))
    engine = tiny()
    said = codes(engine, long_prompt(), replace(GREEDY, max_frames=1))
    np.testing.assert_array_equal(said, naive)
    assert engine.prefilled_rows == 308


@on_each_backend
def test_a_prefill_that_fails_midway_leaves_a_cache_that_is_true() -> None:
    engine, prompt = tiny(), long_prompt()
    codes(engine, parity.audio_rows(np.full((290, 8), 9, np.int32)), GREEDY)
    broken = prompt.tokens.copy()
    broken[-1, -1] = 10_000  # no such text token
    with pytest.raises(IndexError):
        codes(engine, Prompt(broken, prompt.mask), GREEDY)
    np.testing.assert_array_equal(codes(engine, prompt, GREEDY), codes(tiny(), prompt, GREEDY))
    assert engine.prefilled_rows == 308 - 256


@on_each_backend
@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_a_turn_prefills_its_own_rows_only_and_equals_a_cold_start(sampling: Sampling) -> None:
    engine = tiny()
    prompt = parity.joined(TEXT, EOS, TEXT)
    for turn in range(10):
        said = codes(engine, prompt, replace(sampling, seed=turn))
        np.testing.assert_array_equal(said, codes(tiny(), prompt, replace(sampling, seed=turn)))
        # the last frame was not fed; with it come the end-of-speech row and the turn's own text
        assert engine.prefilled_rows == (9 if turn == 0 else 1 + 1 + 4 + turn)
        own = parity.text_rows([9 + turn] * (4 + turn + 1), 8)
        prompt = parity.joined(prompt, parity.audio_rows(said), EOS, own)


@on_each_backend
def test_a_take_that_ended_by_itself_leaves_all_its_frames_cached(tmp_path: Path) -> None:
    engine = load_engine(ending(tmp_path))
    said = codes(engine, TEXT, GREEDY)
    assert len(said) == 1
    codes(engine, parity.joined(TEXT, parity.audio_rows(said), EOS, TEXT), GREEDY)
    assert engine.prefilled_rows == 1 + 4


def ending(folder: Path) -> Path:
    """A model that says a frame of ones after text, and the end-of-speech frame after that.

    Every layer adds nothing. A row's first dimension is its flag: text 1, codes of 1: -1.
    """
    tensors = {
        name: torch.zeros_like(t) if "output_proj" in name or "w2" in name else t
        for name, t in parity.tensors("tiny-a").items()
    }
    text, audio, table = torch.zeros(320, 64), torch.zeros(67, 64), torch.zeros(8 * 67, 64)
    text[:, 0], table[:, 0] = 1, -1
    audio[0, 0], audio[1, 0] = -1, 1
    projection, heads = torch.zeros(32, 64), torch.zeros(7, 32, 67)
    projection[0, 0] = 1
    # codebooks 1 and up follow the code before: 0 after 0, 1 after 1
    table[0::67, 1], table[1::67, 1] = 9, -9
    projection[1, 1] = 1
    heads[:, 1, 0], heads[:, 1, 1] = 1, -1
    edits = {
        "text_embeddings.weight": text,
        "audio_embeddings.weight": table,
        "codebook0_head.weight": audio,
        "projection.weight": projection,
        "audio_head": heads,
    }
    return parity.copy("tiny-a", folder, **(tensors | edits))


@on_each_backend
def test_the_end_of_speech_frame_is_not_yielded_and_ends_the_take(tmp_path: Path) -> None:
    said = codes(load_engine(ending(tmp_path)), TEXT, GREEDY)
    np.testing.assert_array_equal(said, np.ones((1, 8), np.int32))


@on_each_backend
def test_a_take_may_end_at_once(tmp_path: Path) -> None:
    engine = load_engine(ending(tmp_path))
    spoken = parity.joined(TEXT, parity.audio_rows(np.ones((1, 8), np.int32)))
    assert codes(engine, spoken, GREEDY).shape == (0, 8)


@on_each_backend
def test_a_prompt_that_parts_from_the_cache_equals_a_cold_start() -> None:
    engine = tiny()
    long = parity.expected("tiny-a").prompt
    codes(engine, long, GREEDY)
    dropped = parity.joined(Prompt(long.tokens[:10], long.mask[:10]), TEXT)
    np.testing.assert_array_equal(codes(engine, dropped, GREEDY), codes(tiny(), dropped, GREEDY))
    assert engine.prefilled_rows == 4


@on_each_backend
def test_tokens_behind_the_mask_do_not_count() -> None:
    engine = tiny()
    codes(engine, TEXT, GREEDY)
    other = np.where(TEXT.mask, TEXT.tokens, 66)
    codes(engine, Prompt(other, TEXT.mask), GREEDY)
    assert engine.prefilled_rows == 1


@on_each_backend
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cache_takes_memory_as_it_is_written() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()

    sizes = StackSizes(layers=16, width=2048, mlp_width=8192, heads=32, kv_heads=8, head_width=64)
    before = resident()
    cache = Cache(sizes, 2048, torch.device("cpu"), torch.float32)
    for keys, values in zip(cache.keys, cache.values, strict=True):
        keys[0, :, 0], values[0, :, 0] = 1, 1
    assert cache.keys.nbytes + cache.values.nbytes == 134_217_728
    assert resident() - before < 15_000_000


def test_the_same_prompt_again_computes_its_last_row_only() -> None:
    engine = tiny()
    first = codes(engine, TEXT, GREEDY)
    np.testing.assert_array_equal(codes(engine, TEXT, GREEDY), first)
    assert engine.prefilled_rows == 1


@on_each_backend
@pytest.mark.parametrize("n_heard", [1, 3])
def test_a_take_closed_midway_leaves_a_cache_that_is_true(n_heard: int) -> None:
    engine = tiny()
    frames = engine.frames(TEXT, GREEDY)
    heard = np.stack([next(frames) for _ in range(n_heard)])
    frames.close()
    prompt = parity.joined(TEXT, parity.audio_rows(heard), EOS, TEXT)
    np.testing.assert_array_equal(codes(engine, prompt, GREEDY), codes(tiny(), prompt, GREEDY))
    # with mlx the frame heard last was fed while it was heard
    assert engine.prefilled_rows == (parity.backend == "torch") + 1 + 4


@on_each_backend
def test_a_frame_written_to_by_its_receiver_is_cached_as_drawn() -> None:
    engine, said = tiny(), []
    for frame in engine.frames(TEXT, GREEDY):
        said.append(frame.copy())
        frame[:] = 3
    prompt = parity.joined(TEXT, parity.audio_rows(np.stack(said)))
    codes(engine, prompt, GREEDY)
    assert engine.prefilled_rows == 1


@on_each_backend
def test_nothing_runs_before_the_first_frame_is_asked_for() -> None:
    engine = tiny()
    engine.frames(TEXT, GREEDY)
    assert engine.prefilled_rows == 0


@on_each_backend
def test_an_interrupted_take_raises_and_leaves_a_cache_that_is_true() -> None:
    engine = tiny()
    frames = engine.frames(TEXT, GREEDY)
    first = next(frames)
    thread = threading.Thread(target=engine.interrupt)
    thread.start()
    thread.join()
    with pytest.raises(Interrupted):
        next(frames)
    prompt = parity.joined(TEXT, parity.audio_rows(first[None]), TEXT)
    np.testing.assert_array_equal(codes(engine, prompt, GREEDY), codes(tiny(), prompt, GREEDY))


@on_each_backend
def test_rows_computed_ahead_are_not_computed_again_and_change_no_code() -> None:
    said = long_prompt()
    asked = parity.joined(said, TEXT)
    engine = tiny()
    assert engine.prefill(said, lambda: True)
    np.testing.assert_array_equal(codes(engine, asked, SEEDED), codes(tiny(), asked, SEEDED))
    assert engine.prefilled_rows == len(TEXT.tokens)


@on_each_backend
def test_rows_no_longer_wanted_are_left_at_once_and_those_done_stay() -> None:
    said, n_asked = long_prompt(), 0

    def is_wanted() -> bool:
        nonlocal n_asked
        n_asked += 1
        return n_asked < 6  # two layers: in the third chunk

    engine = tiny()
    assert not engine.prefill(said, is_wanted)
    assert n_asked == 6
    np.testing.assert_array_equal(codes(engine, said, GREEDY), codes(tiny(), said, GREEDY))
    assert engine.prefilled_rows == len(said.tokens) - 2 * 64


@on_each_backend
def test_an_interrupt_between_takes_touches_neither() -> None:
    engine = tiny()
    engine.interrupt()
    assert len(codes(engine, TEXT, GREEDY)) == GREEDY.max_frames


@on_each_backend
def test_a_take_overtaken_by_another_goes_no_further() -> None:
    engine = tiny()
    frames = engine.frames(TEXT, GREEDY)
    next(frames)
    codes(engine, TEXT, GREEDY)
    with pytest.raises(AssertionError, match="another take"):
        next(frames)


def short(folder: Path, rows: int) -> Engine:
    """An engine of a context of `rows`."""
    parity.copy("tiny-a", folder)
    parity.write_config(folder, parity.config("tiny-a") | {"max_position_embeddings": rows})
    return load_engine(folder)


@on_each_backend
def test_frames_end_where_the_context_does(tmp_path: Path) -> None:
    engine = short(tmp_path, 10)
    assert engine.context_rows == 10
    assert len(codes(engine, TEXT, replace(GREEDY, max_frames=100))) == 6


@on_each_backend
@pytest.mark.parametrize("rows", [3, 4])
def test_a_prompt_that_leaves_no_room_names_the_sizes(tmp_path: Path, rows: int) -> None:
    with pytest.raises(ContextError, match=f"takes 4 rows, the model has {rows} "):
        next(iter(short(tmp_path, rows).frames(TEXT, GREEDY)))


@on_each_backend
def test_the_same_seed_gives_the_same_codes_whatever_ran_before() -> None:
    engine = tiny()
    first = codes(engine, TEXT, SEEDED)
    codes(engine, TEXT, replace(SEEDED, seed=99))
    torch.rand(5)
    np.testing.assert_array_equal(codes(engine, TEXT, SEEDED), first)


@on_each_backend
def test_another_seed_gives_other_codes() -> None:
    engine = tiny()
    assert (codes(engine, TEXT, SEEDED) != codes(engine, TEXT, replace(SEEDED, seed=8))).any()


@on_each_backend
def test_one_of_the_likeliest_is_greedy() -> None:
    engine = tiny()
    one = codes(engine, TEXT, replace(SEEDED, top_k=1))
    np.testing.assert_array_equal(one, codes(engine, TEXT, GREEDY))


@on_each_backend
def test_depth_settings_leave_codebook_0_alone() -> None:
    one = Sampling(seed=7, top_k=0, max_frames=1)
    engine = tiny()
    both, cold = codes(engine, TEXT, one), codes(engine, TEXT, replace(one, depth_temperature=0.0))
    assert both[0, 0] == cold[0, 0]
    assert (both[0, 1:] != cold[0, 1:]).any()


@on_each_backend
@pytest.mark.parametrize(
    "setting", [{"depth_temperature": 0.0}, {"depth_top_k": 1}, {"depth_top_p": 1e-6}]
)
def test_each_depth_setting_has_its_effect(setting: dict[str, float]) -> None:
    sampling = replace(GREEDY, depth_min_p=1.0, **setting)
    np.testing.assert_array_equal(codes(tiny(), TEXT, sampling), codes(tiny(), TEXT, GREEDY))


def test_a_depth_setting_left_out_follows_its_namesake() -> None:
    first, depth = samplers(Sampling(temperature=0.5, top_k=3, top_p=0.4, min_p=0.2), 60)
    assert first == depth


@on_each_backend
@pytest.mark.parametrize("sampling", [GREEDY, SEEDED, replace(SEEDED, top_k=0, top_p=0.9)])
def test_codes_without_an_entry_are_never_drawn(tmp_path: Path, sampling: Sampling) -> None:
    tensors = parity.tensors("tiny-a")
    first, others = tensors["codebook0_head.weight"], tensors["audio_head"]
    first[64:] *= 1000
    others[..., 64:] *= 1000
    edits = {"codebook0_head.weight": first, "audio_head": others}
    folder = parity.copy("tiny-a", tmp_path, **edits)
    assert codes(load_engine(folder), TEXT, sampling).max() >= 64  # the edit does what it is for
    codec = {"codec_config": {"codebook_size": 64}}
    parity.write_config(folder, parity.config("tiny-a") | codec)
    assert codes(load_engine(folder), TEXT, sampling).max() < 64


def reference_shares(logits: npt.NDArray, sampler: Sampler) -> npt.NDArray:
    """What a code's share is after the filters, one by one, each renormalised."""
    order = np.argsort(-logits)
    shares = np.exp(logits[order] / sampler.temperature)
    shares[sampler.top_k or len(shares) :] = 0
    shares /= shares.sum()
    n_kept = int(np.searchsorted(np.cumsum(shares), sampler.top_p)) + 1
    shares[n_kept:] = 0
    shares /= shares.sum()
    shares[shares < sampler.min_p * shares.max()] = 0
    result = np.zeros_like(shares)
    result[order] = shares / shares.sum()
    return result


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(20, 1.0, 0, 1.0, 0.0),
        Sampler(20, 0.7, 5, 1.0, 0.0),
        Sampler(20, 1.0, 0, 0.6, 0.0),
        Sampler(20, 1.3, 0, 1.0, 0.3),
        Sampler(20, 0.9, 8, 0.8, 0.25),
        Sampler(20, 1.0, 0, 0.0, 0.0),
    ],
    ids=["all", "top_k", "top_p", "min_p", "together", "top_p of 0"],
)
def test_codes_are_drawn_by_their_share_after_the_filters(sampler: Sampler) -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(3)) * 1.5
    (noise,) = Noise([0], 4000, sampler.n_kept, torch.device("cpu")).frame()
    drawn = sampler(logits.expand(len(noise), -1), noise)[:, 0]
    counts = np.bincount(drawn.numpy(), minlength=20) / len(noise)
    shares = reference_shares(logits.numpy(), sampler)
    assert set(counts.nonzero()[0]) <= set(shares.nonzero()[0])
    np.testing.assert_allclose(counts, shares, rtol=0, atol=0.03)


def test_few_weights_are_computed_with_one_thread_and_others_as_before() -> None:
    before, seen = torch.get_num_threads(), []

    def look(history: npt.NDArray, logits: npt.NDArray) -> npt.NDArray:
        seen.append(torch.get_num_threads())
        return logits

    torch.set_num_threads(2)
    try:
        for _ in tiny().frames(TEXT, replace(GREEDY, processors=(look,))):
            assert torch.get_num_threads() == 2
        with pytest.raises(Interrupted), threads(1):
            assert torch.get_num_threads() == 1
            raise Interrupted("within")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
    assert parse_sizes({}).is_small is False


def test_noise_is_never_zero() -> None:
    assert (Noise([0], 32, 2048, torch.device("cpu")).frame() > 0).all()


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-3), (torch.bfloat16, 1e-2)])
def test_rows_of_float16_are_multiplied_in_a_quicker_format(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, off: float
) -> None:
    monkeypatch.setattr(model, "quick_dtype", lambda: dtype)
    monkeypatch.setattr(model, "_BLOCK_WEIGHTS", 2400)  # a block of 100 rows
    matrix = model.Linear(24, 250).half()
    x = torch.randn(9, 24, generator=torch.Generator().manual_seed(0)).half()
    with torch.inference_mode():
        exact = F.linear(x.float(), matrix.weight.float())
        torch.testing.assert_close(matrix(x), exact.half(), rtol=off, atol=off)
        torch.testing.assert_close(matrix(x[:3]), exact[:3].half(), rtol=1e-3, atol=1e-3)


@on_each_backend
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_dtype_speaks(dtype: str) -> None:
    engine = load_engine(parity.PARITY / "tiny-b", dtype)
    said = codes(engine, parity.expected("tiny-b").prompt, replace(SEEDED, max_frames=3))
    assert said.shape == (3, 32)
    assert said.dtype == np.int32


def test_the_measured_dtype_is_one_of_three() -> None:
    assert choose_dtype("auto", "cpu") in ("float32", "bfloat16", "float16")
    assert choose_dtype("auto", "cpu", folder=parity.PARITY / "tiny-a") == "float32"


def test_a_dtype_asked_for_is_taken() -> None:
    assert choose_dtype("bfloat16", "cpu") == "bfloat16"


def test_an_unknown_dtype_or_device_is_refused() -> None:
    with pytest.raises(UsageError, match="dtype 'int8' is unknown; choose auto, float32"):
        choose_dtype("int8", "cpu")
    with pytest.raises(UsageError, match="device 'tpu' is unknown; choose auto, cuda, mps, cpu"):
        choose_device("tpu")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has one")
def test_a_device_that_is_absent_is_refused() -> None:
    with pytest.raises(UsageError, match=r"device 'mps': torch .* sees none; usable here: .*cpu"):
        choose_device("mps")


def test_a_device_chosen_by_itself_is_there() -> None:
    assert choose_device(choose_device("auto")) == choose_device("auto")


def test_importing_the_backends_imports_no_torch() -> None:
    code = "import sys, csm_chat.engine.choice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Training of the codec at tiny sizes, and the distances it learns from."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from moshi.utils.compile import no_compile
from safetensors.torch import load_file
from torch import Tensor

from csm_chat.codec.files import KYUTAI_FILE
from csm_chat.codec.mimi import load_codec
from csm_chat.errors import CheckpointError
from csm_chat.training.codec.adversary import Adversary
from csm_chat.training.codec.data import Crops, Recipe, crop, worker_batches
from csm_chat.training.codec.listener import Listener
from csm_chat.training.codec.losses import SpectralLoss, mel_filters, wave_distance
from csm_chat.training.codec.model import Sizes, quantise
from csm_chat.training.codec.train import CodecTask, export, perplexity
from csm_chat.training.loop import LOG, Plan, Run
from csm_chat.training.speech.espeak import Phoneme, Spoken
from csm_chat.training.speech.pitches import NO_PITCH, heard_pitches, pitch_classes
from csm_chat.training.speech.sounds import NO_SOUND, PAUSE_SOUND, SOUNDS_A_FRAME, heard_sounds
from csm_chat.types import FRAME_SAMPLES, FRAMES_PER_S, SAMPLE_RATE

TINY = Sizes(
    width=16,
    n_filters=4,
    heads=2,
    layers=1,
    feedforward=16,
    context=8,
    codebooks=4,
    entries=16,
    code_width=8,
)
RECIPE = Recipe(batch=4, crop_frames=6, plain_steps=4)
SOUNDS = (RECIPE.batch, RECIPE.crop_frames)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def tones(first_step: int) -> Iterator[Crops]:
    """Crops of tones; a step's depend on the step alone."""
    time = np.arange(RECIPE.crop_frames * FRAME_SAMPLES, dtype=np.float32) / SAMPLE_RATE
    step = first_step
    while True:
        pitches = np.random.default_rng(step).uniform(100, 400, (RECIPE.batch, 1))
        pcm = (0.2 * np.sin(2 * np.pi * pitches * time)).astype(np.float32)
        # what is said is how high it is, low or high
        sounds = np.broadcast_to((pitches > 250)[:, :, None], (*SOUNDS, SOUNDS_A_FRAME))
        heard = [heard_pitches(each, RECIPE.crop_frames) for each in pcm]
        yield Crops(
            pcm,
            sounds.astype(np.int64),
            np.stack([each.classes for each in heard]),
            np.stack([each.shifts for each in heard]),
        )
        step += 1


def held_out_tones() -> dict[str, Tensor]:
    return {"": torch.from_numpy(next(tones(10_000)).pcm)}


def plan(out: Path, steps: int) -> Plan:
    return Plan(
        *(out, 60.0),
        learning_rate=3e-3,
        warmup_steps=2,
        hold_steps=1000,
        total_steps=steps,
        ema_decay=0.9,
        validate_every=20,
        log_every=5,
        threads=1,
    )


def task(seed: int = 0) -> CodecTask:
    torch.manual_seed(seed)
    return CodecTask(TINY, RECIPE, held_out_tones())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    Run(plan(out, 200), task()).train(tones)
    return out


def log(out: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_losses_fall(trained: Path) -> None:
    losses = log(trained, "loss")
    assert losses[-1] < 0.8 * losses[0]
    held_out = log(trained, "valid_loss")
    assert held_out[-1] < held_out[0]
    assert log(trained, "skipped") == [0] * len(losses)
    sounds = log(trained, "sounds")
    assert sounds[-1] < sounds[0] - 0.1
    levels = log(trained, "levels")
    assert levels[-1] < 0.7 * levels[0]


def test_codebooks_are_used(trained: Path) -> None:
    for level in range(TINY.codebooks):
        assert log(trained, f"valid_use_{level}")[0] > 2


def test_resumed_run_equals_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = task(), task()
    Run(replace(plan(tmp_path / "a", 9), learning_rate=1e-3), whole).train(tones)

    class Stopped(Exception):
        pass

    run = Run(replace(plan(tmp_path / "b", 9), learning_rate=1e-3), parts)

    def until_six(first_step: int) -> Iterator[Crops]:
        yield from islice(tones(first_step), 6)
        raise Stopped

    with pytest.raises(Stopped):
        run.train(until_six)
    run.save()
    parts = task(seed=1)
    Run(replace(plan(tmp_path / "b", 9), learning_rate=1e-3), parts).train(tones)

    ours, theirs = whole.model.state_dict(), parts.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_export_loads_where_kyutais_does(trained: Path, tmp_path: Path) -> None:
    export(trained, tmp_path)

    codec = load_codec(tmp_path, TINY.codebooks)
    codes = codec.encode(next(tones(0)).pcm[0])
    with codec.decoding() as decode:
        pcm = decode(codes)
    assert codes.shape == (RECIPE.crop_frames, TINY.codebooks)
    assert pcm.shape == (RECIPE.crop_frames * FRAME_SAMPLES,)
    assert 0 < np.abs(pcm).max() < 1


def test_export_of_full_width_is_the_averaged_model(trained: Path, tmp_path: Path) -> None:
    export(trained, tmp_path, torch.float32)
    codec = load_codec(tmp_path, TINY.codebooks)
    averaged = task().model
    averaged.load_state_dict(torch.load(trained / "last.pt", weights_only=True)["ema"])

    pcm = next(tones(0)).pcm[0]
    with no_compile(), torch.no_grad():
        codes = averaged.encode(torch.from_numpy(pcm)[None, None])
        heard = averaged.decode(codes)[0, 0].numpy()
    ours = codec.encode(pcm)
    assert np.array_equal(ours, codes[0].T.numpy())
    with codec.decoding() as decode:
        assert np.abs(decode(ours) - heard).max() < 1e-4


def test_a_refined_decoder_learns_and_the_codes_stay(trained: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    export(trained, first)
    refining = CodecTask(TINY, RECIPE, held_out_tones(), begin=first, is_coded=True)
    with torch.no_grad():
        before = refining.validate(refining.model)
    Run(plan(tmp_path / "run", 40), refining).train(tones)
    assert log(tmp_path / "run", "valid_loss")[-1] < before["loss"]
    export(tmp_path / "run", second)
    old, new = load_file(first / KYUTAI_FILE), load_file(second / KYUTAI_FILE)
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"decoder", "decoder_transformer", "upsample"}


def test_training_begins_with_what_was_exported(trained: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    export(trained, first)
    begun = CodecTask(TINY, RECIPE, held_out_tones(), begin=first)
    with torch.no_grad():
        before = begun.validate(begun.model)["loss"]
    assert before == pytest.approx(log(trained, "valid_loss")[-1], rel=0.05)
    Run(plan(tmp_path / "run", 5), begun).train(tones)
    export(tmp_path / "run", second)
    old, new = load_file(first / KYUTAI_FILE), load_file(second / KYUTAI_FILE)
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert {"encoder", "quantizer", "decoder"} <= changed
    with pytest.raises(CheckpointError, match="other sizes"):
        CodecTask(replace(TINY, width=32), RECIPE, {}, begin=first)


def test_export_without_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train first"):
        export(tmp_path, tmp_path / "out")


def test_judges_learn_and_resume() -> None:
    torch.manual_seed(0)
    whole = Adversary("cpu")
    noise, tone = torch.randn(2, 4 * FRAME_SAMPLES) * 0.1, torch.from_numpy(next(tones(0)).pcm)[:2]
    original = tone[:, : 4 * FRAME_SAMPLES]
    judged = [float(whole.losses(noise, original)["judges"]) for _ in range(12)]
    assert judged[-1] < 0.8 * judged[0]

    again = Adversary("cpu")
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    for adversary in (whole, again):
        adversary.losses(noise, original)
    ours, theirs = whole.losses(noise, original), again.losses(noise, original)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_listener_tells_sounds_that_are_not_the_originals() -> None:
    torch.manual_seed(0)
    whole = Listener("cpu")
    time = torch.arange(4 * FRAME_SAMPLES) / SAMPLE_RATE
    tones = torch.stack([0.1 * torch.sin(2 * torch.pi * hz * time) for hz in (300, 2000)])
    sounds = torch.tensor([5, 9])[:, None, None].expand(2, 4, SOUNDS_A_FRAME)
    found = [whole.losses(tones, tones, sounds) for _ in range(30)]
    assert found[-1]["listener"] < 0.1 < found[0]["listener"]
    assert found[-1]["misheard"] < 0.01 and found[-1]["unlike"] < 0.1

    heard = tones.flip(0).requires_grad_()
    other = whole.losses(heard, tones, sounds)
    assert other["misheard"] > 2 and other["unlike"] > 0.3
    (other["misheard"] + other["unlike"]).backward()
    assert heard.grad is not None and heard.grad.abs().max() > 0

    again = Listener("cpu")
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    ours, theirs = (each.losses(tones, tones, sounds) for each in (whole, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_run_takes_on_judges_half_way(tmp_path: Path) -> None:
    Run(plan(tmp_path, 2), task()).train(tones)
    torch.manual_seed(0)
    judged = CodecTask(TINY, RECIPE, held_out_tones(), adversary=Adversary("cpu"))

    assert Run(replace(plan(tmp_path, 5), log_every=1), judged).train(tones) == 5
    assert len(log(tmp_path, "judges")) == 3


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(3, TINY.width, 5, generator=torch.Generator().manual_seed(0))


def filled_task() -> CodecTask:
    """A task whose codebooks hold entries, as after a first step."""
    codec = task()
    torch.manual_seed(1)
    for name, buffer in codec.model.named_buffers():
        if name.endswith("embedding_sum"):
            buffer.normal_()
        elif name.endswith("_initialized"):
            buffer.fill_(1)
    return codec


def test_each_item_is_quantised_to_its_own_depth(latents: Tensor) -> None:
    model = filled_task().model
    depths = torch.tensor([1, 3, 4])

    with torch.no_grad():
        quantised, *_ = quantise(model.eval(), latents, depths, step=0)
        codes = model.quantizer.encode(latents)
        for item, depth in enumerate(depths.tolist()):
            expected = model.quantizer.decode(codes[item : item + 1, :depth])
            assert torch.allclose(quantised[item : item + 1], expected, atol=1e-5)


def test_depth_zero_passes_unquantised(latents: Tensor) -> None:
    model = filled_task().model.eval()

    with torch.no_grad():
        mixed, *_ = quantise(model, latents, torch.tensor([0, 2, 0]), step=0)
        alone, commitment, _ = quantise(model, latents, torch.zeros(3, dtype=torch.long), step=0)
    assert torch.allclose(mixed[[0, 2]], alone[[0, 2]], atol=1e-6)
    assert not torch.allclose(mixed[1], alone[1], atol=1e-2)
    assert commitment == 0


def test_what_codes_say_is_what_codebooks_hold(latents: Tensor) -> None:
    model = filled_task().model.eval()
    rest = model.quantizer.rvq_rest

    with torch.no_grad():
        *_, said = quantise(model, latents, torch.tensor([4, 1, 0]), step=0)
        codes = model.quantizer.encode(latents)[:, 1:]  # of the second group
        entry = rest.vq.decode(codes[:, :1].transpose(0, 1)).transpose(1, 2)
    assert len(said) == 3
    vectors = rest.input_proj(latents).transpose(1, 2)
    assert torch.allclose(said[1][2], vectors[2]) and torch.allclose(said[2][2], vectors[2])
    assert torch.allclose(said[1][:2], entry[:2], atol=1e-5)


def test_gradients_pass_only_codebooks_that_are_heard(latents: Tensor) -> None:
    model = filled_task().model.train()

    quantised, *_ = quantise(model, latents, torch.ones(3, dtype=torch.long), step=1)
    quantised.sum().backward()

    quantizer = model.quantizer
    assert quantizer.rvq_first.input_proj.weight.grad.abs().sum() > 0
    assert quantizer.rvq_rest.input_proj.weight.grad.abs().sum() == 0


def test_codebooks_begin_one_a_step(latents: Tensor) -> None:
    model = task().model.train()
    levels = [layer._codebook for layer in model.quantizer.rvq_rest.vq.layers]

    begun = []
    for step in range(len(levels)):
        fresh = torch.randn(latents.shape, generator=torch.Generator().manual_seed(step))
        quantise(model, fresh, torch.full((3,), 4), step)
        begun.append(sum(level.initialized for level in levels))

    assert begun == [1, 2, 3]
    assert all(level.embedding.std() > 0.01 for level in levels)


def test_dead_entries_are_replaced(latents: Tensor) -> None:
    model = filled_task().model.train()
    codebook = model.quantizer.rvq_first.vq.layers[0]._codebook
    codebook.embedding_sum[3] = 1e6
    codebook.cluster_usage[3] = 1e-3
    before = codebook.embedding_sum[3].clone()
    depths = torch.full((3,), 4)

    quantise(model, latents, depths, step=1)
    assert torch.allclose(codebook.embedding_sum[3], before * codebook.decay)
    quantise(model, latents, depths, step=5)
    assert codebook.embedding_sum[3].abs().max() < 100


def test_new_weights_keep_the_level_of_sound() -> None:
    codec = task()
    pcm = torch.randn(2, 1, 12 * FRAME_SAMPLES) * 0.1

    with no_compile(), torch.no_grad():
        latents = codec.model.encode_to_latent(pcm, quantize=False)
        steps = codec.model.encoder(pcm)
        heard = codec.model.decoder(steps)
    assert 0.1 < latents.std() < 3
    assert 0.005 < heard.std() < 0.5


def test_perplexity_counts_entries_in_use() -> None:
    assert perplexity(torch.tensor([[0, 1, 2, 3]]), 16) == pytest.approx(4)
    assert perplexity(torch.zeros(1, 9, dtype=torch.long), 16) == pytest.approx(1)


def test_crops_have_one_length_and_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    for length in (100, 5 * FRAME_SAMPLES, 40 * FRAME_SAMPLES):
        clip = rng.uniform(-1, 1, length).astype(np.float32)
        for _ in range(20):
            piece = crop(Spoken(clip, ()), RECIPE, rng)
            assert piece.pcm.shape == (RECIPE.crop_frames * FRAME_SAMPLES,)
            assert piece.pcm.dtype == np.float32
            assert np.abs(piece.pcm).max() <= 1
            assert (piece.sounds == NO_SOUND).all()


def test_a_crops_sounds_are_those_heard_in_it() -> None:
    loud, n = np.ones(8 * FRAME_SAMPLES, np.float32), 4 * FRAME_SAMPLES
    pcm = np.concatenate([loud * 0.01, loud])  # "a", then "b", louder
    spoken = Spoken(pcm, (Phoneme("a", 0.0), Phoneme("b", 8 / FRAMES_PER_S)))
    (a,), (b,) = ({*heard_sounds([Phoneme(name, 0)], 1).flat} for name in "ab")
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        piece = crop(spoken, Recipe(crop_frames=4), rng)
        levels = np.abs(piece.pcm[:n]).reshape(4, SOUNDS_A_FRAME, -1)
        middles = levels[:, :, levels.shape[2] // 2]
        quiet = np.unique(middles[middles > 0])
        for level, sound in zip(middles.flat, piece.sounds.flat, strict=True):
            if level == 0:  # the silence before a clip, or after it
                assert sound in (PAUSE_SOUND, b)
            elif len(quiet) == 2:
                assert sound == (a if level == quiet[0] else b)
            seen.add(int(sound))
    assert seen == {PAUSE_SOUND, a, b}


def noises(seed: int) -> Iterator[Spoken]:
    rng = np.random.default_rng(seed)
    while True:
        yield Spoken(rng.uniform(-1, 1, 6 * FRAME_SAMPLES).astype(np.float32), ())


@pytest.mark.parametrize("n_workers", [1, 3])
def test_crops_of_a_step_are_the_same_wherever_a_run_begins(n_workers: int) -> None:
    recipe = Recipe(batch=2, crop_frames=4, pool=2, block_steps=3)

    def crops(first_step: int, n: int) -> list[Crops]:
        shares = [
            worker_batches(noises, first_step, 0, recipe, n_workers, worker)
            for worker in range(n_workers)
        ]
        return [next(shares[step % n_workers]) for step in range(n)]

    whole = [each.pcm for each in crops(0, 9)]
    assert np.array_equal(whole[5:], [each.pcm for each in crops(5, 4)])
    assert len({piece.tobytes() for piece in whole}) == 9


def tone(pitch: float) -> Tensor:
    """A buzz: harmonics of equal level up to 4 kHz."""
    time = torch.arange(2 * 12 * FRAME_SAMPLES) / SAMPLE_RATE
    harmonics = torch.arange(1, int(4000 / pitch))[:, None]
    return 0.02 * torch.sin(2 * torch.pi * pitch * harmonics * time).sum(dim=0)[None]


def test_distance_of_a_sound_to_itself_is_zero() -> None:
    figures = SpectralLoss()(tone(120), tone(120))

    assert all(float(value) < 1e-6 for value in figures.values())


def test_distance_hears_pitch() -> None:
    losses = SpectralLoss()
    near, far = losses(tone(120.3), tone(120)), losses(tone(140), tone(120))

    for name in ("log_magnitude", "convergence", "mel"):
        assert far[name] > 1.2 * near[name]


def humming(pitch: float, phase: float) -> Tensor:
    """A fundamental and a softer second wave that goes with it."""
    time = torch.arange(4 * FRAME_SAMPLES) / SAMPLE_RATE
    turn = 2 * torch.pi * pitch * time + phase
    return (0.2 * torch.cos(turn) + 0.1 * torch.cos(2 * turn + 1))[None]


def waves_apart(heard: Tensor, original: Tensor) -> float:
    found = heard_pitches(original[0].numpy(), 4)
    shifts, is_voiced = torch.from_numpy(found.shifts), torch.from_numpy(found.classes) != NO_PITCH
    return float(wave_distance(heard, original, shifts[None], is_voiced[None]))


def test_a_voice_is_heard_where_it_is_quiet_and_only_while_it_speaks() -> None:
    losses, voice = SpectralLoss(), tone(120)
    hiss = 3e-4 * torch.randn(voice.shape, generator=torch.Generator().manual_seed(0))
    soft, louder, silence = voice + hiss, voice + 2 * hiss, torch.zeros_like(voice)

    apart = float(losses(louder, soft)["timbre"])
    assert apart > 0.1  # a quarter of the bands are above what the voice has
    with_pause = [torch.cat((each, silence), 1) for each in (louder, soft)]
    assert float(losses(*with_pause)["timbre"]) == pytest.approx(apart, rel=0.1)
    pauses = [torch.cat((soft, each), 1) for each in (hiss, silence)]
    assert float(losses(*pauses)["timbre"]) < 0.1 * apart


@pytest.mark.parametrize("pitch", [100, 150, 250])
def test_waves_are_compared_as_if_each_frame_began_at_the_same_phase(pitch: float) -> None:
    # 12.5 periods a second more or less: every frame's middle is a crest
    crested = humming(pitch, 2 * torch.pi * (1 - pitch * 0.04 % 1))
    for phase in (0.0, 1.0, 4.0):
        assert waves_apart(crested, humming(pitch, phase)) < 0.15
    assert waves_apart(humming(pitch * 1.1, 0), crested) > 0.9
    assert waves_apart(torch.zeros_like(crested), crested) == pytest.approx(1, abs=0.01)


def test_pitches_are_classes_of_three_per_cent() -> None:
    assert pitch_classes(np.array([0.0, 70, 140, 1000, 20])).tolist() == [0, 1, 25, 57, 1]
    silence = np.zeros(3 * FRAME_SAMPLES, np.float32)
    found = heard_pitches(silence, 4)
    assert found.classes.tolist() == found.shifts.tolist() == [NO_PITCH] * 4


def test_distance_to_silence_has_finite_gradients() -> None:
    silence = torch.zeros(2, 4 * FRAME_SAMPLES, requires_grad=True)

    SpectralLoss()(silence, torch.zeros(2, 4 * FRAME_SAMPLES))["spectral_loss"].backward()

    assert silence.grad is not None
    assert torch.isfinite(silence.grad).all()


@pytest.mark.parametrize(("size", "n_mels"), [(2048, 80), (256, 20)])
def test_mel_bands_weigh_one_and_rise(size: int, n_mels: int) -> None:
    filters = mel_filters(size, n_mels)

    assert filters.shape == (n_mels, size // 2 + 1)
    assert torch.allclose(filters.sum(dim=1), torch.ones(n_mels))
    centres = (filters * torch.arange(size // 2 + 1)).sum(dim=1)
    assert (centres.diff() >= 0).all()

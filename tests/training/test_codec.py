"""The codec's trainer, on clips of a few sines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from csm_chat.codec.load import load_codec
from csm_chat.codec.spectral.quantizer import Quantizer, nearest, pitch_of
from csm_chat.codec.spectral.sizes import HOP, STEPS
from csm_chat.codec.spectral.waves import waves_of
from csm_chat.errors import CheckpointError, UsageError
from csm_chat.training.codec.adversary import Adversary
from csm_chat.training.codec.data import Crops, Recipe, Shelf, crop, floats, sounds_in
from csm_chat.training.codec.export import export, round_trips, trained
from csm_chat.training.codec.fit import fit, heard, means, perplexity
from csm_chat.training.codec.losses import SpectralLoss
from csm_chat.training.codec.model import Model
from csm_chat.training.codec.pulses import sharpened
from csm_chat.training.codec.source import given_source
from csm_chat.training.codec.train import CodecTask, decoder_of, encoder, fitted
from csm_chat.training.csm.codes import frozen_codec
from csm_chat.training.export import codec_sizes, export_codec
from csm_chat.training.loop import Plan, Run
from csm_chat.training.speech.recordings import Verdict, add_verdicts
from csm_chat.training.speech.sounds import PAUSE_SOUND, sound_class
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE
from tests.codec import test_spectral as tiny

TINY = replace(tiny.TINY, shares=(4, 8))
RECIPE = Recipe(batch=2, crop_frames=6)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def vowel(hz: float, seconds: float = 1.0) -> np.ndarray:
    """A tone of ten harmonics, after a tenth of a second of silence."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(np.cos(2 * np.pi * k * hz * times) / k for k in range(1, 11))
    tone *= (times > 0.1) * 0.1
    return tone.astype(np.float32)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two turns, as a teacher leaves them."""
    folder = tmp_path_factory.mktemp("speech")
    add_conversation(folder, 0, (120.0, 200.0))
    return folder


def add_conversation(folder: Path, number: int, pitches: tuple[float, ...]) -> None:
    shard = folder / "00000"
    shard.mkdir(exist_ok=True)
    rows = []
    for turn, hz in enumerate(pitches):
        name = f"{number:06d}-{turn}.flac"
        soundfile.write(shard / name, vowel(hz), SAMPLE_RATE, subtype="PCM_16")
        rows.append(
            {"text": "Ah.", "voice": "v", "phonemes": "\u02c8A.", "lengths": [4, 1, 31, 3, 1]}
            | {"conversation": number, "turn": turn, "speaker": 0, "speed": 1.0}
            | {"samples": SAMPLE_RATE, "peak": 0.5, "file": name}
        )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (shard / f"{number:06d}.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def quantizer(speech: Path) -> Quantizer:
    torch.manual_seed(0)
    return fit(TINY, heard(Shelf(speech).clips), listener_steps=3)


def run_in(
    out: Path, speech: Path, quantizer: Quantizer, steps: int, rate: float = 3e-3
) -> Run[Crops]:
    torch.manual_seed(0)
    shelf = Shelf(speech, encoder(quantizer))
    task = CodecTask(Model(TINY, quantizer), TINY, shelf.clips[:1])
    plan = Plan(
        *(out, 1.0),
        learning_rate=rate,
        warmup_steps=1,
        total_steps=steps,
        threads=1,
        log_every=5,
        validate_every=10_000,
        ema_decay=0.5,
    )
    run: Run[Crops] = Run(plan, task)
    run.train(lambda first: shelf.batches(first, 0, RECIPE))
    return run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, speech: Path, quantizer: Quantizer) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run_in(folder, speech, quantizer, 20)
    return folder


def test_losses_fall(out: Path) -> None:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for name in ("mel", "log_magnitude", "waves"):
        assert lines[-1][name] < lines[0][name], name


def test_resumed_run_equals_uninterrupted_one(
    tmp_path: Path, speech: Path, quantizer: Quantizer
) -> None:
    for name, stops in (("once", (4,)), ("twice", (2, 4))):
        for stop in stops:
            # a rate that does not depend on where the run ends
            run = run_in(tmp_path / name, speech, quantizer, stop, rate=0.0)
        assert run.step == 4
    one, other = (trained(tmp_path / name)[1].state_dict() for name in ("once", "twice"))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, msg=name)


def test_an_exported_codec_has_the_trainers_codes(
    out: Path, speech: Path, quantizer: Quantizer, tmp_path: Path
) -> None:
    export(out, tmp_path, torch.float32)
    codec = load_codec(tmp_path, TINY.codebooks)
    clip = Shelf(speech, encoder(quantizer)).clips[0]
    codes = codec.encode(floats(clip))
    np.testing.assert_array_equal(codes, clip.codes)
    with codec.decoding() as decode:
        assert decode(codes).shape == (len(codes) * FRAME_SAMPLES,)


def test_a_stream_is_what_the_trainer_hears(out: Path, tmp_path: Path) -> None:
    export(out, tmp_path, torch.float32)
    codec = load_codec(tmp_path, TINY.codebooks)
    _, model = trained(out)
    with torch.no_grad():  # the two draw different noise
        model.decoder.colours.bias.view(4, -1)[1] = -50
    codes = codec.encode(vowel(150))
    with torch.inference_mode():
        codec._decoder.colours.bias.view(4, -1)[1] = -50
    whole = model.spoken(model.quantizer.decode(torch.from_numpy(codes).long()[None])).pcm[0]
    with codec.decoding() as decode:
        np.testing.assert_allclose(decode(codes), whole.clamp(-1, 1).numpy(), atol=1e-4)


def test_export_without_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train first"):
        export(tmp_path, tmp_path / "codec")


def test_round_trips_are_written_for_ears(out: Path, speech: Path, tmp_path: Path) -> None:
    clips = Shelf(speech).clips
    for name in ("trip", "plain", "original"):
        round_trips(trained(out)[1], clips, tmp_path, name)
        found, rate = soundfile.read(tmp_path / f"{name}_01.wav")
        assert (len(found), rate) == (len(clips[1].pcm), SAMPLE_RATE)
    assert json.loads((tmp_path / "sentences.json").read_text()) == ["Ah.", "Ah."]


def test_validation_judges_round_trips(out: Path, speech: Path, quantizer: Quantizer) -> None:
    clips = Shelf(speech, encoder(quantizer)).clips
    task = CodecTask(Model(TINY, quantizer), TINY, clips)
    assert task.validate(trained(out)[1])["mel"] > 0


def test_analysis_is_fitted_once_for_a_run(
    tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csm_chat.training.codec.train._LISTENER_STEPS", 2)
    clips = Shelf(speech).clips
    first = fitted(tmp_path, TINY, speech, clips).state_dict()
    for name, tensor in fitted(tmp_path, TINY, speech, clips).state_dict().items():
        torch.testing.assert_close(tensor, first[name])


def test_codes_say_spectra_the_better_the_more_there_are(
    speech: Path, quantizer: Quantizer
) -> None:
    frames = heard(Shelf(speech).clips).frames
    codes = quantizer.encode(frames)
    errors = [
        float((quantizer.decode(codes[..., :n]).spectra - frames.spectra).square().mean())
        for n in (2, 3, 4)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * float((frames.spectra - quantizer.mean).square().mean())


def test_codebook_1_says_pitch(speech: Path, quantizer: Quantizer) -> None:
    clips = Shelf(speech).clips
    found = heard(clips[:1]).frames
    said = pitch_of(quantizer.decode(quantizer.encode(found)).contour)[0, 30:60]
    np.testing.assert_allclose(said.numpy(), 120, rtol=0.05)


def test_means_are_of_what_is_nearest() -> None:
    torch.manual_seed(0)
    vectors = torch.tensor([[0.0], [0.2], [5.0], [5.2]]).repeat(5, 1)
    found = means(vectors, 8).unique(dim=0)
    assert float((vectors - found[nearest(found, vectors)]).abs().max()) <= 0.11


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recordings"):
        Shelf(tmp_path)


def test_new_conversations_are_found(tmp_path: Path) -> None:
    add_conversation(tmp_path, 0, (120.0,))
    shelf = Shelf(tmp_path)
    add_conversation(tmp_path, 1, (140.0, 160.0))
    shelf.refresh()
    shelf.refresh()
    assert len(shelf.clips) == 3
    assert shelf.hours == pytest.approx(3 / 3600)


def test_misheard_turns_are_left_out(tmp_path: Path) -> None:
    add_conversation(tmp_path, 0, (120.0, 180.0))
    file = "000000-0.flac"
    add_verdicts(tmp_path, 0, [Verdict(file, "Oh no.", errors=2, words=1)])
    (clip,) = Shelf(tmp_path).clips
    assert clip.track.heard.hz[50] == pytest.approx(180, rel=0.01)


def test_pitch_is_found_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_conversation(tmp_path, 0, (120.0,))
    first = Shelf(tmp_path).clips[0].track
    monkeypatch.setattr("csm_chat.training.codec.tracks.waves_of", None)
    again = Shelf(tmp_path).clips[0].track
    np.testing.assert_array_equal(again.sharp.phase, first.sharp.phase)
    np.testing.assert_array_equal(again.heard.is_voiced, first.heard.is_voiced)


def test_sharpened_pulses_keep_high_harmonics_still() -> None:
    pcm = vowel(140)
    waves = waves_of(pcm)
    moments = np.arange(len(waves.hz)) * HOP / SAMPLE_RATE
    rough = replace(waves, phase=waves.phase + 0.3 * np.sin(2 * np.pi * 4 * moments))
    errors = [
        float(np.abs(np.diff(np.unwrap(each.phase - 2 * np.pi * 140 * moments))[25:85]).mean())
        for each in (rough, sharpened(pcm, rough))
    ]
    assert errors[1] < 0.3 * errors[0]


def test_crops_of_a_step_are_the_same_wherever_a_run_begins(
    speech: Path, quantizer: Quantizer
) -> None:
    shelf = Shelf(speech, encoder(quantizer))
    begun, resumed = shelf.batches(0, 5, RECIPE), shelf.batches(1, 5, RECIPE)
    next(begun)
    np.testing.assert_array_equal(next(begun).pcm, next(resumed).pcm)


def test_a_crops_codes_are_of_its_samples(speech: Path, quantizer: Quantizer) -> None:
    rng = np.random.default_rng(0)
    for clip in Shelf(speech, encoder(quantizer)).clips:
        one = crop(clip, RECIPE, rng)
        n = RECIPE.crop_frames
        assert one.pcm.shape == (n * FRAME_SAMPLES,)
        assert one.codes.shape == (n, TINY.codebooks)
        assert len(one.hz) == len(one.phase) >= n * STEPS + 4
        whole = np.pad(floats(clip), (0, n * FRAME_SAMPLES))
        firsts = [
            i
            for i in range(len(clip.codes) - n + 1)
            if np.array_equal(whole[i * FRAME_SAMPLES :][: len(one.pcm)], one.pcm)
        ]
        assert any(np.array_equal(clip.codes[i : i + n], one.codes) for i in firsts)


def test_sounds_follow_the_teachers_lengths(speech: Path) -> None:
    (clip, _) = Shelf(speech).clips
    pause, ah = PAUSE_SOUND, sound_class("A")
    found = sounds_in(clip, 0, 13).flatten()
    # from 100 ms to 900 ms, heard 15 ms before a window's middle
    assert [*found[:3], *found[4:32], *found[34:]] == [pause] * 3 + [ah] * 28 + [pause] * 5


@pytest.mark.parametrize("hz", [80.0, 140.0, 260.0])
def test_waves_follow_pitch_and_phase(hz: float) -> None:
    waves = waves_of(vowel(hz))
    inner = slice(20, 90)
    assert waves.is_voiced[inner].all()
    np.testing.assert_allclose(waves.hz[inner], hz, rtol=0.01)
    moments = np.arange(len(waves.hz)) * HOP / SAMPLE_RATE
    missed = np.exp(1j * (waves.phase - 2 * np.pi * hz * moments))[inner]
    np.testing.assert_allclose(missed, 1, atol=0.1)


def test_silence_has_no_pitch() -> None:
    assert not waves_of(np.zeros(4800, np.float32)).is_voiced.any()


def test_given_pulses_stand_where_the_originals_do() -> None:
    pcm = vowel(125)
    waves = waves_of(pcm)
    fields = (torch.from_numpy(x)[None] for x in (waves.hz, waves.phase))
    tone = given_source(*fields, len(pcm) - 8 * HOP)[0, 0].numpy()
    middle = slice(SAMPLE_RATE // 4, SAMPLE_RATE // 2)
    assert np.corrcoef(tone[middle], pcm[middle])[0, 1] > 0.2
    assert abs(int(tone[middle].argmax()) - int(pcm[middle].argmax())) % 192 < 4


def test_distance_of_a_sound_to_itself_is_zero() -> None:
    pcm = torch.from_numpy(vowel(150))[None]
    for name, distance in SpectralLoss()(pcm, pcm, pcm).items():
        assert float(distance) < 1e-3, name


def test_distance_to_silence_has_finite_gradients() -> None:
    silence = torch.zeros(1, SAMPLE_RATE // 2, requires_grad=True)
    original = torch.from_numpy(vowel(150))[None, : SAMPLE_RATE // 2]
    torch.stack([*SpectralLoss()(silence, original, silence).values()]).sum().backward()
    assert silence.grad is not None
    assert bool(silence.grad.isfinite().all())


def test_perplexity_counts_entries_in_use() -> None:
    assert perplexity(torch.tensor([1, 1, 5, 5]), 8) == pytest.approx(2)


def test_a_decoder_goes_on_in_another_run(out: Path) -> None:
    model = Model(replace(TINY, shares=(2, 2, 8)))
    model.decoder.load_state_dict(decoder_of(out))
    expected = trained(out)[1].decoder.state_dict()
    for name, tensor in model.decoder.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], msg=name)


def test_what_is_decoded_varies_no_less_than_what_was_heard(
    speech: Path, quantizer: Quantizer
) -> None:
    frames = heard(Shelf(speech).clips).frames
    back = quantizer.decode(quantizer.encode(frames))
    ours, theirs = (quantizer.coefficients(x.spectra)[0].var(0) for x in (back, frames))
    assert float(quantizer.gains.max()) > 1.01
    assert bool((ours >= 0.99 * theirs)[theirs > 1e-6].all())


def test_judges_learn_and_resume() -> None:
    torch.manual_seed(0)
    judges = Adversary("cpu")
    pcm = torch.from_numpy(vowel(150))[None]
    first = judges.losses(pcm * 0.5, pcm)
    other = Adversary("cpu")
    other.load_state_dict(judges.state_dict())
    torch.manual_seed(1)
    expected = judges.losses(pcm * 0.5, pcm)
    torch.manual_seed(1)
    found = other.losses(pcm * 0.5, pcm)
    assert float(first["judges"]) > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-3)


def test_a_csm_learns_a_spectral_codecs_codes(out: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    export(out, whole)
    part.mkdir()
    export_codec(whole, part, 3, torch.bfloat16)
    assert (codec_sizes(whole), codec_sizes(part)) == ((4, 8), (3, 8))
    clips = [vowel(120), vowel(200, 0.5)]
    all_codes, codes = (frozen_codec(x, torch.device("cpu")).encode(clips) for x in (whole, part))
    np.testing.assert_array_equal(codes, all_codes[:, :3])
    assert load_codec(part, 3).identity == load_codec(whole, 4).identity
    with pytest.raises(CheckpointError, match="has 4 codebooks, 5 are asked for"):
        export_codec(whole, part, 5, torch.bfloat16)

"""What judges speech: measures on known signals, a recogniser that learns, figures that add up."""

from __future__ import annotations

import json
from functools import cache
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import csm_chat
from csm_chat.conversation.session import Session
from csm_chat.errors import CheckpointError, UsageError
from csm_chat.training.ears.augment import altered, with_noise
from csm_chat.training.ears.hear import Heard
from csm_chat.training.ears.lexicon import Lexicon, count_words
from csm_chat.training.ears.measures import (
    character_errors,
    median_f0,
    normalise,
    pitch_track,
)
from csm_chat.training.ears.recogniser import (
    POOL,
    Batch,
    Recogniser,
    Training,
    classes,
    collate,
    export,
    schedule,
)
from csm_chat.training.ears.recogniser_net import LETTERS, Mels, Network, Sizes, levelled, spelled
from csm_chat.training.ears.words import error_rate, errors
from csm_chat.training.evaluate import Judges, Lineup, round_trip, speak, speed_figures
from csm_chat.training.figures import Figure, table, write_figures
from csm_chat.training.loop import Plan, Run
from csm_chat.training.script import Script, draw_script, voice_of
from csm_chat.training.speech.corpus import Clip
from csm_chat.types import SAMPLE_RATE, Backend, Pcm, Turn

TINY = Sizes(width=64, blocks=1, kernel=5, gru=64, dropout=0.0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def hum(f0_hz: float, seconds: float, formant_hz: float = 700, seed: int = 0) -> Pcm:
    """Harmonics under one resonance, with a little noise."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros(len(t))
    for harmonic in range(1, int(4000 / f0_hz)):
        hz = harmonic * f0_hz
        wave += np.sin(2 * np.pi * hz * t + harmonic) / (1 + ((hz - formant_hz) / 300) ** 2)
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.1 * wave / wave.std() + 0.001 * noise).astype(np.float32)


def spell(text: str) -> Pcm:
    """Each letter a chord of its own, far from others: speeds are varied while training."""
    t = np.arange(round(0.1 * SAMPLE_RATE)) / SAMPLE_RATE
    lowest = [200 * 1.3 ** " abcde".index(c) for c in text]
    tones = [sum(np.sin(2 * np.pi * hz * n * t) for n in (1, 4, 7)) for hz in lowest]
    fade = np.hanning(len(t))
    return np.concatenate([0.1 * fade * tone for tone in tones]).astype(np.float32)


def test_text_is_reduced_to_what_can_be_heard():
    assert normalise("\u201cDon\u2019t,\u201d I said: 'Caf\u00e9 - no!'") == "don't i said cafe no"
    assert normalise("...") == ""


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("flaw", "lawn", 2),
        ("same", "same", 0),
        ("ab", "ba", 2),
    ],
)
def test_errors_are_the_edit_distance(said, heard, errors):
    assert character_errors(said, heard) == (errors, len(said))


def naive_distance(said: str, heard: str) -> int:
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


@settings(max_examples=50, deadline=None)
@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_errors_agree_with_the_textbook(said, heard):
    assert character_errors(said, heard) == (naive_distance(said, heard), len(said))


@pytest.mark.parametrize("f0_hz", [70, 110, 151.5, 222, 390])
@pytest.mark.parametrize("formant_hz", [500, 1800])
def test_pitch_of_a_hum_is_its_own(f0_hz, formant_hz):
    assert median_f0(hum(f0_hz, 0.5, formant_hz)) == pytest.approx(f0_hz, rel=0.01)


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    assert np.mean(pitch_track(noise) > 0) < 0.02
    assert median_f0(np.zeros(SAMPLE_RATE, np.float32)) is None
    assert median_f0(np.zeros(0, np.float32)) is None


def test_silence_does_not_move_the_pitch():
    pauses = np.zeros(SAMPLE_RATE, np.float32)
    pauses += 1e-4 * np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    clip = np.concatenate([pauses, hum(200, 0.5), pauses])
    assert median_f0(clip) == pytest.approx(200, rel=0.02)


def test_greedy_reading_merges_repeats_and_drops_blanks():
    a, b, space = (LETTERS.index(c) + 1 for c in "ab ")
    assert spelled([0, a, a, 0, a, space, space, 0, b, space]) == "aa b"


def spelt(*likely: str) -> np.ndarray:
    """Log-probabilities of steps at which these letters are about alike; _ is the blank."""
    steps = np.full((len(likely), 1 + len(LETTERS)), 1e-4)
    for step, letters in zip(steps, likely, strict=True):
        for rank, letter in enumerate(letters):
            step[0 if letter == "_" else LETTERS.index(letter) + 1] = 1 - 0.1 * rank
    return np.log(steps / steps.sum(1, keepdims=True))


@pytest.mark.parametrize(
    ("likely", "heard"),
    [
        ("a _ a", "aa"),  # no such word: spelt
        ("t a", "ta"),  # likewise
        ("t ie a", "tea"),  # not the likeliest letters, but a word
        ("b e _ e", "bee"),
        ("t e a sp _ b e _ e", "tea bee"),
        ("_", ""),
    ],
)
def test_known_words_are_preferred_to_letters(likely: str, heard: str):
    lexicon = Lexicon({"tea": 5, "bee": 3, "beer": 1}, LETTERS)
    steps = [step.replace("sp", " ") for step in likely.split()]
    assert lexicon.words(spelt(*steps)) == heard


def test_classes_spell_the_text_as_read_out():
    assert "".join(LETTERS[c - 1] for c in classes("It's 3.")) == "it's three"


def test_mels_do_not_depend_on_loudness():
    pcm = torch.from_numpy(hum(150, 0.3))[None]
    mels = Mels()
    assert torch.allclose(levelled(mels(pcm)), levelled(mels(0.1 * pcm)), atol=0.02)


def test_changed_spectra_differ_but_keep_their_shape():
    torch.manual_seed(0)
    pcm = torch.from_numpy(np.stack([hum(150, 0.5), hum(90, 0.5)]))
    mels = Mels()(with_noise(pcm))
    changed = altered(mels)
    assert changed.shape == mels.shape
    assert torch.isfinite(changed).all()
    assert (changed - mels).abs().mean() > 0.05


def one_batch(texts: list[str]) -> Batch:
    made = [Clip(text, "tones", spell(text)) for text in texts]
    return collate(made, np.random.default_rng(0))


def test_a_batch_holds_every_clip_and_letter():
    batch = one_batch(["abc", "a"])
    assert batch.pcm.shape == (2, batch.n_samples.max())
    assert batch.n_letters.tolist() == [3, 1]
    assert [batch.letters[0].tolist(), batch.letters[1, :1].tolist()] == [classes("abc"), [3]]
    assert not batch.pcm[1, batch.n_samples[1] :].any()


def test_four_clips_are_learned_by_heart_and_read_back_from_the_checkpoint(tmp_path: Path):
    texts = ["bad cab", "bed", "ace", "cede"]
    torch.manual_seed(0)
    held_out = [Clip(text, "tones", spell(text)) for text in texts]
    plan = Plan(tmp_path, 4, total_steps=200, learning_rate=3e-3, warmup_steps=20, log_every=200)
    task = Training(TINY, "cpu", held_out, alter=lambda mels: mels)
    random = np.random.default_rng(0)

    def endless(step: int):
        while True:
            yield collate(held_out, random)

    assert Run(plan, task).train(endless) == 200
    (tmp_path / "words.json").write_text(json.dumps(count_words(texts)))
    recogniser = Recogniser.load(tmp_path)
    assert [recogniser.hear(clip.pcm) for clip in held_out] == texts
    export(tmp_path, tmp_path / "ears.npz")
    exported = Recogniser.load(tmp_path / "ears.npz")
    assert [exported.hear(clip.pcm) for clip in held_out] == texts
    begun = Training(TINY, "cpu", held_out, begin=tmp_path / "ears.npz")
    assert begun.validate(begun.model) == {"character_errors": 0}
    assert task.validate(task.model) == {"character_errors": 0}


def test_a_file_that_is_no_recogniser_is_refused(tmp_path: Path):
    torch.save({"settings": {}, "model": {}, "ema": None}, tmp_path / "last.pt")
    (tmp_path / "ears.npz").write_bytes(b"PK\x03\x04 and no more")
    for path in (tmp_path, tmp_path / "ears.npz", tmp_path / "none.npz"):
        with pytest.raises(CheckpointError, match="no recogniser"):
            Recogniser.load(path)


def test_an_untrained_network_hears_even_the_shortest_clip():
    heard = Recogniser(Network(TINY)).hear(np.zeros(1, np.float32))
    assert set(heard) <= set(LETTERS)


def test_error_rate_weighs_clips_by_their_length():
    pcm = np.zeros(1, np.float32)
    assert error_rate(lambda _: "abcd", [("Abcd.", pcm), ("Abcdef", pcm)]) == pytest.approx(20)


@cache
def script_clips() -> tuple[Clip, ...]:
    """Twelve voices, several clips of each."""
    pitches = np.geomspace(80, 300, 12)
    return tuple(
        Clip("Hello there.", f"voice{v}@1.{n}", hum(f0, 3.1 if n else 1.0, 500 + 100 * (v % 5), n))
        for n in range(5)
        for v, f0 in enumerate(pitches)
    )


def drawn(n_lines: int = 8) -> Script:
    """Of four held-out voices; eight others are known."""
    clips = script_clips()
    held_out = [clip for clip in clips if voice_of(clip) in ("voice0", "voice1", "voice6")]
    return draw_script(n_lines, held_out, [clip for clip in clips if clip not in held_out])


def test_lines_come_with_references_of_their_voices():
    script = drawn(5)
    # the first clip of each is short, the next three say who it is
    said = ["voice0@1.0", "voice1@1.0", "voice6@1.0", "voice0@1.4", "voice1@1.4"]
    assert [line.voice for line in script.lines] == said
    assert len(script.references) == 10
    for name, clips in script.references.items():
        assert [clip.voice for clip in clips] == [f"{name}@1.{n}" for n in (1, 2, 3)]


def test_too_few_voices_for_a_lineup_are_refused():
    clips = [clip for clip in script_clips() if voice_of(clip) in ("voice0", "voice1")]
    with pytest.raises(UsageError, match="2 voices"):
        draw_script(3, clips, [])


def ear(said: str, pcm: Pcm) -> Heard:
    """Hears the pitch: a vector of its own for each, and no words in silence."""
    f0 = median_f0(pcm)
    octaves = 0.0 if f0 is None else np.log2(f0 / 80) * 1.5
    vector = np.array([np.cos(octaves), np.sin(octaves)], np.float32)
    words = "" if f0 is None else said
    return Heard(said, words, errors(said, words), 1.0 if f0 is None else 4.0, vector)


def judges_of(script: Script) -> Judges:
    return Judges(script, ear, Lineup(script.references, ear), lambda line: None)


def test_right_voice_is_found_on_originals_and_not_on_others():
    script = drawn()
    judges = judges_of(script)
    words, natural, right = judges.originals()
    assert (words.value, natural.value, right.value) == (0, 4, 100)
    others = [(line, ear("", script.lines[n - 1].pcm)) for n, line in enumerate(script.lines)]
    assert judges.lineup.share(others) < 20


@pytest.fixture(scope="module")
def backend(checkpoint: Path) -> Backend:
    return csm_chat.load(checkpoint, device="cpu", dtype="float32")


def test_a_round_trip_is_as_long_as_the_clip(backend: Backend):
    pcm = hum(120, 0.5)[:-7]
    back = round_trip(backend.codec, pcm)
    assert back.shape == pcm.shape
    assert np.abs(back - pcm).max() > 0


def test_a_line_is_spoken_the_same_with_the_same_seed(backend: Backend):
    line = Clip("Hi.", "hum", hum(120, 0.5))
    one, again, other = (speak(backend, line, (line,), seed) for seed in (1, 1, 2))
    assert np.array_equal(one.pcm, again.pcm)
    assert not np.array_equal(one.turn.segment.codes, other.turn.segment.codes)
    assert one.ended_well == (one.turn.ended == "eos" and 0.3 <= len(one.pcm) / SAMPLE_RATE <= 0.8)


def test_every_other_line_has_a_reference(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    script = drawn(4)
    voices: list[tuple[str, ...]] = []

    def collected(session: Session, text: str, speaker: int = 0) -> tuple[Pcm, Turn]:
        voices.append(tuple(voice.name for voice in session.voices))
        pcm = script.references["voice0"][1].pcm
        return (pcm if voices[-1] else 0 * pcm), TURN

    TURN = speak(backend, script.lines[0], (), 0).turn
    monkeypatch.setattr("csm_chat.training.evaluate.collect", collected)
    figures = {each.name: each.value for each in judges_of(script).generated(backend)}
    assert voices == [("voice0@1.1",), (), ("voice6@1.1",), ()]
    assert figures["words wrong, generated"] == 50
    assert figures["words wrong, generated, with a reference"] == 0
    assert figures["naturalness, generated, without"] == 1
    assert figures["right voice of ten, generated"] == 50


def test_a_long_scene_is_judged_in_halves(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    script = drawn(4)
    said: list[int] = []

    def collected(session: Session, text: str, speaker: int) -> tuple[Pcm, None]:
        said.append(speaker)
        pcm = script.lines[0].pcm
        return (pcm if len(said) <= 30 else 0 * pcm), None

    monkeypatch.setattr("csm_chat.training.evaluate.collect", collected)
    (figure,) = judges_of(script).scene(backend)
    assert said == [0, 1] * 20
    assert figure.value == 50


def test_speed_is_measured_on_a_session_with_voices(backend: Backend):
    clips = script_clips()
    script = Script(
        (Clip("Hi.", "hum", hum(120, 0.5)),), {clip.voice: (clip,) for clip in clips[:2]}
    )
    rtf, first, ready = speed_figures(backend, script, n_starts=1)
    assert [figure.unit for figure in (rtf, first, ready)] == ["", "ms", "s"]
    assert all(figure.value > 0 for figure in (rtf, first, ready))


def test_figures_are_compared_in_the_right_direction():
    low, high = Figure("errors", 4.2, 5, "%"), Figure("ends", 98.0, 97, "%", at_most=False)
    assert low.reached and high.reached
    assert not Figure("ends", 90.0, 97, "%", at_most=False).reached
    assert table([low]).splitlines()[-1] == "| errors | 4.2 % | ≤ 5 % |"


def test_figures_are_written_and_a_folder_in_their_place_is_refused(tmp_path: Path):
    write_figures([Figure("errors", 4.2, 5, "%")], tmp_path / "figures.json")
    (row,) = json.loads((tmp_path / "figures.json").read_text())
    assert (row["name"], row["value"], row["reached"]) == ("errors", 4.2, True)
    with pytest.raises(UsageError, match="cannot be written"):
        write_figures([], tmp_path)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_resumed_stream_of_batches_goes_on_where_it_stopped(n_workers: int):
    whole = numbers_of(0, n_workers, 4 * POOL)
    for step in (1, POOL + 2, 2 * POOL + 1):
        assert numbers_of(step, n_workers, 4 * POOL - step) == whole[step:]


def numbers_of(step: int, n_workers: int, n: int) -> list[tuple[int, int]]:
    """Pool and place in it of `n` batches from `step` on."""
    workers = [schedule(step + worker, n_workers) for worker in range(n_workers)]
    return list(islice(chain.from_iterable(zip(*workers, strict=True)), n))

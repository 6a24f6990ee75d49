import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest

from csm_chat.audio.clips import read_clip
from csm_chat.errors import CsmChatError, UsageError
from csm_chat.normalise.numbers import cardinal
from csm_chat.training.ears.measures import median_f0, normalise, spectrum_levels
from csm_chat.training.speech import corpus, espeak, samples
from csm_chat.training.speech.espeak import HELD_OUT_VOICES, TRAINING_VOICES, SyntheticVoice, speak
from csm_chat.training.speech.vocal_tracts import Throat, draw_throat, voice_file
from csm_chat.training.text.inflection import inflected
from csm_chat.training.text.sentences import debian_text, debian_words, sentences, split_of
from csm_chat.training.text.spoken import spoken_words
from csm_chat.types import SAMPLE_RATE

MALE_TO_FEMALE_HZ = 150
ALL_VOICES = TRAINING_VOICES + HELD_OUT_VOICES
SENTENCE = "Everyone was happy to see you again."


def drawn(n, seed=0, split="train"):
    return list(itertools.islice(sentences(seed, split), n))


@pytest.fixture(scope="module")
def train():
    return drawn(20_000)


@pytest.fixture
def synthesiser():
    try:
        espeak._library_and_data()
    except UsageError:
        pytest.skip("needs libespeak-ng: uv sync --group train")


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("I have 3 cats.", "I have three cats."),
        ("It is 105.", "It is one hundred and five."),
        (
            "12,345 of 1,000,001",
            "twelve thousand three hundred and forty-five of one million and one",
        ),
        ("In 1999, 1905, 1800.", "In nineteen ninety-nine, nineteen oh five, eighteen hundred."),
        ("2005 and 2024", "two thousand and five and twenty twenty-four"),
        ("the 1980s", "the nineteen eighties"),
        ("$5.50, $1, $0.01", "five dollars and fifty cents, one dollar, one cent"),
        ("At 3:00, 3:05, 3:45.", "At three o'clock, three oh five, three forty-five."),
        ("7pm, 7:00 p.m. or 7:30 a.m.", "seven p m, seven p m or seven thirty a m."),
        ("1st 2nd 3rd 12th 20th 21st", "first second third twelfth twentieth twenty-first"),
        ("3.14 or 50%", "three point one four or fifty percent"),
        ("Call 555-0192!", "Call five five five, zero one nine two!"),
        ("-5 degrees, agent 007", "minus five degrees, agent zero zero seven"),
        ("Mr. Bell & Dr. Watson, OK?", "Mister Bell and Doctor Watson, okay?"),
        ("Well-known words, 'tis true...", "Well-known words, 'tis true..."),
        ("Room 12.", "Room twelve."),
    ],
)
def test_digits_are_read_as_words(written, spoken):
    assert spoken_words(written) == spoken


@pytest.mark.parametrize(
    ("entry", "form", "word"),
    [
        ("box", "s", "boxes"),
        ("mouse/mice", "s", "mice"),
        ("key", "s", "keys"),
        ("study", "ed", "studied"),
        ("stop", "ing", "stopping"),
        ("mix", "ed", "mixed"),
        ("visit", "ing", "visiting"),
        ("prefer+", "ed", "preferred"),
        ("panic", "ing", "panicking"),
        ("take/took/taken", "ed", "took"),
        ("take/took/taken", "en", "taken"),
        ("take/took/taken", "ing", "taking"),
        ("bend/bent", "en", "bent"),
        ("undo/undid/undone", "vs", "undoes"),
        ("switch_off", "vs", "switches off"),
        ("happy", "est", "happiest"),
        ("big", "er", "bigger"),
        ("careful", "er", "more careful"),
        ("good/better/best", "est", "best"),
    ],
)
def test_words_take_their_forms(entry, form, word):
    assert inflected(entry, form) == word


def test_lines_hold_what_is_documented(train):
    allowed = re.compile(r"""[A-Za-z0-9 .,;:!?'"%$&-]+""")
    assert [line for line in train if not allowed.fullmatch(line)] == []
    assert {len(line.split()) for line in train} >= set(range(1, 21))
    assert max(len(line.split()) for line in train) <= 25


def test_every_line_can_be_heard_as_letters(train):
    heard = [spoken_words(line) for line in train]
    assert [line for line in heard if re.search(r"[^A-Za-z .,;:!?'\"-]", line)] == []
    assert all(normalise(line) for line in heard)


def test_lines_are_distinct_and_their_words_many(train):
    assert len(set(train)) > 0.98 * len(train)
    words = {word for line in train for word in normalise(spoken_words(line)).split()}
    assert len(words) > 5000


def test_numbers_are_written_in_both_ways(train):
    with_digits = sum(any(c.isdigit() for c in line) for line in train)
    assert 0.02 < with_digits / len(train) < 0.2
    assert any("twenty-" in line for line in train)


def test_equal_seeds_draw_equal_lines():
    assert drawn(200, seed=4) == drawn(200, seed=4)
    assert not set(drawn(50, seed=4)) & set(drawn(50, seed=5))


def heard_sentences(lines):
    """Lines, and the sentences that two-sentence lines are made of, as they sound."""
    parts = {part for line in lines for part in (line, *re.split(r"(?<=[.!?]) ", line))}
    return {normalise(spoken_words(part)) for part in parts}


def test_no_held_out_sentence_is_ever_in_training(train):
    held_out = [*drawn(150, split="valid"), *drawn(150, split="test"), *drawn(50, split="voices")]
    trained_on = heard_sentences([*train, *drawn(5000, seed=1)])
    assert not {normalise(spoken_words(line)) for line in held_out} & trained_on


def test_splits_follow_the_sound_not_the_spelling():
    splits = [split_of(f"I have {number} cats.") for number in range(400)]
    assert splits == [split_of(f"i have {cardinal(number)} cats!") for number in range(400)]
    assert {"train", "valid", "test"} == set(splits)


def test_debian_text_is_cleaned(tmp_path):
    folder = tmp_path / "usr/share/games/fortunes"
    folder.mkdir(parents=True)
    (folder / "cookie.dat").write_bytes(b"\0\1")
    (folder / "cookie").write_text(
        "Nothing is lost until\nMr. Bean has it. It was 40% @ home. He SHOUTED at me.\n"
        "A. Not this. Time flies -- they say, `always'.\n"
        "\t\t-- A. Writer\n%\nWho knows?\nStop!\n%\n",
    )
    assert debian_text(tmp_path) == (
        "Nothing is lost until Mr. Bean has it.",
        "Time flies, they say, 'always'.",
        "Who knows?",
    )


def test_missing_packages_are_named_once(tmp_path):
    said = []
    notify = said.append
    assert debian_text(tmp_path, notify) == debian_text(tmp_path, notify) == ()
    assert debian_words(tmp_path, notify) == ()
    assert ["fortunes" in said[0], "wamerican" in said[1], len(said)] == [True, True, 2]


def test_voices_are_many_and_half_of_each_sex():
    assert (len(TRAINING_VOICES), len(HELD_OUT_VOICES)) == (48, 12)
    for voices in (TRAINING_VOICES, HELD_OUT_VOICES):
        assert sum(voice.sex == "male" for voice in voices) == len(voices) / 2
        assert all(140 <= voice.speed_wpm <= 190 for voice in voices)
    assert len({voice.name for voice in ALL_VOICES}) == 60


def test_held_out_voices_share_no_variant_with_training():
    trained = {voice.variant for voice in TRAINING_VOICES}
    assert not trained & {voice.variant for voice in HELD_OUT_VOICES}


@pytest.mark.usefixtures("synthesiser")
def test_every_voice_speaks_at_the_pitch_of_its_sex():
    for voice in ALL_VOICES:
        pitch = median_f0(speak(SENTENCE, voice).pcm)
        assert pitch is not None, voice
        assert (pitch < MALE_TO_FEMALE_HZ) == (voice.sex == "male"), (voice, pitch)


@pytest.mark.usefixtures("synthesiser")
@pytest.mark.parametrize("voice", [TRAINING_VOICES[0], HELD_OUT_VOICES[6]], ids=lambda v: v.name)
@pytest.mark.parametrize("text", [SENTENCE, "Yes.", "Oh!"])
def test_speech_has_the_agreed_form(voice, text):
    pcm = speak(text, voice).pcm
    assert pcm.dtype == np.float32
    assert pcm.ndim == 1
    assert np.abs(pcm).max() <= 0.951
    assert -24 < 10 * np.log10(np.mean(np.square(pcm))) < -19.9
    sounding = np.flatnonzero(np.abs(pcm) > 0.02 * np.abs(pcm).max())
    ends_s = np.array([sounding[0], len(pcm) - 1 - sounding[-1]]) / SAMPLE_RATE
    assert (ends_s > 0.05).all(), ends_s
    assert (ends_s < 0.13).all(), ends_s


@pytest.mark.usefixtures("synthesiser")
@pytest.mark.parametrize("voice", [TRAINING_VOICES[0], HELD_OUT_VOICES[6]], ids=lambda v: v.name)
def test_phonemes_stand_where_they_are_heard(voice):
    spoken = speak("Sow. So.", voice)
    starts = [phoneme.start for phoneme in spoken.phonemes]
    assert starts == sorted(starts)
    ends = [*starts[1:], len(spoken.pcm) / SAMPLE_RATE]
    crossings = {"s": [], "vowel": []}
    for phoneme, end in zip(spoken.phonemes, ends, strict=True):
        piece = spoken.pcm[max(0, int(phoneme.start * SAMPLE_RATE)) : int(end * SAMPLE_RATE)]
        if phoneme.name:
            kind = "s" if phoneme.name == "s" else "vowel"
            crossings[kind].append(np.mean(np.diff(np.sign(piece)) != 0))
    assert len(crossings["s"]) == 2
    assert min(crossings["s"]) > 2 * max(crossings["vowel"])


def hertz(pcm) -> float:
    found = median_f0(pcm)
    assert found
    return found


@pytest.mark.usefixtures("synthesiser")
def test_a_larger_head_is_lower_and_as_quick():
    usual = TRAINING_VOICES[0]
    one, larger = (speak(SENTENCE, replace(usual, size=size)) for size in (1.0, 1.1))
    assert hertz(larger.pcm) == pytest.approx(hertz(one.pcm) / 1.1, rel=0.04)
    assert len(larger.pcm) == pytest.approx(len(one.pcm), rel=0.06)
    ends = [each.phonemes[-1].start / len(each.pcm) for each in (one, larger)]
    assert ends[1] == pytest.approx(ends[0], rel=0.03)


@pytest.mark.usefixtures("synthesiser")
def test_throats_make_other_voices_that_say_the_same():
    random = Random(0)
    usual = TRAINING_VOICES[0]
    said = [speak(SENTENCE, usual)]
    throats = {draw_throat(random) for _ in range(8)} - {usual.throat}
    assert 2 < len(throats) < 8
    said += [speak(SENTENCE, replace(usual, throat=throat)) for throat in throats]
    assert len({tuple(each.name for each in one.phonemes) for one in said}) == 1
    again = speak(SENTENCE, usual)
    levels = [spectrum_levels(each.pcm) for each in said]
    for i, one in enumerate(levels):
        for other in levels[:i]:
            assert abs(one - other).mean() > 0.5
    assert abs(spectrum_levels(again.pcm) - levels[0]).mean() < 0.1


def test_a_throat_changes_what_its_variant_says(tmp_path):
    for path, text in (
        ("lang/gmw/en-US", "name English\nlanguage en-us 2\nformant 1 90"),
        ("voices/!v/f9", "language variant\nformant 1 80 50 150 -20\nbreath 0 2\n"),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    own = voice_file(tmp_path, "en-us", "f9", Throat())
    assert own.splitlines()[1:] == [
        *("language en-us 2", "formant 1 90", "formant 1 80 50 150 -20", "breath 0 2")
    ]
    throat = Throat(((1.1, 1, 0.5), (1.1, 0.5, 1)), (1, 2, 3, 4), 60, (70, 80))
    changed = voice_file(tmp_path, "en-us", "f9", throat)
    assert changed.removeprefix(own).splitlines() == [
        *("formant 0 110 100 50", "formant 1 88 25 150 -20", "tone 600 1 1200 2 2000 3 3000 4"),
        *("voicing 60", "consonants 70 80"),
    ]


@pytest.mark.usefixtures("synthesiser")
def test_a_folder_the_library_cannot_read_from_is_told(tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(UsageError, match="set TMPDIR"):
        speak(SENTENCE, replace(TRAINING_VOICES[0], speed_wpm=171))


def test_colours_are_waves_over_the_mel_scale():
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    assert espeak.coloured(noise, ()) is noise
    odd = noise[:23_981]  # a prime
    np.testing.assert_allclose(espeak.coloured(odd, (0.0,)), odd, atol=1e-6)
    darker = np.abs(np.fft.rfft(espeak.coloured(noise, (0.5,)))) / np.abs(np.fft.rfft(noise))
    assert darker[0] == pytest.approx(np.exp(0.5), rel=0.01)
    assert darker[-1] == pytest.approx(np.exp(-0.5), rel=0.01)
    middle = round(700 * (np.sqrt(1 + 12_000 / 700) - 1))  # Hz, half way up
    assert darker[middle] == pytest.approx(1, abs=0.01)


@pytest.mark.usefixtures("synthesiser")
def test_text_without_words_is_refused():
    with pytest.raises(UsageError, match="says nothing"):
        speak("...", TRAINING_VOICES[0])


@pytest.mark.usefixtures("synthesiser")
@pytest.mark.parametrize(("language", "variant"), [("en-us", "nobody"), ("xx", "m1")])
def test_unknown_voice_is_refused(language, variant):
    voice = SyntheticVoice("x", language, variant, 50, 50, 160, "male")
    with pytest.raises(UsageError, match=rf"{language}\+{variant}"):
        speak(SENTENCE, voice)


@pytest.mark.usefixtures("synthesiser")
def test_clips_say_held_out_sentences_in_the_voices_of_their_split():
    names = {split: {c.voice for c in itertools.islice(corpus.clips(0, split), 12)}
             for split in ("valid", "voices", "train")}  # fmt: skip
    assert names["valid"] <= {voice.name for voice in TRAINING_VOICES}
    assert names["voices"] <= {voice.name for voice in HELD_OUT_VOICES}
    assert {name.partition("~")[0] for name in names["train"]} <= {v.name for v in TRAINING_VOICES}
    clip = next(corpus.clips(0, "test"))
    assert split_of(re.split(r"(?<=[.!?]) ", clip.text)[0]) == "test"


@pytest.mark.usefixtures("synthesiser")
def test_conversations_keep_to_their_limits():
    n_lines, n_voices, turns = set(), set(), []
    for lines in itertools.islice(corpus.conversations(0, "train"), 120):
        assert sum(len(line.clip.pcm) for line in lines) <= 24 * SAMPLE_RATE
        pairs = {(line.speaker, line.clip.voice) for line in lines}
        assert len({speaker for speaker, _ in pairs}) == len(pairs)
        assert all(0 <= speaker <= 9 for speaker, _ in pairs)
        n_lines.add(len(lines))
        n_voices.add(len(pairs))
        if len(pairs) > 1:
            turns += [one.speaker != other.speaker for one, other in itertools.pairwise(lines)]
    assert n_lines == {1, 2, 3, 4, 5, 6}
    assert 0.4 < np.mean(turns) < 0.75
    assert n_voices == {1, 2, 3}


def count_up(index: int, n_given: int, end: int) -> Iterator[int]:
    yield from range(100 * index + n_given, 100 * index + end)


def fail_after_two(index: int, n_given: int) -> Iterator[int]:
    yield from (1, 2)
    raise UsageError(f"worker {index} is out of words; add some")


def die_at_three(index: int, n_given: int) -> Iterator[int]:
    for item in range(n_given, 6):
        if item == 3 and n_given < 3:
            time.sleep(0.2)  # those before it are on their way
            os.kill(os.getpid(), signal.SIGKILL)
        yield item


def die_at_once(index: int, n_given: int) -> Iterator[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield 0


def own_process(index: int, n_given: int) -> Iterator[int]:
    while True:
        yield os.getpid()


def test_background_takes_of_each_maker_in_turn_until_all_end():
    items = corpus.background(partial(count_up, end=3), n_workers=2, n_ahead=2)
    assert list(items) == [0, 100, 1, 101, 2, 102]


def test_error_in_a_maker_reaches_the_caller():
    items = corpus.background(fail_after_two, n_workers=1)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(UsageError, match="worker 0 is out of words") as caught:
        next(items)
    assert "fail_after_two" in str(caught.value.__cause__)


def test_a_worker_that_dies_is_replaced_and_goes_on():
    assert list(corpus.background(die_at_three, n_workers=1, n_ahead=8)) == [*range(6)]


def test_a_worker_that_dies_at_once_is_told():
    with pytest.raises(CsmChatError, match="exit code -9"):
        list(corpus.background(die_at_once, n_workers=1))


def test_closing_ends_the_workers():
    items = corpus.background(own_process, n_workers=1)
    worker = next(items)
    items.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_workers_die_with_their_parent():
    code = (
        "from csm_chat.training.speech.corpus import background\n"
        "from tests.training.test_data import own_process\n"
        "if __name__ == '__main__':\n"
        "    items = background(own_process, 1)\n"
        "    print(next(items), flush=True)\n"
        "    __import__('time').sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 0
        parent.kill()
        # the end of the output is read only when nobody holds it any more, the worker included
        assert parent.communicate(timeout=20)[0] == ""


@pytest.mark.usefixtures("synthesiser")
def test_clips_to_listen_to_are_written_with_their_texts(tmp_path):
    assert samples.main(["--out", str(tmp_path), "--n", "3"]) == 0
    names = sorted(path.name for path in tmp_path.glob("*.wav"))
    assert [name[:4] for name in names] == ["001-", "002-", "003-"]
    for name in names:
        text = (tmp_path / name).with_suffix(".txt").read_text()
        assert len(read_clip(tmp_path / name).pcm) > 0.3 * SAMPLE_RATE
        assert text.strip()


def test_sample_voices_are_what_the_references_folder_holds():
    folder = Path(__file__).parents[2] / "references"
    for name, clip in samples.samples().items():
        kept = read_clip(folder / f"{name}.wav").pcm
        assert (folder / f"{name}.txt").read_text(encoding="utf-8").strip() == clip.text
        assert abs(len(kept) - len(clip.pcm)) < SAMPLE_RATE / 10, "the same words and pace"

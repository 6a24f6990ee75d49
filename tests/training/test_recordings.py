"""Recordings on disk: whole or not at all, gone on with, read back; and who is never trained on."""

import json

import numpy as np
import pytest

from csm_chat.errors import UsageError
from csm_chat.training.ears.misheard import judge
from csm_chat.training.speech.alignment import phonemes, word_places
from csm_chat.training.speech.recorded import Recordings
from csm_chat.training.speech.recordings import (
    HEARD,
    Verdict,
    add_verdicts,
    conversation_path,
    conversations,
    read_pcm,
    verdicts,
)
from csm_chat.training.speech.teacher.kokoro import Said
from csm_chat.training.speech.teacher.scripts import HELD_OUT, KNOWN, VOICES, script
from csm_chat.training.speech.teacher.teach import teach
from csm_chat.training.text.sentences import split_of

STRESS = "\N{MODIFIER LETTER VERTICAL LINE}"


def say(text, voice, speed):
    """A tenth of a second, of another pitch for each text."""
    times = np.arange(2400) / 24_000
    pcm = 0.5 * np.sin(2 * np.pi * (200 + len(text)) * times)
    return Said(
        pcm.astype(np.float32), f"h{STRESS}I ð{STRESS}ɛɹ.", (1, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0)
    )


@pytest.fixture
def folder(tmp_path):
    teach(tmp_path, "train", 1200 / 36_000 / 100, (0, 1), say)
    return tmp_path


def test_a_script_is_fixed_by_its_number():
    assert script(7, "train") == script(7, "train") != script(8, "train")


def test_held_out_voices_are_in_no_training_voice():
    parts = {part for voice in VOICES for part in voice.split("+")}
    assert not parts & set(HELD_OUT)
    assert not parts & {"am_santa", "am_puck", "af_alice", "bf_alice", "am_adam", "af_nicole"}
    assert len(set(VOICES)) == len(VOICES) >= 120


def test_casts_say_what_their_split_allows():
    for number in range(3):
        assert all(split_of(cue.text) != "test" for cue in script(number, "train"))
        for cast, voices in (("heldout", HELD_OUT), ("known", KNOWN)):
            assert {cue.voice for cue in script(number, cast)} <= set(voices)


def test_speakers_keep_their_voice_and_there_are_two_to_four():
    for number in range(20):
        cast = {(cue.speaker, cue.voice, cue.speed) for cue in script(number, "train")}
        assert len(cast) == len({speaker for speaker, _, _ in cast}) <= 4
        assert all(0.85 <= speed <= 1.15 for _, _, speed in cast)


def test_what_was_cut_off_is_spoken_again_and_nothing_else(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.flac")}
    whole = [turn for turns in conversations(folder) for turn in turns]
    last = max(folder.rglob("*.jsonl"))
    last.rename(last.with_suffix(".part"))  # as a process leaves it that is killed while it writes
    cut = max(folder.rglob("*.flac"))
    cut.write_bytes(cut.read_bytes()[:50])
    teach(folder, "train", 1200 / 36_000 / 100, (0, 1), say)
    assert [turn for turns in conversations(folder) for turn in turns] == whole
    changed = {p.name for p, at in before.items() if p.stat().st_mtime_ns != at}
    assert changed and all(name.startswith(last.stem) for name in changed)
    assert len(read_pcm(folder, whole[-1])) == whole[-1].samples


def test_two_processes_share_the_numbers(tmp_path):
    teach(tmp_path, "train", 0.0003, (0, 2), say)
    teach(tmp_path, "train", 0.0006, (1, 2), say)
    numbers = {int(path.stem) % 2 for path in tmp_path.rglob("*.jsonl")}
    assert numbers == {0, 1}


def test_clips_that_failed_are_left_out(tmp_path):
    def silent(text, voice, speed):
        said = say(text, voice, speed)
        return said if len(text) % 2 else Said(said.pcm * np.nan, said.symbols, said.lengths)

    teach(tmp_path, "train", 0.0003, (0, 1), silent)
    assert all(len(turn.text) % 2 for turns in conversations(tmp_path) for turn in turns)


def test_recordings_come_back_as_clips_and_conversations(folder):
    recordings = Recordings.open(folder)
    clip = next(recordings.clips(seed=1))
    assert (clip.pcm.dtype, len(clip.pcm)) == (np.float32, 2400)
    assert [phoneme.name for phoneme in clip.phonemes] == ["", "h", "I", "ð", "ɛ", "ɹ", ""]
    lines = next(recordings.conversations(seed=1))
    written = {tuple(turn.text for turn in turns) for turns in conversations(folder)}
    assert tuple(line.clip.text for line in lines) in written
    assert len({line.speaker for line in lines}) == len({line.clip.voice for line in lines})


def test_clips_come_once_before_one_comes_again(folder):
    recordings = Recordings.open(folder)
    n = sum(len(turns) for turns in conversations(folder))
    clips = recordings.clips(seed=3)
    said = sorted(next(clips).text for _ in range(n))
    assert said == sorted(turn.text for turns in conversations(folder) for turn in turns)


def test_an_empty_folder_says_what_fills_it(tmp_path):
    with pytest.raises(UsageError, match="teach"):
        Recordings.open(tmp_path)


def test_misheard_turns_are_left_out_and_their_audio_stays(folder):
    heard = []
    assert judge(folder, lambda pcm: heard.append(pcm) or "nothing of this at all, you see")
    assert judge(folder, lambda pcm: pytest.fail("heard twice")) == 0
    assert len(heard) == len(verdicts(folder)) == len(list(folder.rglob("*.flac")))
    with pytest.raises(UsageError, match="no recordings"):
        Recordings.open(folder)


def test_one_wrong_word_is_forgiven():
    assert not Verdict("", "", errors=1, words=2).is_misheard
    assert not Verdict("", "", errors=2, words=12).is_misheard
    assert Verdict("", "", errors=2, words=3).is_misheard


def test_a_verdict_that_was_cut_off_is_passed_over(folder):
    add_verdicts(folder, 0, [Verdict("a.flac", "yes", 0, 1)])
    path = conversation_path(folder, 0).with_name(HEARD)
    path.write_text(path.read_text() + json.dumps({"file": "b.flac"})[:9])
    add_verdicts(folder, 0, [Verdict("c.flac", "no", 1, 1)])
    assert set(verdicts(folder)) == {"a.flac", "c.flac"}


def test_phonemes_start_where_the_ones_before_end():
    lengths = (4, *(2, 1, 3, 1, 2, 4, 5), 2)  # a beginning, seven symbols, an end
    found = phonemes(f"h{STRESS}I ju.", lengths, "Hi you.")
    starts = [(phoneme.name, round(phoneme.start / 0.025), phoneme.word) for phoneme in found]
    assert starts == [("", 0, 0), ("h", 4, 0), ("I", 6, 0), ("j", 11, 3), ("u", 13, 3), ("", 17, 3)]


def test_words_are_shared_out_where_they_are_not_as_many():
    assert word_places("a b c", "one two three") == (0, 4, 8)
    assert word_places("a b c d", "one two") == (0, 0, 4, 4)

"""Pauses, gaps, pace and level where people meet them: at the prompt and in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from csm_chat.audio.clips import read_clip
from csm_chat.audio.play_buffer import PlayBuffer
from csm_chat.conversation.grammar import parse
from csm_chat.errors import EntryError
from csm_chat.repl.handlers import PromptState, change_setting, settings, show_reading
from csm_chat.types import FRAME_SAMPLES, Pcm, Utterance
from tests.repl.test_worker import Stage

HALF_S = 12_000


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(*script: object) -> Stage:
        stages.append(Stage(tmp_path / "takes", list(script), 0.0))
        stages[-1].start()
        return stages[-1]

    yield make
    for made in stages:
        made.worker.close()


Make = Callable[..., Stage]


def say(s: Stage, line: str) -> Pcm:
    s.worker.say(parse(line, 0).utterances)
    s.worker.wait()
    return s.sound.heard(len(s.sound.entries) - 1)


def saved(s: Stage, name: str) -> Pcm:
    return read_clip(next(s.folder.rglob(name))).pcm


def test_a_pause_inside_a_line_is_exact_in_playback_and_in_the_joined_file(stage: Make) -> None:
    s = stage(3, 4)
    heard = say(s, "Hi. (beat) Bye. (pause 0.25)")
    speech = 3 * FRAME_SAMPLES
    assert len(heard) == 7 * FRAME_SAMPLES + HALF_S + HALF_S // 2
    assert not heard[speech : speech + HALF_S].any() and heard[speech + HALF_S :].any()
    assert np.abs(saved(s, "001-002-scene.wav") - heard).max() < 1e-4
    assert len(saved(s, "001-0.wav")) == speech
    assert [turn.segment.text for turn in s.session.turns] == ["Hi.", "Bye."]
    s.worker.replay(None)
    s.worker.wait()
    assert np.abs(s.sound.heard(1) - heard).max() < 1e-4


def test_of_a_line_that_is_one_take_the_silence_is_in_its_file(stage: Make) -> None:
    s = stage(3)
    heard = say(s, "(beat) Hi. (beat)")
    assert len(heard) == 3 * FRAME_SAMPLES + 2 * HALF_S
    assert np.abs(saved(s, "001-0.wav") - heard).max() < 1e-4
    assert s.session.turns[0].timings.audio_s == pytest.approx(0.24)


def test_a_pause_of_its_own_is_heard_and_is_no_turn(stage: Make) -> None:
    s = stage(3)
    assert len(say(s, "<break time='500ms'/>")) == HALF_S
    assert s.session.turns == () and s.files() == [] and s.worker.n_failed == 0


def test_a_scene_that_is_joined_again_keeps_its_pauses(stage: Make) -> None:
    s = stage(3, 4, 5)
    say(s, "Hi. (beat) Bye.")
    s.worker.edit(1, "Hello.", onward=False)
    s.worker.wait()
    assert len(saved(s, "001-002-scene-2.wav")) == 9 * FRAME_SAMPLES + HALF_S


def test_below_zero_the_next_speaker_begins_over_the_end(stage: Make) -> None:
    s = stage(4, 4, 4)
    s.worker.set("gap", "-0.16")
    say(s, "Hi.||Bye.||So.")
    assert s.sound.calls[:2] == [f"overlap {2 * FRAME_SAMPLES}"] * 2
    assert len(saved(s, "*scene.wav")) == 8 * FRAME_SAMPLES


def test_speed_and_gain_change_what_is_heard_and_saved_and_not_what_the_model_hears(
    stage: Make,
) -> None:
    plain, s = stage(30), stage(30)
    before = say(plain, "Hi.")
    s.worker.set("0.speed", "1.25")
    s.worker.set("gain", "-6")
    heard = say(s, "Hi.")
    assert len(heard) == round(len(before) / 1.25)
    assert np.abs(heard).max() < 0.6 * np.abs(before).max()
    np.testing.assert_array_equal(
        s.session.turns[0].segment.codes, plain.session.turns[0].segment.codes
    )
    assert s.session.turns[0].shape.speed == 1.25
    record = sorted(s.folder.rglob("takes.jsonl"))[-1].read_text().splitlines()[-1]
    assert '"speed": 1.25, "gain_db": -6.0' in record


def test_a_speaker_has_temperature_and_top_k_of_its_own(stage: Make) -> None:
    s = stage(3, 3)
    s.worker.set("speakers.1.temperature", "0.4")
    s.worker.set("1.top_k", "7")
    say(s, "Hi.||Bye.")
    drawn = [(sampling.temperature, sampling.top_k) for _, sampling in s.engine.calls]
    assert drawn == [(0.9, 50), (0.4, 7)]


def test_a_speaker_without_a_clip_has_its_own_speed_by_name(stage: Make) -> None:
    s = stage(50, 50)
    s.worker.introduce({2: "Cleo"})
    s.worker.set("speakers.cleo.speed", "2")
    s.worker.say(parse("Cleo: Hi.", 0, s.worker.speakers()).utterances)
    s.worker.wait()
    assert len(saved(s, "001-Cleo.wav")) == 25 * FRAME_SAMPLES


def test_the_prompt_knows_whom_it_sets_and_completes_it(stage: Make) -> None:
    s = stage()
    s.worker.wait()
    state = PromptState(s.worker)
    s.worker._published._names = {0: "Ana"}
    with pytest.raises(EntryError, match=r'no speaker "anna"\. Did you mean Ana'):
        change_setting(state, "anna.speed 1.1")
    with pytest.raises(EntryError, match=r"speakers.ana.speed: 3 is out of range \(0.5 - 2.0"):
        change_setting(state, "ana.speed 3")
    assert "ana.speed" in [*settings(state)] and "speakers" not in [*settings(state)]


def test_say_shows_the_pauses(stage: Make) -> None:
    s = stage()
    s.worker.wait()
    shown = show_reading(PromptState(s.worker), "(pause 2) Hi <break time='0.8s'/> you (beat)")
    assert shown.split("\n") == ["(pause 2)", "Hi.", "(pause 0.8)", "you.", "(pause 0.5)"]


def test_what_waits_to_be_played_is_mixed_and_what_was_played_is_not() -> None:
    buffer = PlayBuffer()
    buffer.begin(0.0)
    buffer.feed(np.full(3000, 0.25, np.float32))
    buffer.overlap(2000)
    assert len(buffer.next(0.0, 1.0, 0.0).block) == 960  # type: ignore[arg-type]
    assert len(buffer.next(0.0, 1.0, 0.0).block) == 960  # type: ignore[arg-type]
    for _ in range(2):
        buffer.feed(np.full(600, 0.5, np.float32))
    buffer.end()
    rest = np.concatenate([buffer.latest.take(960), buffer.latest.take(960)])
    np.testing.assert_array_equal(rest, [*[0.75] * 1080, *[0.5] * 120])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("(beat) Hi.||(pause 2)||Yes.0 (pause 3)", [("Hi.", 0, 0.5, 0.0), ("Yes.", 0, 2.0, 3.0)]),
        ("\\Hi (pause 1) you", [("Hi (pause 1) you", 0, None, 0.0)]),
        ("(pause 1) ana: Hi", [("Hi", 3, 1.0, 0.0)]),
        ("(laughs) (beat) Hi", [("(laughs)", 0, None, 0.0), ("Hi", 0, 0.5, 0.0)]),
    ],
)
def test_a_line_is_cut_at_its_pauses(line: str, expected: list[tuple[object, ...]]) -> None:
    said: tuple[Utterance, ...] = parse(line, 0, {0: "Ben", 3: "Ana"}).utterances
    assert [(u.text, u.speaker, u.pause_s, u.rest_s) for u in said] == expected

"""The thread that owns the model: order, cancelling, the queue, what is saved and what is said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from csm_chat.audio.clips import read_clip
from csm_chat.audio.takes import Takes
from csm_chat.checking.checks import Checks
from csm_chat.config.settings import Config, SamplingConfig
from csm_chat.conversation.ports import Loaded
from csm_chat.conversation.session import Session
from csm_chat.errors import ConfigError, HubError, TranscriptError
from csm_chat.normalise.lexicon import parse_entry
from csm_chat.notices import Reporting
from csm_chat.repl.worker.worker import Worker
from csm_chat.types import FRAME_SAMPLES, Pcm, Prompt, Turn, Utterance, Voice
from csm_chat.voices.adapters import find_adapter
from tests.fakes import (
    FixedVoices,
    ListSound,
    ListView,
    ScriptedEar,
    ScriptedEngine,
    fake_backend,
)

HI = (Utterance("Hi there.", 0),)
SCENE = (Utterance("Hi there.", 0), Utterance("Oh, hello.", 1), Utterance("Yes.", 0))


def max_rtf(expected_s: float, rtf: float | None, start: str) -> float:
    return expected_s * (rtf or 0.0)


class Stage:
    """A worker over fakes, with its takes in a folder."""

    def __init__(self, folder: Path, script: list[object], frame_s: float = 0.0) -> None:
        self.folder = folder
        self.sound, self.view, self.voices = ListSound(), ListView(), FixedVoices()
        self.backend = fake_backend(script, frame_s=frame_s)  # type: ignore[arg-type]
        self.failures: list[Exception] = []  # what loading raises, in order
        self.ear = ScriptedEar("Hi there.")
        self.worker = Worker(Config(sampling=SamplingConfig(seed=1)), self._load, {})

    def start(self) -> None:
        self.worker.start(self.view)

    def _load(self, config: Config, reports: Reporting) -> Loaded:
        tell = reports.tell
        reports.progress("loading")
        if self.failures:
            raise self.failures.pop(0)
        self.session = Session(self.backend, sampling=config.sampling, listener=tell)
        self.session.voices = self.voices.load()
        takes = Takes(self.folder, tell)
        checks = Checks(config.check, self.ear, self.backend.codec, tell)
        find = partial(find_adapter, folder=self.folder / "adapters")
        return Loaded(self.session, self.voices, takes, self.sound, max_rtf, 0.5, find, checks)

    def session_turns_after_saying(self, ask: Callable[[Worker], object]) -> tuple[Turn, ...]:
        """Do what is asked; the turns that were said, whatever else was asked."""
        ask(self.worker)
        self.worker.wait()
        return tuple(turn for _, turn in self.view.turns)

    @property
    def engine(self) -> ScriptedEngine:
        assert isinstance(self.backend.engine, ScriptedEngine)
        return self.backend.engine

    def files(self) -> list[str]:
        return sorted(p.name for p in self.folder.rglob("*") if p.is_file())

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < deadline, "the awaited never came"
            time.sleep(0.002)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(*script: object, frame_s: float = 0.0, start: bool = True) -> Stage:
        stage = Stage(tmp_path / "takes", list(script), frame_s)
        stages.append(stage)
        if start:
            stage.start()
        return stage

    yield make
    for made in stages:
        made.worker.close()


Make = Callable[..., Stage]


def test_a_scene_is_heard_saved_and_part_of_the_context(stage: Make) -> None:
    s = stage(3, 4, 5)
    s.worker.say(SCENE)
    s.worker.wait()
    assert len(s.sound.heard(0)) == 12 * FRAME_SAMPLES
    assert [turn.ended for _, turn in s.view.turns] == ["eos"] * 3
    assert s.files() == [
        "001-0.wav",
        "001-003-scene.wav",
        "002-1.wav",
        "003-0.wav",
        "takes.jsonl",
    ]
    scene = read_clip(next(s.folder.rglob("*scene.wav"))).pcm
    assert np.abs(scene - s.sound.heard(0)).max() < 1e-4
    assert [turn.segment.text for turn in s.session.turns] == [u.text for u in SCENE]
    assert s.worker.n_failed == 0


def test_the_next_line_is_prepared_while_nobody_waits_and_left_when_somebody_does(
    stage: Make,
) -> None:
    s = stage(3, 4)
    begun, ended = threading.Event(), threading.Event()

    def prefill(prompt: Prompt, is_wanted: Callable[[], bool]) -> bool:
        begun.set()
        s.until(lambda: not is_wanted())
        ended.set()
        return False

    s.worker.say(HI)
    s.worker.settle()
    s.engine.prefill = prefill  # type: ignore[method-assign]
    s.worker.say(HI)
    assert begun.wait(5)
    s.worker.settle()  # preparing keeps nobody waiting
    assert s.worker.status().state != "generating"
    assert not ended.is_set()
    s.worker.say(HI)
    s.until(lambda: len(s.view.turns) == 3)
    assert ended.is_set()


def test_the_sidecar_has_a_line_a_take(stage: Make) -> None:
    s = stage(3, 4)
    s.worker.say(SCENE[:2])
    s.worker.wait()
    lines = next(s.folder.rglob("takes.jsonl")).read_text().splitlines()
    takes = [json.loads(line) for line in lines]
    assert [take["file"] for take in takes] == ["001-0.wav", "002-1.wav"]
    assert [take["seed"] for take in takes] == [1, 2]
    assert takes[1]["text"] == "Oh, hello."
    assert takes[1]["in_context"] is True
    assert takes[1]["timings"]["audio_s"] == pytest.approx(0.32)


def test_lines_typed_while_loading_are_spoken_in_order(stage: Make) -> None:
    s = stage(3, 4, start=False)
    s.worker.say(HI)
    s.worker.run(lambda session: f"{len(session.turns)} so far")
    s.worker.say(HI)
    s.start()
    s.worker.wait()
    assert ("info", "1 so far") in s.view.notes
    assert [number for number, _ in s.view.turns] == [1, 2]


def test_cancel_stops_within_a_frame_and_leaves_the_context(stage: Make) -> None:
    s = stage(3, None, frame_s=0.02)
    s.worker.say(HI)
    s.worker.wait()
    s.worker.say(SCENE)
    s.until(lambda: len(s.sound.entries) == 2 and len(s.sound.entries[1]) > 2)
    n_heard = len(s.sound.entries[1])
    assert s.worker.cancel()
    s.until(lambda: s.worker.status().state == "ready")
    assert len(s.sound.entries[1]) <= n_heard + 1
    assert len(s.session.turns) == 1
    assert s.view.turns[-1][1].ended == "cut"
    assert "002-0.cut.wav" in s.files()
    assert not any("part" in name or "scene" in name for name in s.files())


def test_cancel_leaves_the_queue_and_dropping_it_leaves_commands(stage: Make) -> None:
    s = stage(None, 3, frame_s=0.02)
    for _ in range(3):
        s.worker.say(HI)
    s.worker.run(lambda session: "a command")
    s.until(lambda: bool(s.sound.entries and s.sound.entries[0]))
    assert s.worker.status().n_queued == 2
    s.worker.cancel()
    s.until(lambda: len(s.sound.entries) == 2)
    assert s.worker.drop_queue() == 1
    s.worker.wait()
    assert ("info", "a command") in s.view.notes
    assert len(s.sound.entries) == 2


def test_cancel_with_nothing_to_stop_says_so_and_does_no_harm(stage: Make) -> None:
    s = stage(3)
    s.until(lambda: s.worker.status().state == "ready")
    assert not s.worker.cancel()
    s.worker.say(HI)
    s.worker.wait()
    assert s.view.turns[0][1].ended == "eos"


def test_a_failed_entry_is_reported_and_the_next_is_spoken(stage: Make) -> None:
    s = stage(3)
    long = Voice(0, "ana", (make_segment(380),))
    s.voices.voices = (long,)
    s.worker.reload()
    s.worker.say(HI)
    s.worker.run(lambda session: setattr(session, "voices", ()) or "")
    s.worker.say(HI)
    s.worker.wait()
    assert s.worker.n_failed == 1
    assert [kind for kind, _ in s.view.notes].count("error") == 1
    assert s.view.turns[-1][1].ended == "eos"


def make_segment(n_frames: int) -> object:
    from csm_chat.types import Segment

    return Segment(0, "a reference", np.full((n_frames, 4), 7, np.int32))


def test_a_defect_in_a_command_does_not_end_the_thread(stage: Make) -> None:
    s = stage(3)

    def broken(session: Session) -> str:
        raise ZeroDivisionError("a defect")

    s.worker.run(broken)
    s.worker.say(HI)
    s.worker.wait()
    assert s.view.notes[0][0] == "error"
    assert "a defect" in s.view.notes[0][1]
    assert s.view.turns[0][1].ended == "eos"


def test_loading_that_fails_can_be_tried_again_and_the_queue_survives(stage: Make) -> None:
    s = stage(3, start=False)
    s.failures = [HubError("1. do this"), OSError("odd")]
    s.worker.say(HI)
    s.start()
    s.worker.wait()
    assert s.worker.status().state == "failed"
    assert s.worker.error is not None
    assert s.worker.error.exit_code == 3
    s.worker.retry_loading()
    s.until(lambda: len(s.view.notes) == 2)
    s.until(lambda: s.worker.status().state == "failed")
    s.worker.retry_loading()
    s.until(lambda: s.worker.status().state != "failed")
    s.worker.wait()
    assert s.view.turns[0][1].ended == "eos"
    assert s.worker.error is None


def test_retry_and_replay(stage: Make) -> None:
    s = stage(3, 4)
    s.worker.say(HI)
    s.worker.retry()
    s.worker.replay(None)
    s.worker.replay(1)
    s.worker.wait()
    assert len(s.session.turns) == 1
    for entry, take in ((2, 1), (3, 0)):
        assert np.abs(s.sound.heard(entry) - s.sound.heard(take)).max() < 1e-4


def test_replaying_what_is_not_there_is_one_line(stage: Make) -> None:
    s = stage()
    s.worker.replay(None)
    s.worker.replay(7)
    s.worker.wait()
    assert [kind for kind, _ in s.view.notes] == ["error", "error"]
    assert "no saved take 7" in s.view.notes[1][1]


def test_a_changed_references_folder_is_picked_up_when_idle(stage: Make) -> None:
    s = stage()
    s.until(lambda: s.worker.status().state == "ready")
    s.voices.voices = (Voice(0, "Ana", (make_segment(5),)),)  # type: ignore[arg-type]
    s.voices.has_changed = True
    s.until(lambda: s.worker.speakers() == {0: "Ana"})
    rows = s.worker.status().rows
    assert rows is not None
    assert rows.voices > 5


def test_set_changes_sampling_and_refuses_what_is_read_at_the_start(stage: Make) -> None:
    s = stage(3)
    s.worker.set("temperature", "0.5")
    with pytest.raises(ConfigError, match="model is read at the start"):
        s.worker.set("model", "elsewhere")
    s.worker.set("seed", "99")
    s.worker.say(HI)
    s.worker.wait()
    sampling = s.engine.calls[0][1]
    assert (sampling.temperature, sampling.seed) == (0.5, 99)
    assert s.worker.config.model == Config().model


def test_a_line_is_said_with_the_settings_it_was_typed_under(stage: Make) -> None:
    s = stage(3, 4, start=False)
    s.worker.set("temperature", "0.5")
    s.worker.say(HI)
    s.worker.set("temperature", "0.9")
    s.worker.say(HI)
    assert s.worker.config.sampling.temperature == 0.9  # of what is typed next, at once
    s.start()
    s.worker.wait()
    assert [sampling.temperature for _, sampling in s.engine.calls] == [0.5, 0.9]


def test_a_part_of_nothing_but_directions_is_left_out_of_its_scene(stage: Make) -> None:
    s = stage(3, 4)
    s.worker.say((*HI, Utterance("*laughs*", 1), Utterance("Bye.", 0)))
    s.worker.wait()
    assert [turn.segment.text for turn in s.session.turns] == ["Hi there.", "Bye."]
    assert ("info", 'nothing to say in "*laughs*"; left out') in s.view.notes
    assert sum("stage directions, as *laughs*" in text for _, text in s.view.notes) == 1


def text_of(prompt: Prompt) -> str:
    ids = (int(row[-1]) for row, mask in zip(prompt.tokens, prompt.mask, strict=True) if mask[-1])
    return "".join(chr(id - 3) for id in ids if id > 2)


def test_an_entry_of_the_lexicon_holds_for_the_lines_after_it_and_is_said(stage: Make) -> None:
    s = stage(3, 4, start=False)
    s.worker.say(HI)
    s.worker.add_to_lexicon(parse_entry("Hi = Hey"))
    s.worker.say(HI)
    assert s.worker.reading("Hi.") == "Hey."  # what is typed next, at once
    s.start()
    s.worker.wait()
    first, second = (text_of(prompt) for prompt, _ in s.engine.calls)
    assert first == "[0]Hi there."
    assert second == "[0]Hey there.[0]Hey there."  # what was said before it as well
    assert ("info", "lexicon: Hi = Hey") in s.view.notes


def test_an_unwritable_folder_is_said_and_speech_goes_on(stage: Make) -> None:
    s = stage(3, 4)
    s.folder.write_text("a file where the folder should be")
    s.worker.say(SCENE[:2])
    s.worker.wait()
    assert len(s.sound.heard(0)) == 7 * FRAME_SAMPLES
    assert len(s.session.turns) == 2
    assert sum("cannot be made (Not a directory)" in text for _, text in s.view.notes) == 1


def test_closing_while_speaking_ends_the_thread_and_keeps_the_take(stage: Make) -> None:
    s = stage(None, frame_s=0.02)
    s.worker.say(HI)
    s.until(lambda: bool(s.sound.entries and s.sound.entries[0]))
    s.worker.close()
    s.worker.close()
    assert "model" not in {thread.name for thread in threading.enumerate()}
    assert s.files() == ["001-0.cut.wav", "takes.jsonl"]


def test_the_first_sound_counts_from_enter(stage: Make) -> None:
    s = stage(3, 3, frame_s=0.05)
    s.worker.say(HI)
    s.worker.wait()
    first_audio_s = s.worker.status().first_audio_s
    assert first_audio_s is not None
    assert 0.04 < first_audio_s < 1


def test_a_speaker_without_a_voice_is_said_once(stage: Make) -> None:
    s = stage()
    s.voices.voices = (Voice(0, "Ana", (make_segment(5),)),)  # type: ignore[arg-type]
    s.worker.reload()
    s.worker.say(SCENE)
    s.worker.say(SCENE)
    s.worker.wait()
    assert [text for _, text in s.view.notes if "no voice" in text] == [
        "speaker 1 has no voice: it will be a random one. "
        "reference1.wav in the references folder gives it one"
    ]


def test_a_speaker_whose_clip_was_refused_is_told_why(stage: Make) -> None:
    s = stage()
    s.voices.refusals = {1: "reference1.wav was refused: too short"}
    s.worker.say(SCENE)
    s.worker.say(SCENE)
    s.worker.wait()
    assert [text for _, text in s.view.notes if "speaker 1" in text] == [
        "speaker 1 has a random voice: reference1.wav was refused: too short"
    ]


def test_leaving_does_not_wait_for_a_long_step_of_loading(stage: Make) -> None:
    s = stage(start=False)
    reading, read = threading.Event(), threading.Event()

    def load(config: Config, reports: Reporting) -> Loaded:
        reports.progress("a large file")
        reading.set()
        read.wait(20)
        reports.progress("the next step")
        raise AssertionError("the loader goes on after the worker was closed")

    s.worker._load = load
    s.start()
    assert reading.wait(5)
    assert not s.worker.close()
    read.set()
    s.until(s.worker.close)
    assert s.view.notes == []


LONG = (Utterance("A line that nobody could say within the fraction of a second.", 0),)


def test_a_take_that_ends_far_too_early_is_said_again_with_the_next_seed(
    stage: Make,
) -> None:
    s = stage(3, 4, 40, 5)
    s.worker.say(LONG)
    s.worker.wait()
    assert s.files() == ["001-0.guard.wav", "002-0.guard.wav", "003-0.wav", "takes.jsonl"]
    assert [(number, turn.seed, turn.ended) for number, turn in s.view.turns] == [(3, 3, "eos")]
    assert [turn.seed for turn in s.session.turns] == [3]
    told = [text for _, text in s.view.notes]
    assert sum("far too early for its text" in text for text in told) == 2
    assert sum("said again with the next seed" in text for text in told) == 2
    assert s.worker.n_failed == 0


def test_a_line_whose_takes_all_end_far_too_early_has_failed(stage: Make) -> None:
    s = stage(3, 4, 5)
    s.worker.say(LONG)
    s.worker.wait()
    assert [turn.ended for _, turn in s.view.turns] == ["early"]
    assert (len(s.engine.calls), s.worker.n_failed, s.session.turns) == (3, 1, ())


def test_takes_of_the_last_line_are_saved_listed_and_one_is_picked(stage: Make) -> None:
    s = stage(3, 4, 5, None, 6)
    s.worker.say(HI)
    s.worker.takes(3)
    s.worker.settle()
    assert s.session.turns == (s.view.turns[0][1],)
    assert len(s.sound.entries) == 1, "nothing is heard while they are made"
    told = [text for _, text in s.view.notes]
    assert told[-4] == "1  take 2: 0.3 s, seed 2, ended by itself"
    assert told[-2].startswith("3  take 4: ") and told[-2].endswith("stopped as a runaway")
    assert told[-1].startswith("$PICK n$ puts one")
    assert s.worker.n_offered() == 3
    s.worker.pick(2)
    s.worker.say(HI)
    s.worker.wait()
    assert [turn.seed for turn in s.session.turns] == [3, 5]
    assert len(s.sound.heard(1)) == 5 * FRAME_SAMPLES
    assert s.session.history() == " 3 0: Hi there.\n 5 0: Hi there."
    assert s.files() == [
        *("001-0.wav", "002-0.wav", "003-0.wav", "004-0.guard.wav", "005-0.wav", "takes.jsonl")
    ]
    lines = next(s.folder.rglob("takes.jsonl")).read_text().splitlines()
    records = [(line["take"], line["in_context"]) for line in map(json.loads, lines)]
    assert records == [(1, True), (2, False), (3, False), (4, False), (3, True), (5, True)]
    assert s.worker.n_failed == 0


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda worker: worker.pick(1), "no takes to pick from"),
        (lambda worker: worker.takes(2), "nothing was said yet"),
        (lambda worker: [worker.say(HI), worker.takes(50)], "50 takes at once"),
        (lambda worker: [worker.say(HI), worker.takes(2), worker.pick(3)], "there are 1 to 2"),
        (lambda worker: [worker.say(HI), worker.takes(2), worker.pick(0)], "there are 1 to 2"),
        (lambda worker: [worker.say(HI), worker.takes(2), worker.pick(2)], "end by itself"),
        (
            lambda worker: [worker.say(HI), worker.takes(2), worker.say(HI), worker.pick(1)],
            "not what was said last",
        ),
        (
            lambda worker: [
                *(worker.set("temperature", "0"), worker.say(HI), worker.takes(2)),
            ],
            "all takes come out alike",
        ),
        (lambda worker: worker.edit(1, "Hi.", onward=False), "no turn 1 in the dialogue"),
        (lambda worker: [worker.say(HI), worker.edit(1, "...", onward=False)], "nothing to say"),
        (lambda worker: [worker.say(HI), worker.edit(1, "A.||B.", onward=True)], "one turn"),
        (lambda worker: [worker.say(HI), worker.edit(1, "a b " * 400, onward=True)], "longer"),
    ],
)
def test_what_cannot_be_taken_picked_or_changed_is_one_line_and_changes_nothing(
    stage: Make, ask: Callable[[Worker], object], words: str
) -> None:
    s = stage(3, 4, None, 5)
    before = s.session_turns_after_saying(ask)
    errors = [text for kind, text in s.view.notes if kind == "error"]
    assert len(errors) == 1 and words in errors[0] and "\n" not in errors[0]
    assert s.worker.n_failed == 1
    assert s.session.turns == before


def test_one_take_is_picked_after_another_until_the_dialogue_goes_on(stage: Make) -> None:
    s = stage()
    s.worker.say(HI)
    s.worker.takes(2)
    s.worker.pick(1)
    s.worker.pick(2)
    s.worker.run(lambda session: str([turn.seed for turn in session.turns]))
    s.worker.run(lambda session: session.undo() and "")
    s.worker.run(lambda session: session.undo() and "")
    s.worker.wait()
    assert ("info", "[3]") in s.view.notes
    assert [turn.seed for turn in s.session.turns] == [1]


def test_takes_that_are_cancelled_leave_nothing(stage: Make) -> None:
    s = stage(3, None, frame_s=0.02)
    s.worker.say(HI)
    s.worker.settle()
    s.worker.takes(4)
    s.until(lambda: s.engine.n_running == 1)
    s.worker.cancel()
    s.worker.settle()
    assert s.view.notes[-1] == ("error", "stopped: there are no new takes to pick from")
    assert s.files() == ["001-0.wav", "takes.jsonl"]
    assert s.worker.n_offered() == 0


def test_a_turn_is_said_anew_in_its_place_and_its_scene_joined_again(stage: Make) -> None:
    s = stage(3, 4, 5, 6)
    s.worker.say(SCENE)
    s.worker.edit(2, "Well, hello.", onward=False)
    s.worker.wait()
    texts = [turn.segment.text for turn in s.session.turns]
    assert texts == ["Hi there.", "Well, hello.", "Yes."]
    assert list(s.session.numbered()) == [1, 4, 3]
    assert s.session.turns[1].segment.speaker == 1
    joined = read_clip(next(s.folder.rglob("001-003-scene-2.wav"))).pcm
    assert len(joined) == (3 + 6 + 5) * FRAME_SAMPLES
    assert ("info", "take 4 is in the dialogue in place of 2") in s.view.notes
    assert len(s.sound.heard(1)) == 6 * FRAME_SAMPLES
    s.worker.run(lambda session: session.undo() and "")
    s.worker.edit(1, "Hello.", onward=False)
    s.worker.wait()
    assert list(s.session.numbered()) == [5, 2, 3]
    joined = read_clip(next(s.folder.rglob("001-003-scene-3.wav"))).pcm
    assert len(joined) == (5 + 4 + 5) * FRAME_SAMPLES, "what was taken back is not in it"


@pytest.mark.parametrize("is_picked", [True, False])
def test_a_scene_is_joined_with_what_took_the_place_of_its_last_part(
    stage: Make, is_picked: bool
) -> None:
    s = stage(3, 4, 5, 6, 7)
    s.worker.say(SCENE[:2])
    if is_picked:
        s.worker.takes(2)
        s.worker.pick(2)
    else:
        s.worker.retry()
        s.worker.retry()
    s.worker.edit(1, "Hello.", onward=False)
    s.worker.wait()
    assert list(s.session.numbered()) == [5, 4]
    joined = read_clip(next(s.folder.rglob("001-002-scene-2.wav"))).pcm
    assert len(joined) == (7 + 6) * FRAME_SAMPLES


def test_a_turn_and_those_behind_it_are_said_anew_and_taken_back_together(stage: Make) -> None:
    s = stage(3, 4, 5, 6, 7)
    s.worker.say(SCENE)
    s.worker.edit(2, "Well, hello.", onward=True)
    s.worker.wait()
    assert list(s.session.numbered()) == [1, 4, 5]
    assert [turn.segment.text for turn in s.session.turns][1:] == ["Well, hello.", "Yes."]
    assert [name for name in s.files() if "scene" in name] == [
        *("001-003-scene-2.wav", "001-003-scene.wav")
    ]
    s.worker.run(lambda session: session.undo() and "")
    s.worker.wait()
    assert list(s.session.numbered()) == [1, 2, 3]


def test_a_change_that_did_not_end_by_itself_changes_nothing(stage: Make) -> None:
    s = stage(3, 4, 5, None)
    s.worker.say(SCENE)
    s.worker.edit(1, "Hello.", onward=True)
    s.worker.wait()
    assert list(s.session.numbered()) == [1, 2, 3]
    assert (len(s.engine.calls), s.worker.n_failed) == (4, 1)
    assert not any("scene-2" in name for name in s.files())


def test_a_change_that_ends_far_too_early_is_said_again_in_the_same_place(stage: Make) -> None:
    s = stage(3, 4, 3, 40)
    s.worker.say(SCENE[:2])
    s.worker.edit(1, LONG[0].text, onward=False)
    s.worker.wait()
    assert [turn.segment.text for turn in s.session.turns] == [LONG[0].text, "Oh, hello."]
    assert list(s.session.numbered()) == [4, 2]


# takes that are checked

SOUND = [40, 40, 2]  # a take that dies away


def checking(s: Stage, *heard: str | TranscriptError) -> None:
    s.ear.script = [*heard]
    s.worker.set("check.mode", "words")


def told(s: Stage) -> list[str]:
    return [text for _, text in s.view.notes]


def records(s: Stage) -> list[dict[str, Any]]:
    lines = next(s.folder.rglob("takes.jsonl")).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_was_played_is_heard_while_nobody_waits_and_what_is_wrong_is_told(
    stage: Make,
) -> None:
    s = stage(SOUND, SOUND)
    checking(s, "Hi there.", "Hi bear.")
    s.worker.say(HI)
    s.until(lambda: len(s.ear.heard) == 1)
    s.worker.say(HI)
    s.until(lambda: any("bear" in text for text in told(s)))
    assert told(s)[-1] == (
        'take 2: heard "Hi bear." (1 of 2 words wrong, its last word was not heard); '
        "Alt-R says it again"
    )
    s.until(lambda: len(records(s)) == 4)
    good, bad = (record["check"] for record in records(s) if record["check"])
    assert (good["n_wrong"], good["problems"], good["likeness"]) == (0, [], None)
    assert (bad["heard"], bad["n_words"], bad["problems"]) == ("Hi bear.", 2, ["words", "end"])
    assert [record["in_context"] for record in records(s)] == [True] * 4
    assert len(s.engine.calls) == 2, "what was played is not made again unasked"


def test_speech_does_not_wait_for_what_is_being_heard(stage: Make) -> None:
    s = stage(SOUND, SOUND)
    begun, n_given_way = threading.Event(), 0
    hear = s.ear.hear

    def slowly(pcm: Pcm, is_wanted: Callable[[], bool] = lambda: True) -> str | None:
        nonlocal n_given_way
        if n_given_way:
            return hear(pcm, is_wanted)
        begun.set()
        s.until(lambda: not is_wanted())
        n_given_way += 1
        return None

    s.ear.hear = slowly  # type: ignore[method-assign]
    checking(s, "Hi there.")
    s.worker.say(HI)
    assert begun.wait(5)
    s.worker.say(HI)
    s.until(lambda: len(s.view.turns) == 2)
    s.until(lambda: len(s.ear.heard) == 2)


def test_without_sound_a_take_that_fails_is_made_again_and_the_best_is_kept(stage: Make) -> None:
    s = stage(SOUND, SOUND, SOUND, start=False)
    s.sound.is_off = True
    s.start()
    checking(s, "Hi.", "High bear.", "Hi there there.")
    s.worker.say(HI)
    s.worker.wait()
    (turn,) = s.session.turns
    assert turn.verdict and (turn.verdict.heard, turn.verdict.tries) == ("Hi.", 3)
    assert [turn.seed, *(sampling.seed for _, sampling in s.engine.calls)] == [1, 1, 2, 3]
    assert s.files() == ["001-0.wav", "takes.jsonl"], "what is not kept is nowhere"
    assert records(s)[0]["check"]["tries"] == 3
    again, other, last = told(s)[-3:]
    assert "1 of 2 words wrong" in again and "said again with the next seed" in again
    assert 'heard "High bear."' in other and last.endswith("Alt-R says it again")
    assert "the best of 3 takes" in last
    s.worker.run(lambda session: f"undone {session.undo() is turn} {len(session.turns)}")
    s.worker.settle()
    assert told(s)[-1] == "undone True 0", "one change, however many takes"


def test_each_of_several_takes_is_listed_with_what_was_heard(stage: Make) -> None:
    s = stage(SOUND, SOUND, SOUND)
    s.worker.say(HI)
    s.worker.settle()
    checking(s, "Hi there.", "")
    s.worker.takes(2)
    s.worker.settle()
    first, second = (text for text in told(s) if "ended by itself; " in text)
    assert first == '1  take 2: 0.2 s, seed 2, ended by itself; heard "Hi there."'
    assert second.startswith("2  take 3") and "heard no words (2 of 2 words wrong" in second
    assert [bool(record["check"]) for record in records(s)] == [False, True, True]


@pytest.mark.parametrize("is_crash", [False, True])
def test_where_nothing_can_be_heard_it_is_told_once_and_speech_goes_on(
    stage: Make, is_crash: bool
) -> None:
    s = stage(SOUND, SOUND, SOUND)
    error = TranscriptError("base.pt is missing; put it there")
    if is_crash:
        checking(s, error)
    else:
        s.ear.load_error = error
        checking(s, "Hi there.")
    s.worker.say(HI)
    s.until(lambda: any("go unchecked" in text for text in told(s)))
    s.worker.say(HI)
    s.worker.wait()
    unheard = [text for text in told(s) if "go unchecked" in text]
    assert unheard == [
        "takes go unchecked: base.pt is missing; put it there. $CHECK on$ tries again"
    ]
    assert len(s.session.turns) == 2 and s.worker.n_failed == 0
    s.ear.load_error, s.ear.script = None, ["Hi there."]
    s.worker.check_anew()
    s.worker.say(HI)
    s.until(lambda: any(record["check"] for record in records(s)))

"""Moods and new names in `say`, `render`, `voices` and from Python, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import csm_chat
from csm_chat.errors import EntryError
from tests.in_process import Run
from tests.voices.test_voices import save, speech


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path) -> Path:
    """A working folder with a model and ana, who has a mood."""
    config = f"model: {checkpoint}\ndevice: cpu\ndtype: float32\nsampling: {{seed: 7}}\n"
    (tmp_path / "config.yaml").write_text(config + "watermark: {method: off}\n")
    (tmp_path / "references").mkdir()
    save(tmp_path / "references" / "reference-ana.wav", speech(4.0))
    save(tmp_path / "references" / "reference-ana.angry.wav", speech(4.0, 0.2), text="Out, now!")
    return tmp_path


def test_say_speaks_in_a_mood_and_refuses_one_nobody_has(run: Run, folder: Path) -> None:
    usual, angry = (run("say", "-o", f"{n}.wav", n) for n in ("ana: Out!", "ana (angry): Out!"))
    assert usual.code == angry.code == 0, usual.err + angry.err
    assert "ana (angry)" in angry.err and "ana (angry)" not in usual.err
    heard = [(folder / f"{n}.wav").read_bytes() for n in ("ana: Out!", "ana (angry): Out!")]
    assert heard[0] != heard[1]
    wrong = run("say", "-o", "c.wav", "ana (angri): Out!")
    assert wrong.code == 2
    assert 'ana has no mood "angri": did you mean (angry)?' in wrong.err
    assert not (folder / "c.wav").exists()


def test_say_makes_a_new_speaker_of_a_new_name(run: Run, folder: Path) -> None:
    ran = run("say", "-o", "a.wav", "Cleo: Hi!\ncleo: Me.")
    assert ran.code == 0, ran.err
    assert ran.err.count("Cleo (speaker 1) has no voice: it will be a random one") == 1
    assert run("say", "-o", "b.wav", "cleo: Hi!").code == 2


def test_render_tells_the_mood_and_says_anew_what_heard_another_clip(
    run: Run, folder: Path
) -> None:
    (folder / "scene.txt").write_text("ana: Hi.\nana (angry): Out!\n")
    assert run("render", "scene.txt").code == 0
    scene = json.loads((folder / "renders" / "scene" / "scene.json").read_text("utf-8"))
    assert [turn.get("mood") for turn in scene["turns"]] == [None, "angry"]
    (folder / "scene.txt").write_text("ana: Hi.\nben (angry): Out!\n")
    assert "scene.txt:2  no voice is called" in run("render", "scene.txt").err


def test_voices_lists_moods(run: Run, folder: Path) -> None:
    listed = run("voices").out.decode()
    assert "ana (angry)" in listed and "reference-ana.angry.wav" in listed


def test_python_says_moods_and_new_names(folder: Path, checkpoint: Path) -> None:
    with csm_chat.open_chat(
        folder / "references", takes=folder / "takes", model=checkpoint, device="cpu", play=False
    ) as chat:
        (turn,) = chat.say("(angry) Out!")
        assert turn.mood == "angry"
        (new,) = chat.say("Cleo: Hi!")
        (again,) = chat.say("cleo: Hi again!")
        assert new.segment.speaker == again.segment.speaker == 1
        assert chat.names[1] == "Cleo"
        with pytest.raises(EntryError, match="ana has no mood"):
            chat.say("(angri) Out!")
        (record, *_) = (folder / "takes").glob("*/takes.jsonl")
        first = json.loads(record.read_text("utf-8").splitlines()[0])
        assert first["mood"] == "angry"

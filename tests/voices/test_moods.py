"""Clips of moods: whose they are, that they come and go like others, and names with dots."""

from __future__ import annotations

from pathlib import Path

import pytest

from csm_chat.voices.file_names import sources_of
from csm_chat.voices.references import expected_voices
from tests.voices.test_voices import Desk, save, speech


def whose(*names: str) -> tuple[dict[str, list[str]], list[str]]:
    sources, refused = sources_of([Path(name) for name in sorted(names)])
    return {each.path.name: [m.mood for m in each.moods] for each in sources}, refused


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("reference-ana.wav", "reference-ana.angry.wav"), {"reference-ana.wav": ["angry"]}),
        (("reference.wav", "reference.sad.ogg"), {"reference.wav": ["sad"]}),
        (("reference1.wav", "reference1.very sad.wav"), {"reference1.wav": ["very sad"]}),
        (("reference2-cleo.wav", "reference2.sad.wav"), {"reference2-cleo.wav": ["sad"]}),
        (("reference2-cleo.wav", "reference-cleo.sad.wav"), {"reference2-cleo.wav": ["sad"]}),
        (("reference-ana.angry.wav",), {"reference-ana.angry.wav": []}),
        (("reference-dr.smith.wav",), {"reference-dr.smith.wav": []}),
        (
            ("reference-dr.smith.wav", "reference-dr.smith.sad.wav"),
            {"reference-dr.smith.wav": ["sad"]},
        ),
        (
            ("reference-a.wav", "reference-a.b.wav", "reference-a.b.(c).wav"),
            {"reference-a.wav": ["b"], "reference-a.b.(c).wav": []},
        ),
    ],
)
def test_a_mood_is_of_the_speaker_before_the_dot_if_there_is_one(
    names: tuple[str, ...], expected: dict[str, list[str]]
) -> None:
    found, refused = whose(*names)
    assert found == expected
    assert not refused


def test_a_mood_of_a_number_nobody_has_is_refused_with_what_is_missing() -> None:
    found, (line,) = whose("reference1.angry.wav")
    assert not found
    assert "is a mood of reference1.wav, which is not there" in line


def test_of_two_clips_of_a_mood_the_first_is_taken_and_the_other_told_of() -> None:
    found, (line,) = whose("reference1.wav", "reference1.sad.flac", "reference1.sad.wav")
    assert found == {"reference1.wav": ["sad"]}
    assert "reference1.sad.wav" in line


def test_moods_come_and_go_while_it_runs_and_the_voice_stays(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    save(desk.folder / "reference-ana.wav", speech(4.0))
    library = desk.start()
    (alone,) = library.load()
    assert not alone.moods
    mood = save(desk.folder / "reference-ana.angry.wav", speech(4.0, 0.2), text="Out, now!")
    assert [library.changed(), library.changed()] == [False, True]
    (voice,) = library.load()
    assert voice.segments is alone.segments
    assert voice.moods["angry"][0].text == "Out, now!"
    assert voice.moods["angry"][0].speaker == voice.speaker == 0
    assert "reference-ana.angry.wav" in desk.lines[-1]
    assert desk.lines[-1].endswith("-> speaker 0 (ana), angry")
    (same,) = library.load()
    assert same is voice
    mood.with_suffix(".txt").write_text("Out!", "utf-8")
    assert library.load()[0].moods["angry"][0].text == "Out!"
    mood.unlink()
    assert not library.load()[0].moods
    assert desk.lines[-1] == "- reference-ana.angry.wav -> speaker 0 has no mood angry now"


def test_a_mood_that_cannot_be_read_leaves_the_voice(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    save(desk.folder / "reference-ana.wav", speech(4.0))
    (desk.folder / "reference-ana.angry.wav").write_bytes(b"no sound")
    library = desk.start()
    (voice,) = library.load()
    assert not voice.moods
    assert not library.refused(0)
    assert any("reference-ana.angry.wav" in line and "Skipped" in line for line in desk.lines)


def test_moods_of_a_clip_that_goes_are_a_speaker_of_their_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    usual = save(desk.folder / "reference-ana.wav", speech(4.0))
    save(desk.folder / "reference-ana.angry.wav", speech(4.0, 0.2))
    library = desk.start()
    library.load()
    usual.unlink()
    (voice,) = library.load()
    assert (voice.speaker, voice.name) == (1, "ana.angry")
    assert "- reference-ana.wav -> speaker 0 has no voice now" in desk.lines
    assert any(line.endswith("-> speaker 1 (ana.angry)") for line in desk.lines)
    save(usual, speech(4.0))
    (back,) = library.load()
    assert (back.speaker, list(back.moods)) == (0, ["angry"])


def test_a_new_speakers_number_is_kept_for_a_clip_of_the_name(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    library = desk.start()
    library.load()
    library.reserve(0, "Cleo")
    save(desk.folder / "reference-ben.wav", speech(4.0))
    save(desk.folder / "reference-cleo.wav", speech(4.0))
    assert [(v.speaker, v.name) for v in library.load()] == [(0, "cleo"), (1, "ben")]


def test_names_and_moods_are_expected_before_a_clip_is_read(tmp_path: Path) -> None:
    for name in ("reference-ana.wav", "reference-ana.angry.wav", "reference-b.c.wav"):
        (tmp_path / name).touch()
    names, moods = expected_voices(tmp_path, {})
    assert names == {0: "ana", 1: "b.c"}
    assert moods == {0: ("angry",)}
    assert expected_voices(tmp_path / "nowhere", {})[1] == {}

"""Files to fine-tune from: what is read, and that each fault is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csm_chat.errors import UsageError
from csm_chat.finetune.convert import conversations_of, write_conversations
from csm_chat.finetune.datasets import Judged, Line, Pair, read_dpo, read_kto, read_sft


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def written(folder: Path, content: object) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def line(text: str, audio: str, speaker: int, key: str = "speaker") -> dict[str, object]:
    return {"text": text, "audio_path": audio, key: speaker}


def test_lines_are_read_with_either_name_of_the_speaker(folder: Path) -> None:
    path = written(
        folder,
        [[line("Hi.", "a.wav", 1), line("Oh.", str(folder / "b.wav"), 2, "speaker_id")]],
    )
    assert read_sft(path) == [
        (Line("Hi.", folder / "a.wav", 1), Line("Oh.", folder / "b.wav", 2)),
    ]


def test_pairs_and_judged_conversations_are_read(folder: Path) -> None:
    hi, oh = [line("Hi.", "a.wav", 0)], [line("Oh.", "b.wav", 0)]
    a, b = (Line("Hi.", folder / "a.wav", 0),), (Line("Oh.", folder / "b.wav", 0),)
    assert read_dpo(written(folder, [{"chosen": hi, "rejected": oh}])) == [Pair(a, b)]
    judged = [{"segments": hi, "preference": 1}, {"segments": oh, "preference": -1}]
    assert read_kto(written(folder, judged)) == [Judged(a, True), Judged(b, False)]


def test_every_fault_is_named_at_once_with_its_place_and_value(folder: Path) -> None:
    good = line("Hi.", "a.wav", 0)
    content = [
        [good, {"text": " ", "audio_path": "a.wav", "speaker": "ana"}],
        [],
        [{"text": "Oh.", "audio_path": "gone.wav"}, "Hi."],
        {"text": "Hi."},
    ]
    with pytest.raises(UsageError) as raised:
        read_sft(written(folder, content))
    place = str(folder / "data.json")
    assert raised.value.lines == (
        f'{place}: [0][1].text: expected what is said, found " "',
        f'{place}: [0][1].speaker: expected a number, 0 or more, found "ana"',
        f"{place}: [1]: expected a list that is not empty, found []",
        f"{place}: [2][0].speaker: expected a number, 0 or more, found nothing",
        f'{place}: [2][0].audio_path: expected a clip that is there, found "gone.wav"',
        f'{place}: [2][1]: expected an object, found "Hi."',
        *(
            f"{place}: [2][1].{rest}"
            for rest in (
                "text: expected what is said, found nothing",
                "speaker: expected a number, 0 or more, found nothing",
                "audio_path: expected the path of a clip, found nothing",
            )
        ),
        f'{place}: [3]: expected a list that is not empty, found {{"text": "Hi."}}',
    )


@pytest.mark.parametrize("preference", [0, True, "1", None, 2])
def test_a_preference_is_one_or_minus_one(folder: Path, preference: Any) -> None:
    path = written(folder, [{"segments": [line("Hi.", "a.wav", 0)], "preference": preference}])
    with pytest.raises(UsageError, match=r"\[0\]\.preference: expected 1 or -1"):
        read_kto(path)


@pytest.mark.parametrize("data", [b"", b"[", b"\xff\xfe\x00", b"[" * 100_000, b"{}", b"null"])
def test_what_is_no_such_file_is_one_line_or_a_few(folder: Path, data: bytes) -> None:
    path = folder / "data.json"
    path.write_bytes(data)
    for read in (read_sft, read_dpo, read_kto):
        with pytest.raises(UsageError, match=r"data\.json"):
            read(path)
    with pytest.raises(UsageError, match="No such file"):
        read_sft(folder / "none.json")


def clip(path: Path, words: str | None) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    if words is not None:
        path.with_suffix(".txt").write_text(words, encoding="utf-8")


def test_folders_become_conversations_in_natural_order(tmp_path: Path) -> None:
    for name, words in {
        "b/10_speaker0.wav": "Third.",
        "b/2_Speaker1.flac": "Second.",
        "b/1-speaker0.mp3": "First.",
        "a/x speaker 12.ogg": "Alone.",
    }.items():
        clip(tmp_path / name, words)
    (tmp_path / "b" / "notes.md").write_text("not a clip")
    found = conversations_of(tmp_path)
    write_conversations(found, tmp_path / "out.json")
    alone, three = read_sft(tmp_path / "out.json")
    assert [(each.text, each.speaker) for each in three] == [
        ("First.", 0),
        ("Second.", 1),
        ("Third.", 0),
    ]
    assert [(each.text, each.speaker) for each in alone] == [("Alone.", 12)]
    assert alone[0].audio.is_absolute() and not [*tmp_path.glob("*.part")]


def test_clips_without_words_or_speaker_are_all_named(tmp_path: Path) -> None:
    clip(tmp_path / "a" / "hi.wav", "Hi.")
    clip(tmp_path / "a" / "oh-speaker1.wav", None)
    clip(tmp_path / "a" / "ah-speaker1.wav", " \n")
    clip(tmp_path / "a" / "old-speaker1.m4a", "Old.")
    with pytest.raises(UsageError) as raised:
        conversations_of(tmp_path)
    ah, hi, oh, old = sorted(raised.value.lines)
    assert "ah-speaker1.txt: no words there; csm-chat transcribe" in ah
    assert "hi.wav: whose voice? write it as hi-speaker0.wav" in hi
    assert "oh-speaker1.txt" in oh and "convert it to wav" in old


def test_nothing_to_convert_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no clips"):
        conversations_of(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        conversations_of(tmp_path / "none")

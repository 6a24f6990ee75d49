"""`csm-chat finetune` as typed, where nothing has to be learned."""

from __future__ import annotations

from pathlib import Path

from csm_chat.finetune.datasets import read_sft
from tests.in_process import Run


def test_folders_of_clips_become_a_file(run: Run, folder: Path) -> None:
    (folder / "clips").mkdir()
    (folder / "clips" / "1-speaker0.wav").write_bytes(b"")
    (folder / "clips" / "1-speaker0.txt").write_text("Hi there.")
    ran = run("finetune", "convert", "clips", "data.json")
    assert (ran.code, ran.text, ran.err) == (0, "data.json\n", "1 conversations, 1 lines\n")
    assert [line.text for line in read_sft(folder / "data.json")[0]] == ["Hi there."]


def test_what_goes_wrong_is_told_in_a_line(run: Run, folder: Path) -> None:
    ran = run("finetune", "convert", "none", "data.json")
    assert (ran.code, ran.out) == (2, b"") and ran.err.count("\n") == 1
    (folder / "clips").mkdir()
    (folder / "clips" / "1-speaker0.wav").write_bytes(b"")
    (folder / "clips" / "1-speaker0.txt").write_text("Hi there.")
    ran = run("finetune", "convert", "clips", "no/data.json")
    assert ran.code == 2 and "no/data.json: not written" in ran.err
    assert run("finetune").code == 2

"""The file of words that are said in another way, beside the references folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from csm_chat.assemble import open_lexicon
from csm_chat.config.settings import Config
from csm_chat.wording import words


def opened(config: Config, text: str = "Nguyen") -> tuple[str, list[str]]:
    """A text as the lexicon has it, and what is told of the file."""
    told: list[str] = []
    return open_lexicon(config, lambda notice: told.append(words(notice))).read(text), told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lexicon.txt").write_text("# names\nNguyen = win\n", encoding="utf-8")
    return tmp_path


def test_it_lies_beside_the_references_folder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert opened(Config(references=str(folder / "references"))) == ("win", [])
    monkeypatch.chdir(folder)
    assert opened(Config()) == ("win", [])
    assert opened(Config(lexicon=str(folder / "lexicon.txt"), references="/")) == ("win", [])
    assert opened(Config(lexicon=None)) == ("Nguyen", [])


def test_that_it_is_missing_is_told_only_if_somebody_named_it(tmp_path: Path):
    references = str(tmp_path / "references")
    assert opened(Config(references=references)) == ("Nguyen", [])
    read, (told,) = opened(Config(references=references, lexicon="names.txt"))
    assert read == "Nguyen"
    assert f"{tmp_path / 'names.txt'} cannot be read (there is no such file)" in told


def test_bad_lines_are_named_the_first_few_and_the_rest_holds(folder: Path):
    lines = "".join(f"bad {n}\r\n" for n in range(6))
    (folder / "lexicon.txt").write_text(f"\n{lines}Nguyen = win", encoding="utf-8", newline="")
    read, told = opened(Config(references=str(folder / "references")))
    assert read == "win"
    path = folder / "lexicon.txt"
    assert [line.partition("  ")[0] for line in told[:3]] == [f"{path}:{n}" for n in (2, 3, 4)]
    assert told[3:] == [f"{path}: 3 more lines are no entries"]


@pytest.mark.parametrize(
    ("data", "read", "remark"),
    [
        ("Nguyen = win".encode("utf-16"), "win", None),
        ("Nguyen = café".encode("latin-1"), "café", "is not UTF-8"),
        (b"\xef\xbb\xbfNguyen = win", "win", None),
        (b"Nguyen = win\n" + b"\0" * 40, "win", "is no entry"),
        (b"x" * 200_001, "Nguyen", "is larger than 0.2 MB"),
    ],
)
def test_it_is_read_in_any_encoding_and_up_to_a_size(
    folder: Path, data: bytes, read: str, remark: str | None
):
    (folder / "lexicon.txt").write_bytes(data)
    found, told = opened(Config(references=str(folder / "references")))
    assert found == read
    assert len(told) == (remark is not None)
    assert all(remark in line and line.isprintable() for line in told if remark)


def test_a_folder_or_a_pipe_in_its_place_is_told_and_never_waited_for(tmp_path: Path):
    (tmp_path / "lexicon.txt").mkdir()
    assert "is a folder" in opened(Config(references=str(tmp_path / "references")))[1][0]

"""Whatever lies in a folder: it is read, or a line says why not; nothing hangs or fills up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from csm_chat.plain_files import decode, read_bytes


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 100)
    assert read_bytes(path, 100) == b"x" * 100
    with pytest.raises(OSError, match=r"larger than 9\.9e-05 MB"):
        read_bytes(path, 99)


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path: Path) -> None:
    pipe, device = tmp_path / "pipe", tmp_path / "zeros"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        with pytest.raises(OSError, match="not a regular file"):
            read_bytes(path)
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_text_is_read_in_the_encoding_that_it_shows(encoding: str) -> None:
    assert decode("Héllo there, Zoë.\n".encode(encoding)).text == "Héllo there, Zoë.\n"
    assert decode("Hello.".encode(encoding)).remark is None


def test_what_is_no_utf_8_is_windows_1252_and_said() -> None:
    found = decode(b"Caf\xe9 \x93quoted\x94.")
    assert found.text == "Café “quoted”."
    assert found.remark is not None and "Windows-1252" in found.remark


def test_zeros_of_binary_files_are_left_to_be_seen() -> None:
    assert "\0" in decode(b"\x00\x01\x02\x00\x00\x09binary\x00").text

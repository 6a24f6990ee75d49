"""Whatever lies in a folder: it is read, or a line says why not; nothing hangs or fills up."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.plain_files import TextStream, decode, read_bytes


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


class Arriving:
    """Bytes that come a few at a time."""

    def __init__(self, data: bytes, n_bytes: int) -> None:
        self._pieces = [data[i : i + n_bytes] for i in range(0, len(data), n_bytes)]

    def read1(self, size: int = -1, /) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def by_chunks(stream: TextStream) -> str:
    return "".join(stream)


def by_lines(stream: TextStream) -> str:
    return "".join(iter(stream.readline, ""))


READS = [by_chunks, by_lines]
TEXT = "Héllo there, Zoë: “so” be it.\nAnd so on, naïve 数.\n"


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_a_stream_is_read_as_a_file_of_its_bytes(
    encoding: str, read: Callable[[TextStream], str]
) -> None:
    data = TEXT.encode(encoding)
    for n_bytes in (1, 2, 3, 7, 1000):
        remarks: list[str] = []
        assert read(TextStream(Arriving(data, n_bytes), remarks.append)) == TEXT
        assert remarks == []


@given(st.text(max_size=30), st.integers(1, 9), st.sampled_from(READS))
def test_any_utf_8_is_read_wherever_it_is_cut(
    text: str, n_bytes: int, read: Callable[[TextStream], str]
) -> None:
    data = text.encode()
    expected = decode(data).text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" not in text:
        assert read(TextStream(Arriving(data, n_bytes), list[str]().append)) == expected


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("n_bytes", [1, 2, 5, 1000])
def test_no_letter_of_a_stream_vanishes_and_it_is_said_once(
    n_bytes: int, read: Callable[[TextStream], str]
) -> None:
    remarks: list[str] = []
    data = b"\xef\xbb\xbfCaf\xe9.\r\nZo\xc3\xab \x93tw\xf6\x94\rthr\xc3\xa9e\xe9"
    stream = TextStream(Arriving(data, n_bytes), remarks.append)
    assert read(stream) == "Café.\nZoë “twö”\nthréeé"
    assert remarks == ["is not UTF-8: read as Windows-1252, check its accents"]


def test_a_line_comes_before_the_next_is_there() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as typed:
        stream = TextStream(pipe, list[str]().append)
        for line in ("Hi\n", "Zoë\n"):
            typed.write(line.encode())
            assert stream.readline() == line


def test_a_zero_in_a_short_text_does_not_make_it_utf_16() -> None:
    assert "".join(TextStream(io.BytesIO(b"w\0ord.\n"), list[str]().append)) == "w\0ord.\n"

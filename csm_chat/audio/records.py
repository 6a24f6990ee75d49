"""A file of JSON lines that grows, a record each, of which none is ever half. Knows no take."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

from csm_chat.audio.files import write_all
from csm_chat.visible import escaped_json


def append(path: Path, record: Mapping[str, object]) -> None:
    """Add a record, whole or not at all, behind the last one that is whole. Raises OSError."""
    line = escaped_json(json.dumps(record, ensure_ascii=False)).encode() + b"\n"
    with FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+") as file:
        end = file.seek(0, os.SEEK_END)
        if end and not _ends_whole(file):
            file.seek(0)
            data = file.readall() or b""
            end = data.rfind(b"\n") + 1
            if _is_record(data[end:]):  # of somebody whose editor ends no line
                end = len(data)
                line = b"\n" + line
            file.truncate(end)
        file.seek(end)
        try:
            write_all(file, line)
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


def _ends_whole(file: FileIO) -> bool:
    """Whether the last line is ended, as it nearly always is: then the rest need not be read."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _is_record(tail: bytes) -> bool:
    try:
        return isinstance(json.loads(tail), dict)
    except ValueError:
        return False

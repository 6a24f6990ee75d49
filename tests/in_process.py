"""csm-chat run within this process, which has the framework loaded: a run takes no time."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from csm_chat.cli import main


@dataclass
class Ran:
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()


Run = Callable[..., Ran]


@contextmanager
def runner(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Run]:
    """A function that runs it in `folder`. Leaves the log as it was."""
    package = logging.getLogger("csm_chat")
    before, propagate = package.handlers[:], package.propagate
    monkeypatch.chdir(folder)

    def run(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        try:
            code = main(arguments)
        except SystemExit as error:  # argparse's own way
            code = int(error.code or 0)
        out, err = capfdbinary.readouterr()
        return Ran(code, out, err.decode())

    yield run
    for handler in set(package.handlers) - set(before):
        package.removeHandler(handler)
        handler.close()
    package.propagate = propagate

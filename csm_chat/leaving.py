"""How the program ends early: a signal is a Ctrl-C that leaves, and no library may hold it up.

Knows no command and no model.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

# what asks a program to end: `kill`, and a terminal that was closed
ASKING = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]
FINISHING_S = 5.0  # for what was being written when a signal came
LIBRARIES_S = 0.5  # for what libraries do at the end of a process


class AskedToEnd(KeyboardInterrupt):
    """A signal, by its number, asked the program to end: as Ctrl-C, but nothing goes on then."""


def code_of(interrupt: KeyboardInterrupt) -> int:
    """The exit code that tells what interrupted, as shells count."""
    number: int = interrupt.args[0] if isinstance(interrupt, AskedToEnd) else signal.SIGINT
    return 128 + number


class Ending:
    """Whether a signal came, and the exit code that says so."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._forced: threading.Timer | None = None

    def code_or(self, code: int) -> int:
        """128 and the signal's number, as shells count, or `code`."""
        return code if self.signal is None else 128 + self.signal

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The handler. A closed terminal may send both signals: the first one counts."""
        if self.signal is not None:
            return
        self.signal = number
        self._forced = _later(FINISHING_S, self.code_or(0))
        raise AskedToEnd(int(number))

    def finished(self) -> None:
        if self._forced:
            self._forced.cancel()


@contextlib.contextmanager
def asked_by_signals() -> Iterator[Ending]:
    """Raise AskedToEnd in the main thread when a signal comes; one that is ignored stays so."""
    ending = Ending()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in ASKING:
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, ending.ask)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ending.finished()


@contextlib.contextmanager
def held_by_no_library() -> Iterator[None]:
    """Leave the process within LIBRARIES_S after this, though a stuck sound device would hold it.

    PortAudio waits for its devices at the end of a process, where no Ctrl-C is heard.
    """
    code = 1
    try:
        yield
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
        raise
    finally:
        _later(LIBRARIES_S, code)


def _later(seconds: float, code: int) -> threading.Timer:
    timer = threading.Timer(seconds, _end_now, (code,))
    timer.daemon = True
    timer.start()
    return timer


def _end_now(code: int) -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)

"""An object in a process of its own, its methods called from here.

So what one library takes of memory and threads is not seen in the figures of the other.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from csm_chat.errors import CsmChatError

Notify = Callable[[str], None]
Make = Callable[..., object]  # of a module, so that it can be named across processes; a class, say

_END_S = 2.0


class Remote:
    """`make(notify, *args)` in another process. Close it, or use it in a `with`."""

    def __init__(self, make: Make, *args: object, notify: Notify) -> None:
        context = get_context("spawn")
        self._here, there = context.Pipe()
        self._notify = notify
        self._process = context.Process(target=_serve, args=(there, make, args), daemon=True)
        with _ctrl_c_is_ours():
            self._process.start()
        there.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *args: object) -> Any:
        """Call a method and wait. Raises what it raises; CsmChatError if the process is lost."""
        self._here.send((method, args))
        return self._answer()

    def _answer(self) -> Any:
        try:
            while True:
                kind, value = self._here.recv()
                if kind != "note":
                    break
                self._notify(value)
        except (EOFError, ConnectionError) as error:
            raise CsmChatError(self._lost()) from error
        if kind == "error":
            raise value
        return value

    def _lost(self) -> str:
        self._process.join(_END_S)
        code = self._process.exitcode
        if code == -getattr(signal, "SIGKILL", 9):
            return "the measuring process was killed, as systems do when memory runs out"
        return f"the measuring process ended by itself (exit code {code}); --debug may tell more"

    def close(self) -> None:
        self._process.kill()
        self._process.join(_END_S)
        self._here.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


@contextmanager
def _ctrl_c_is_ours() -> Iterator[None]:
    """A process started in here leaves Ctrl-C to this one; one that comes meanwhile waits."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # before Python 3.12 its start lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, make: Make, args: tuple[object, ...]) -> None:
    """What runs in the other process, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def note(text: str) -> None:
        pipe.send(("note", text))

    with suppress(EOFError, ConnectionError):
        served = _answered(pipe, make, (note, *args), keep=True)
        while served is not None:
            method, given = pipe.recv()
            _answered(pipe, getattr(served, method), given)


def _answered(pipe: Connection, call: Make, args: tuple[object, ...], keep: bool = False) -> object:
    """Send what a call answers, or nothing of it and return it."""
    try:
        answer = call(*args)
    except Exception as error:  # noqa: BLE001 - the edge of this process: it is reported there
        own = isinstance(error, CsmChatError)
        if not own:
            text = "".join(traceback.format_exception(error))
            error = CsmChatError(f"{error!r} while measuring", *text.splitlines())
        pipe.send(("error", error))
        return None
    pipe.send(("done", None if keep else answer))
    return answer

"""Where keys come from: a terminal that stays raw, so that no key is lost or taken for a signal."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext

from prompt_toolkit.input import Input, create_input

if sys.platform != "win32":
    from prompt_toolkit.input.vt100 import Vt100Input

    class RawInput(Vt100Input):
        """Stays raw while lines are printed above the prompt.

        prompt_toolkit would let the terminal edit lines meanwhile, which takes a Ctrl-D typed then
        for the end of a file that nobody reads, and a Ctrl-C for a signal. Only output is written
        in between, and an editor sets the terminal up for itself.
        """

        def cooked_mode(self) -> AbstractContextManager[None]:
            return nullcontext()


def stop_process(keys: Input) -> None:
    """Ctrl-Z, as a shell has it: the terminal is the shell's until the process goes on.

    Returns then. Does nothing on Windows, which has no such thing.
    """
    if sys.platform != "win32":
        # past RawInput, which never lets the terminal edit lines
        given_back = Vt100Input.cooked_mode(keys) if isinstance(keys, Vt100Input) else nullcontext()
        with given_back:
            os.kill(0, signal.SIGTSTP)


def keyboard() -> Input:
    """The keys of standard input."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        return create_input()
    return RawInput(sys.stdin)

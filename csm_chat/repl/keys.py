"""Where keys come from, and which does what at the prompt."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from prompt_toolkit.filters import is_searching
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

COMMAND_KEYS = (
    (("f4",), "$SWAP$"),
    (("f3",), "$BACK$"),
    (("escape", "r"), "$RETRY$"),
    (("escape", "p"), "$REPLAY$"),
    (("escape", "u"), "$UNDO$"),
)


class Keyed(Protocol):
    """What keys are pressed for."""

    def accepts(self, text: str) -> int | None:
        """None if the line can be read; else the place that cannot be."""
        ...

    def enter(self, text: str) -> str: ...
    def interrupt(self) -> None: ...
    def suspend(self) -> None: ...


def key_bindings(prompt: Keyed) -> KeyBindings:
    keys = KeyBindings()
    typing = ~is_searching

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None  # take what the menu has put into the line
            return
        place = prompt.accepts(buffer.text)
        if place is None:
            buffer.validate_and_handle()
        else:
            buffer.cursor_position = place

    @keys.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c", filter=typing)
    @keys.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        prompt.interrupt()

    @keys.add("c-z", filter=typing)
    def _(event: KeyPressEvent) -> None:
        prompt.suspend()

    for sequence, command in COMMAND_KEYS:
        _bind(keys, prompt, sequence, command)
    return keys


def _bind(keys: KeyBindings, prompt: Keyed, sequence: tuple[str, ...], command: str) -> None:
    @keys.add(*sequence, filter=~is_searching)
    def _(event: KeyPressEvent) -> None:
        prompt.enter(command)


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

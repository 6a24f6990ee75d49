"""Which key does what at the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_toolkit.filters import is_searching
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

if TYPE_CHECKING:
    from csm_chat.repl.app import Prompt

COMMAND_KEYS = (
    (("f4",), "$SWAP$"),
    (("f3",), "$BACK$"),
    (("escape", "r"), "$RETRY$"),
    (("escape", "p"), "$REPLAY$"),
    (("escape", "u"), "$UNDO$"),
)


def key_bindings(prompt: Prompt) -> KeyBindings:
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


def _bind(keys: KeyBindings, prompt: Prompt, sequence: tuple[str, ...], command: str) -> None:
    @keys.add(*sequence, filter=~is_searching)
    def _(event: KeyPressEvent) -> None:
        prompt.enter(command)

"""Draws the prompt, and erases it where the terminal has become narrower since."""

from __future__ import annotations

import os
from collections.abc import Mapping

from prompt_toolkit.application import Application, get_app
from prompt_toolkit.layout.screen import Char
from prompt_toolkit.renderer import Renderer
from prompt_toolkit.styles import default_ui_style, merge_styles

from csm_chat.repl.layout import STYLE


def erase_what_was_broken(app: Application[str]) -> None:
    """Have the application drawn by the renderer below."""
    app.renderer = ReflowingRenderer(
        merge_styles([default_ui_style(), STYLE]),
        app.output,
        cpr_not_supported_callback=app.cpr_not_supported_callback,
    )


class ReflowingRenderer(Renderer):
    """Knows that a terminal breaks rows anew when it becomes narrower.

    prompt_toolkit goes up as many rows as it drew before it erases, and those that have become two
    stay on the screen in part.
    """

    def erase(self, leave_alternate_screen: bool = True) -> None:
        if breaks_rows_anew(os.environ):
            self.output.cursor_up(self._n_broken())
        super().erase(leave_alternate_screen)

    def _n_broken(self) -> int:
        """How many rows there are now, above the cursor, more than were drawn."""
        screen = self.last_rendered_screen
        if screen is None:
            return 0
        columns = self.output.get_size().columns
        cursor = screen.get_cursor_position(get_app().layout.current_window)
        *above, own = [_length(screen.data_buffer[row]) for row in range(cursor.y + 1)]
        # behind the last character of a full row the cursor stays on that row
        own = cursor.x + 1 if cursor.x < own else cursor.x
        return sum(max(length - 1, 0) // columns for length in [*above, own])


def breaks_rows_anew(environ: Mapping[str, str]) -> bool:
    """All terminals of today do, but for xterm and GNU screen, which cut rows off."""
    return "TMUX" in environ or not {"XTERM_VERSION", "STY"} & environ.keys()


def _length(row: Mapping[int, Char]) -> int:
    return max((column + cell.width for column, cell in row.items() if cell.char != " "), default=0)

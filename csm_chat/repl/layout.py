"""How the prompt is drawn: bars, colours, and erased where the terminal has become narrower."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, get_app
from prompt_toolkit.filters import Condition, is_done, renderer_height_is_known
from prompt_toolkit.layout.containers import ConditionalContainer, HSplit, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.screen import Char
from prompt_toolkit.renderer import CPR_Support, Renderer
from prompt_toolkit.styles import Style, default_ui_style, merge_styles

from csm_chat.repl.toolbar import Fragments

# Colours of the terminal's own palette: they fit its background, light or dark.
STYLE = Style.from_dict(
    {
        "speaker0": "ansicyan",
        "speaker1": "ansiyellow",
        "speaker2": "ansigreen",
        "speaker3": "ansimagenta",
        "speaker4": "ansibrightblue",
        "speaker5": "ansibrightred",
        "chip": "bold",
        "command": "bold",
        "dim": "dim",
        "meter": "ansigreen",
        "warn": "ansiyellow",
        "error": "ansired",
    }
)


@Condition
def _height_is_settled() -> bool:
    """Drawing the bars before the terminal has told its cursor's place would make them jump."""
    return renderer_height_is_known() or (
        get_app().renderer.cpr_support == CPR_Support.NOT_SUPPORTED
    )


def add_bars(
    session: PromptSession[str], below: Callable[[], Fragments], status: Callable[[], Fragments]
) -> None:
    """Below the line being typed: what is said of it, if anything, and the status."""
    # PromptSession has room for one toolbar of its own, which neither wraps nor changes its height.
    root = session.layout.container
    assert isinstance(root, HSplit), root
    settled = ~is_done & _height_is_settled
    root.children += [
        ConditionalContainer(
            Window(
                FormattedTextControl(lambda: list(below())),
                wrap_lines=True,
                dont_extend_height=True,
            ),
            settled & Condition(lambda: bool(below())),
        ),
        ConditionalContainer(
            Window(FormattedTextControl(lambda: list(status())), height=Dimension.exact(1)), settled
        ),
    ]


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

"""The bars below the prompt and the colours."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.filters import Condition, is_done, renderer_height_is_known
from prompt_toolkit.layout.containers import ConditionalContainer, HSplit, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.renderer import CPR_Support
from prompt_toolkit.styles import Style

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

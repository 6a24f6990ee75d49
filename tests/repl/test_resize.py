"""The prompt in a terminal whose window changes: tmux, which breaks rows anew."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csm_chat.repl.layout import breaks_rows_anew
from tests.program import COMMAND, environment

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
LAST_LINE = "above"  # that was printed before the prompt
PROMPT = "0>"
PATIENCE_S = 20.0


class Window:
    """csm-chat at its prompt, in a window of tmux."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")
        program = shlex.join([*COMMAND, "--model", f"/{LAST_LINE}", "--audio", "off"])
        size = ("-x", "80", "-y", "24")
        self._ask("-f", "/dev/null", "new-session", "-d", *size, "-c", str(folder), program)
        self.until(lambda rows: "no model" in rows[-1])

    def _ask(self, *command: str) -> str:
        ran = subprocess.run(
            ["tmux", "-S", self._socket, *command],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        return ran.stdout

    def type(self, text: str) -> None:
        self._ask("send-keys", "-l", text)
        self.until(lambda rows: text[-5:] in "".join(rows))

    def become(self, columns: int) -> None:
        self._ask("resize-window", "-x", str(columns), "-y", "24")

    @property
    def rows(self) -> list[str]:
        """What is on the screen, without rows that are empty."""
        return [row for row in self._ask("capture-pane", "-p").splitlines() if row.strip()]

    def until(self, is_so: Callable[[list[str]], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not (rows := self.rows) or not is_so(rows):
            assert time.monotonic() < end, "\n".join(rows)
            time.sleep(0.05)

    def close(self) -> None:
        self._ask("kill-server")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    window = Window(tmp_path)
    yield window
    window.close()


@pytest.mark.parametrize("n_typed", [37, 38, 120])
def test_no_rows_of_an_older_prompt_are_left(window: Window, n_typed: int) -> None:
    text = ("abcdefghi" * 14)[: n_typed - 2] + "yz"
    window.type(text)
    above, _, _ = packed(window.rows).partition(PROMPT)
    for columns in (40, 20, 33, 20, 80, 60):
        window.become(columns)
        window.until(lambda rows, columns=columns: is_drawn(rows, columns, above, text))


def packed(rows: list[str]) -> str:
    """Without spaces, and so however it is broken."""
    return "".join(rows).replace(" ", "")


def is_drawn(rows: list[str], columns: int, above: str, text: str) -> bool:
    """Whether there is the prompt once, and of what was above it at most the beginning has left."""
    toolbar = " no model: Enter tries again, Ctrl-D leaves"
    if len(toolbar) >= columns:
        toolbar = f"{toolbar[: columns - 2].rstrip()}…"
    found = packed(rows)
    before, _, _ = found.partition(PROMPT)
    return above.endswith(before) and found == packed([before, PROMPT, text, toolbar])


@pytest.mark.parametrize(
    ("environ", "does"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"XTERM_VERSION": "XTerm(390)"}, False),
        ({"STY": "1.pts-0"}, False),
        ({"XTERM_VERSION": "XTerm(390)", "TMUX": "/tmp/tmux,1,0"}, True),
    ],
)
def test_terminals_that_cut_rows_off_are_known(environ: dict[str, str], does: bool) -> None:
    assert breaks_rows_anew(environ) is does

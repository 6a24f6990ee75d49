"""The prompt on a terminal in memory: keys go in, a screen of characters comes out."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pyte
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from csm_chat.config.settings import Config
from csm_chat.repl.app import Screen as Shown
from tests.fake_worker import FakeWorker

PATIENCE_S = 5.0


class Screen(io.StringIO):
    """What a terminal of that size shows of what is written to it."""

    def __init__(self, columns: int, rows: int, encoding: str = "utf-8") -> None:
        super().__init__()
        self.shown = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.shown)
        self._name = encoding
        self.written = ""  # all of it, with what steers

    @property
    def encoding(self) -> str:
        return self._name

    def write(self, text: str) -> int:
        self._stream.feed(text)
        self.written += text
        return len(text)

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.shown.display).rstrip()


class Terminal:
    def __init__(self, prompt: Shown, screen: Screen, keys: PipeInput) -> None:
        self.prompt = prompt
        self.screen = screen
        self._keys = keys

    @property
    def line(self) -> str:
        return self.prompt.session.default_buffer.text

    async def type(self, text: str) -> None:
        self._keys.send_text(text)
        await asyncio.sleep(0.02)

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait until it is so; fails with the screen."""
        for _ in range(int(PATIENCE_S / 0.01)):
            if is_so():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"not within {PATIENCE_S} s; on the screen:\n{self.screen.text}")

    async def shows(self, text: str) -> None:
        await self.until(lambda: text in self.screen.text)


def on_terminal(
    script: Callable[[Terminal], Awaitable[None]],
    worker: FakeWorker,
    config: Config | None = None,
    *,
    columns: int = 80,
    rows: int = 24,
    encoding: str = "utf-8",
    history: Path | None = None,
) -> int:
    """Run `script` against the prompt, then leave with Ctrl-D. Returns the exit code."""

    async def run() -> int:
        worker.config = config or Config(history=history is not None)
        async with _terminal(worker, columns, rows, encoding, history) as (terminal, code):
            await terminal.until(lambda: ("start",) in worker.calls)
            await script(terminal)
            if not code.done():
                terminal.prompt.session.default_buffer.reset()
                await terminal.type("\x04")
            return await asyncio.wait_for(code, PATIENCE_S)

    return asyncio.run(run())


@asynccontextmanager
async def _terminal(
    worker: FakeWorker,
    columns: int,
    rows: int,
    encoding: str,
    history: Path | None,
) -> AsyncIterator[tuple[Terminal, asyncio.Task[int]]]:
    screen = Screen(columns, rows, encoding)
    output = Vt100_Output(screen, lambda: Size(rows, columns), term="xterm", enable_bell=False)
    with create_pipe_input() as keys, create_app_session(input=keys, output=output):
        # a terminal answers when it is asked where the cursor is
        screen.shown.write_process_input = keys.send_text
        prompt = Shown(worker, history or Path("unused"))
        code = asyncio.create_task(prompt.talk("banner"))
        try:
            yield Terminal(prompt, screen, keys), code
        finally:
            code.cancel()

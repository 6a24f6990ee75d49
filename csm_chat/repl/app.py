"""The prompt at a terminal: typing, keys, what is shown around. Speaks only through a worker."""

from __future__ import annotations

import asyncio
import contextlib
import textwrap
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session, get_app_session
from prompt_toolkit.application.run_in_terminal import run_in_terminal
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.renderer import print_formatted_text

from csm_chat.errors import EntryError
from csm_chat.leaving import code_of
from csm_chat.places import state_folder
from csm_chat.repl.completer import LineCompleter
from csm_chat.repl.handlers import PromptState
from csm_chat.repl.history import open_history
from csm_chat.repl.keys import key_bindings, keyboard, stop_process
from csm_chat.repl.layout import STYLE, add_bars, erase_what_was_broken
from csm_chat.repl.lexer import LineLexer, OffsetChips
from csm_chat.repl.lines import carry_out, check, reading
from csm_chat.repl.toolbar import Fragments, colour, preview, toolbar, turn_line
from csm_chat.visible import one_line, visible

if TYPE_CHECKING:
    from csm_chat.conversation.ports import Kind
    from csm_chat.notices import Notice
    from csm_chat.repl.worker.worker import Worker
    from csm_chat.types import Turn

REFRESH_S = 0.125  # between two pictures of what moves by itself
TWICE_S = 1.0  # two Ctrl-C within this drop what waits
LEAVE_HINT = "(Ctrl-D or $EXIT$ to leave)"


def history_path() -> Path | None:
    folder = state_folder()
    return folder and folder / "history"


def run(
    worker: Worker,
    banner: str,
    *,
    history: Path | None = None,
    input: Input | None = None,
    output: Output | None = None,
) -> int:
    """Prompt until the reader leaves; closes the worker. Returns the exit code.

    The worker is started once the prompt is on the screen, so that loading does not delay it.
    `history` is the file of typed lines, by default the user's own; `config.history` turns it off.
    """
    with create_app_session(input=input or keyboard(), output=output):
        prompt = Screen(worker, history or history_path())
        try:
            return asyncio.run(prompt.talk(banner))
        except KeyboardInterrupt as interrupt:
            return code_of(interrupt)
        finally:  # a terminal that was closed raises what it likes
            worker.close()


class Screen:
    """The screen, and the worker's view: `note`, `turn`, `saved`, `changed` are for any thread."""

    def __init__(self, worker: Worker, history: Path | None) -> None:
        self.worker = worker
        self.state = PromptState(worker, worker.config.speaker)
        self.error = ""  # why the line in the buffer has no reading
        self._output = get_app_session().output
        self._unicode = "utf" in (self._output.encoding() or "").lower()
        self._outbox: deque[Fragments] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()  # there is something to print
        self._stirred = asyncio.Event()  # there is something to draw
        self._started = False
        self._interrupted_at = -TWICE_S
        self._saved_in: Path | None = None
        kept = history if worker.config.history else None
        self.session = self._session(open_history(kept, self.note))

    # the worker's view, any thread

    def tell(self, notice: Notice) -> None:
        from csm_chat.repl.wording import PROMPT  # the prompt comes up without it
        from csm_chat.wording import words

        self.note(words(notice, PROMPT))

    def note(self, text: str, kind: Kind = "info") -> None:
        lines = [line for given in visible(text).split("\n") for line in self._wrapped(given)]
        self._show([(f"class:{kind}", "\n".join(lines))])

    def turn(self, number: int, turn: Turn) -> None:
        self._show(turn_line(number, turn, self.state.names, self._columns, self._unicode))

    def saved(self, path: Path) -> None:
        if self._saved_in != path.parent:
            self._saved_in = path.parent
            self._show([("class:dim", one_line(f"takes are saved in {path.parent}"))])

    def changed(self) -> None:
        self._wake(self._stirred)

    def _wrapped(self, line: str) -> list[str]:
        """At spaces, indented: a terminal left alone breaks in the middle of words.

        It may break what is longer than a row, such as a path, so that it is copied whole.
        """
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        width = max(self._columns - 1, 20)
        wrapper = textwrap.TextWrapper(
            width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        return wrapper.wrap(line) or [""]

    def _show(self, fragments: Fragments) -> None:
        self._outbox.append(fragments)
        self._wake(self._arrived)

    def _wake(self, event: asyncio.Event) -> None:
        if self._loop:
            # a worker that outlives the loop has nobody left to tell
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(event.set)

    # the loop

    async def talk(self, banner: str) -> int:
        """Prompt until the reader leaves. Returns the exit code."""
        self._loop = asyncio.get_running_loop()
        self._outbox.appendleft([("", banner)])
        self._print()
        # raw between two prompts as well, or a Ctrl-C then would end the program
        with patch_stdout(raw=True), self.session.app.input.raw_mode():
            chores = [asyncio.create_task(job()) for job in (self._keep_printing, self._keep_drawn)]
            try:
                await self._converse()
                self.worker.drop_queue()
                await asyncio.to_thread(self.worker.close)
            finally:
                for chore in chores:
                    chore.cancel()
                await asyncio.gather(*chores, return_exceptions=True)
                self._print()
        failed = self.worker.status().state == "failed" and self.worker.error
        return failed.exit_code if failed else 0

    async def _converse(self) -> None:
        unread = ""
        while not self.state.leaving:
            try:
                text = await self.session.prompt_async(default=unread)
            except EOFError:
                return
            unread = self.enter(text)
            self._print()

    def enter(self, text: str) -> str:
        """Carry out each line of `text`; what is left of it from a line without reading on."""
        if not text.strip() and self.worker.status().state == "failed":
            self.worker.retry_loading()
        lines = text.split("\n")
        for number, line in enumerate(lines):
            try:
                for answer in carry_out(self.state, line):
                    self.note(answer)
            except EntryError as error:
                self.note(str(error), "error")
                return "\n".join(lines[number:])
        return ""

    def accepts(self, text: str) -> int | None:
        """None if `text` can be read; else the place that cannot be, and `error` tells why."""
        try:
            check(self.state, text)
        except EntryError as error:
            self.error = str(error)
            return min(error.position, len(text))
        return None

    def interrupt(self) -> None:
        """Ctrl-C: stop speech, the second time the queue too; else clear the line; else a hint."""
        now = time.monotonic()
        again = now - self._interrupted_at < TWICE_S
        n_dropped = self.worker.drop_queue() if again else 0
        stopped = self.worker.cancel()
        buffer = self.session.default_buffer
        if n_dropped:
            self.note(f"{n_dropped} more {'line' if n_dropped == 1 else 'lines'} dropped")
        if stopped or n_dropped:
            self._interrupted_at = now
        elif again:
            return
        elif buffer.text:
            buffer.reset()
            self.error = ""
        else:
            self._interrupted_at = now  # lines that wait for the model can be dropped this way too
            self.note(LEAVE_HINT)

    def suspend(self) -> None:
        """Ctrl-Z: stop the process, and give back what others may want meanwhile."""

        def stopped() -> None:
            self.worker.suspend_sound()
            try:
                stop_process(self.session.app.input)
            finally:
                self.worker.resume_sound()

        run_in_terminal(stopped)

    def _print(self) -> None:
        """Write what waits. Not while the prompt is drawn."""
        while self._outbox:
            # prompt_toolkit takes ESC out of it, and leaves BEL and the C1 controls
            shown = [(style, visible(text)) for style, text in self._outbox.popleft()]
            fragments = FormattedText([*shown, ("", "\n")])
            print_formatted_text(self._output, fragments, STYLE)
        self._output.flush()

    async def _keep_printing(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._outbox:
                await run_in_terminal(self._print)

    async def _keep_drawn(self) -> None:
        """Draw when something changed, and while something moves; idle it costs nothing."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            # asked before it is drawn, so that the end of what moves is drawn, too
            moves = self.worker.status().state in ("generating", "speaking")
            self.session.app.invalidate()
            await asyncio.sleep(REFRESH_S)
            if moves:
                self._stirred.set()

    # what is drawn

    @property
    def _columns(self) -> int:
        return self._output.get_size().columns

    def _session(self, history: History) -> PromptSession[str]:
        state = self.state
        session: PromptSession[str] = PromptSession(
            self._message,
            lexer=LineLexer(state),
            input_processors=[OffsetChips(state, "→" if self._unicode else "->")],
            completer=LineCompleter(state),
            complete_while_typing=Condition(
                lambda: session.default_buffer.text.lstrip().startswith("$")
            ),
            key_bindings=key_bindings(self),
            history=history,
            style=STYLE,
            enable_open_in_editor=True,
            search_ignore_case=True,
        )
        erase_what_was_broken(session.app)
        add_bars(session, self._below, self._status)
        session.default_buffer.on_text_changed += lambda _: self._forget_error()
        session.app.after_render += lambda _: self._start()
        return session

    def _message(self) -> FormattedText:
        speaker = self.state.speaker
        name = self.state.names.get(speaker, str(speaker))
        return FormattedText([(colour(speaker), name), ("", "> ")])

    def _below(self) -> Fragments:
        """What is said of the line being typed: why it has no reading, or who says what."""
        if self.error:
            return [("class:error", self.error)]
        line = self.session.default_buffer.document.current_line
        state = self.state
        found = reading(state, line)
        return preview(found, state.speaker, state.names, self._columns, self._unicode)

    def _status(self) -> Fragments:
        return toolbar(self.worker.status(), self.state.names, self._columns, self._unicode)

    def _forget_error(self) -> None:
        self.error = ""

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self.worker.start(self)

"""The prompt without redrawing: lines from a pipe, a file or a simple terminal, in order.

What is made, the paths of takes, goes to `out`; what is said about it to `err`.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from csm_chat.casting.names import label
from csm_chat.errors import EntryError
from csm_chat.leaving import AskedToEnd, code_of
from csm_chat.notices import UNSAVED, TextRemark
from csm_chat.plain_files import TextStream
from csm_chat.printing import Stages, put, put_over, put_path, put_prompt, redraws
from csm_chat.repl.handlers import PromptState
from csm_chat.repl.lines import carry_out, reading
from csm_chat.repl.toolbar import plain, turn_line
from csm_chat.repl.wording import PROMPT
from csm_chat.wording import words

if TYPE_CHECKING:
    from csm_chat.conversation.grammar import Part
    from csm_chat.conversation.ports import Kind
    from csm_chat.notices import Notice
    from csm_chat.repl.worker.worker import Worker
    from csm_chat.types import Turn

FAILED = 1
BLANK = "\ufeff\r\n"  # some programs begin a pipe with a byte order mark
COLUMNS = 10_000  # nothing is shortened: a program may read it


def wanted(lines: TextIO, out: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether there is no terminal that can redraw."""
    dumb = environ.get("TERM", "").lower() in ("dumb", "unknown")
    return dumb or not (lines.isatty() and out.isatty())


def run(worker: Worker, lines: TextIO, out: TextIO, err: TextIO | None = None) -> int:
    """Carry out every line, wait until all was heard, close the worker. Returns the exit code.

    At a terminal it prompts, Ctrl-C stops speech, and the end of input leaves at once.
    """
    view = _View(worker, out, err or sys.stderr)
    worker.start(view)
    given = _readable(lines, view)
    try:
        if lines.isatty():
            _carry_out_all(view, _prompted(view, given))
            return _model_failure(worker)
        n_refused = _carry_out_all(view, _settled(view, iter(given.readline, "")))
        worker.hear_all()
        view.wait()
        return _model_failure(worker) or (
            FAILED if n_refused or view.deaf or view.n_unsaved or worker.n_failed else 0
        )
    except KeyboardInterrupt as interrupt:
        return code_of(interrupt)
    finally:
        worker.drop_queue()
        worker.close()
        if view.deaf:
            _discard(out)


class _Lines(Protocol):
    def readline(self) -> str: ...


def _readable(lines: TextIO, view: _View) -> _Lines:
    """Lines of bytes in whatever encoding they come, as a file of them would be read."""
    if not isinstance(lines, io.TextIOWrapper):
        return lines
    remark = partial(TextRemark, "standard input")
    return TextStream(lines.buffer, lambda words: view.tell(remark(words)))


def _carry_out_all(view: _View, lines: Iterable[str]) -> int:
    """How many lines had no reading."""
    n_refused = 0
    for number, line in enumerate(lines, 1):
        try:
            for answer in carry_out(view.state, line.strip(BLANK)):
                view.note(answer)
        except EntryError as error:
            n_refused += 1
            view.note(f"line {number}: {error}", "error")
        if view.state.leaving or view.deaf:
            break
    return n_refused


def _settled(view: _View, lines: Iterable[str]) -> Iterator[str]:
    """Lines, each once all before it is done: it is answered by what is then, names included."""
    for line in lines:
        view.worker.settle()
        if view.worker.status().state == "failed":
            return
        yield line


def _prompted(view: _View, lines: _Lines) -> Iterator[str]:
    """Lines typed at a terminal, each read back as it was understood."""
    while True:
        try:
            view.prompt()
            line = lines.readline()
        except AskedToEnd:
            raise
        except KeyboardInterrupt:
            view.interrupt()
            continue
        if not line:
            return
        if not line.strip() and view.worker.status().state == "failed":
            view.worker.retry_loading()
        view.read_back(line)
        yield line


def _model_failure(worker: Worker) -> int:
    failed = worker.status().state == "failed" and worker.error
    return failed.exit_code if failed else 0


def _who(part: Part, names: Mapping[int, str]) -> str:
    return label(part.speaker, names, part.mood) if not part.newcomer else part.newcomer


def _discard(out: TextIO) -> None:
    """Let the flush at exit go nowhere: Python would report the broken pipe once more."""
    try:
        number = out.fileno()
    except (OSError, ValueError):  # not a file: nothing is flushed
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


class _View:
    """The worker's view, for any thread, and what is asked at a terminal."""

    def __init__(self, worker: Worker, out: TextIO, err: TextIO) -> None:
        self.worker = worker
        self.state = PromptState(worker, worker.config.speaker)
        self.deaf = False  # nothing can be written any more
        self.n_unsaved = 0  # told of files that are missing
        self._over = threading.Event()
        self._detail = ""  # shown of what is being loaded
        self._out = out
        self._err = err
        self._stages = Stages(err)

    def tell(self, notice: Notice) -> None:
        self.n_unsaved += isinstance(notice, UNSAVED)
        self.note(words(notice, PROMPT))

    def note(self, text: str, kind: Kind = "info") -> None:
        self._write(lambda: put(*text.split("\n"), file=self._err))

    def turn(self, number: int, turn: Turn) -> None:
        self.note(plain(turn_line(number, turn, self.state.names, COLUMNS, unicode=False)).rstrip())

    def saved(self, path: Path) -> None:
        self._write(lambda: put_path(path, self._out))

    def changed(self) -> None:
        """Somebody who watches sees what is being loaded."""
        if not self._err.isatty():
            return
        detail = self.worker.status().detail
        if not redraws(self._err):
            self._stages.show(detail)
        elif detail != self._detail:
            put_over(detail, len(self._detail), self._err)
        self._detail = detail

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError:  # a closed pipe, a full disk
            self.deaf = True
            self.worker.cancel()
            self._over.set()

    def wait(self) -> None:
        """Return when all was heard, or nothing can be written any more."""

        def heard() -> None:
            self.worker.wait()
            self._over.set()

        # the worker's own wait cannot be ended by its view
        threading.Thread(target=heard, name="wait", daemon=True).start()
        self._over.wait()

    def prompt(self) -> None:
        state = self.state
        name = state.names.get(state.speaker, str(state.speaker))
        self._write(lambda: put_prompt(f"{name}> ", self._err))

    def read_back(self, line: str) -> None:
        parts = [
            part
            for part in reading(self.state, line)
            if part.text and part.speaker >= 0 and not part.problem
        ]
        if len(parts) > 1:
            names = self.state.names
            said = (f"{_who(part, names)}: {part.text}" for part in parts)
            self.note("   ".join(said))

    def interrupt(self) -> None:
        if not self.worker.cancel():
            self.note("\n(Ctrl-D or $EXIT$ to leave)")

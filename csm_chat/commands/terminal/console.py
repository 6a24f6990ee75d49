"""What a command says on its way: words and bars on stderr."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from csm_chat.commands.terminal.wording import COMMAND_LINE
from csm_chat.printing import Stages, put, redraws
from csm_chat.visible import one_line
from csm_chat.wording import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from csm_chat.notices import Notice

DELAY_S = 1.0  # what is done sooner needs no bar
_COUNTED = "{desc}{percentage:3.0f}% |{bar}| {n:.0f} of {total:.0f} {unit}, {remaining} left"
_BYTES = "{desc}{percentage:3.0f}% |{bar}| {n_fmt}B of {total_fmt}B, {rate_fmt}, {remaining} left"


class Bar:
    """A bar with the time left, or without a total a changing line. Nothing off a terminal.

    One that does not redraw gets the changing line as a line a stage, and no bar.
    """

    def __init__(
        self,
        total: float | None,
        unit: str = "",
        err: TextIO | None = None,
        *,
        quiet: bool = False,
        delay_s: float = DELAY_S,
    ) -> None:
        """`unit` "B" counts bytes, in kB to GB; any other is written as it is."""
        err = err or sys.stderr
        self._total = total
        watched = err.isatty() and not quiet
        self._bar = _drawn(total, unit, err, delay_s) if watched and redraws(err) else None
        self._stages = Stages(err) if watched and not redraws(err) and total is None else None

    def update(self, done: float, text: str = "") -> None:
        """`done` of the total are done so far; `text` stands in front."""
        if self._stages is not None:
            self._stages.show(text)
        if self._bar is None:
            return
        with suppress(OSError):  # a terminal that was closed
            if self._total is None:
                self._bar.set_description_str(one_line(text))
                return
            self._bar.set_description_str(f"{one_line(text)} " if text else "", refresh=False)
            self._bar.update(min(done, self._total) - self._bar.n)

    def grow(self, total: float) -> None:
        """There is more to do than was thought."""
        if self._bar is not None and self._total is not None:
            self._total = self._bar.total = max(total, self._total)

    def close(self) -> None:
        """Wipe it off. Twice is fine."""
        if self._bar is not None:
            self._bar.delay = 0  # else one that a note has drawn before its time would stay
            with suppress(OSError):
                self._bar.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _drawn(total: float | None, unit: str, err: TextIO, delay_s: float) -> Any:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # its thread would only redraw bars that are not updated
    return tqdm(
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        bar_format="{desc}" if total is None else _BYTES if unit == "B" else _COUNTED,
        file=err,
        leave=False,
        dynamic_ncols=True,
        delay=0 if total is None else delay_s,
    )


class Console:
    """Words for the reader, above whatever bar is there; `quiet` leaves only what went wrong."""

    def __init__(
        self,
        err: TextIO | None = None,
        *,
        quiet: bool = False,
        leaves_out: tuple[type[Notice], ...] = (),
    ) -> None:
        self._err = err or sys.stderr
        self._quiet = quiet
        self._leaves_out = leaves_out
        self._bar: Bar | None = None

    def tell(self, notice: Notice) -> None:
        if not isinstance(notice, self._leaves_out):
            self.note(words(notice, COMMAND_LINE))

    def note(self, *lines: str) -> None:
        if not self._quiet:
            self.warn(*lines)

    def warn(self, *lines: str) -> None:
        """Said in any case, if somebody is there to hear it: a terminal may have been closed."""
        with suppress(OSError):
            if self._bar is None:
                put(*lines, file=self._err)
                return
            from tqdm import tqdm

            with tqdm.external_write_mode(file=self._err):
                put(*lines, file=self._err)

    @contextmanager
    def bar(self, total: float | None, unit: str = "") -> Iterator[Bar]:
        """One at a time."""
        assert self._bar is None, "one bar at a time"
        with Bar(total, unit, self._err, quiet=self._quiet) as self._bar:
            try:
                yield self._bar
            finally:
                self._bar.close()
                self._bar = None

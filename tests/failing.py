"""What fails as a measuring process may. Imports nothing that takes time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from csm_chat.errors import UsageError


class Failing:
    """Made there, asked from here."""

    def __init__(self, notify: Callable[[str], None], how: str) -> None:
        notify("here")
        self._how = how

    def fail(self) -> None:
        if self._how == "usage":
            raise UsageError("no")
        if self._how == "defect":
            raise ZeroDivisionError
        if self._how == "end":
            os._exit(7)
        os.kill(os.getpid(), signal.SIGKILL)

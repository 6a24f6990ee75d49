"""The lines typed before, in a file that only its owner can read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from csm_chat.places import make_private


def open_history(path: Path | None, notify: Callable[[str], None]) -> History:
    """The history kept in `path`; in memory if that is None or cannot be written, which is said."""
    if path is None:
        return InMemoryHistory()
    try:
        make_private(path.parent)
        path.touch(0o600)
        path.chmod(0o600)
        with path.open("ab"):
            pass
    except OSError as error:
        notify(f"{path} cannot be written ({error.strerror}): typed lines are kept until you leave")
        return InMemoryHistory()
    return _GuardedHistory(path, notify)


class _GuardedHistory(FileHistory):
    """A file that may stop being writable, which is said once."""

    def __init__(self, path: Path, notify: Callable[[str], None]) -> None:
        super().__init__(str(path))
        self._notify = notify
        self._works = True

    def store_string(self, string: str) -> None:
        if not self._works:
            return
        try:
            super().store_string(string)
        except OSError as error:
            self._works = False
            self._notify(f"{self.filename!s} cannot be written any more ({error.strerror})")

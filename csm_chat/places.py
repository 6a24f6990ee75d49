"""Where the program keeps things, also for a user without a home folder. Creates nothing."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from csm_chat.errors import UsageError


def expanded(name: str | Path, what: str) -> Path:
    """A path as somebody wrote it, `~` filled in. Raises UsageError, which begins with `what`."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{what}: {str(name)!r} begins with a home folder that is not known here; "
            "write the whole path"
        ) from error


def inside(folder: Path, name: str, what: str) -> Path:
    """The path of that name in a folder, never the folder itself nor one above it.

    Raises UsageError, which begins with `what`: what the name was made from.
    """
    if name in ("", ".", "..") or any(mark in name for mark in ("/", "\0", os.sep)):
        raise UsageError(f"{what}: {name!r} is no name for a folder of its own; rename the file")
    return folder / name


def slug(name: str) -> str:
    """A name as part of a file's, on any system: letters, digits, - and _; never empty."""
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:40] or "voice"


def state_folder() -> Path | None:
    """For the log and the lines typed; None for a user without a home folder."""
    from platformdirs import user_state_path

    return _known(user_state_path)


def settings_folder() -> Path | None:
    """For the user's own config.yaml; None for a user without a home folder."""
    from platformdirs import user_config_path

    return _known(user_config_path)


def cache_folder() -> Path:
    """For what can be made again; below the temporary files for a user without a home folder."""
    from platformdirs import user_cache_path

    return _known(user_cache_path) or Path(tempfile.gettempdir()) / f"csm_chat-{_user()}"


def whisper_folder() -> Path:
    """Where openai-whisper keeps its models."""
    # as openai-whisper finds it, which takes "~" as it stands where it means nothing
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "whisper"  # noqa: PTH111


def make_private(folder: Path) -> None:
    """Create a folder, and those above it, that only its owner can look into. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def open_private(path: str, flags: int) -> int:
    """An `opener` for `open`: a file it creates is its owner's alone."""
    return os.open(path, flags, 0o600)


def _known(path_of: Callable[[str], Path]) -> Path | None:
    """platformdirs' answer; older ones leave `~` as it is, newer ones raise."""
    try:
        path = path_of("csm_chat")
    except RuntimeError:
        return None
    return path if path.is_absolute() else None


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"

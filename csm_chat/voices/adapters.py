"""Fine-tuned voices: where an adapter of a name lies, and which there are. Loads none."""

from __future__ import annotations

from pathlib import Path

from csm_chat.checkpoint.adapters.files import find
from csm_chat.errors import ConfigError
from csm_chat.places import expanded


def adapter_names(folder: Path) -> list[str]:
    """The adapters in a folder, by the names that `find_adapter` takes."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and find(path))
    except OSError:
        return []


def find_adapter(name: str, folder: Path) -> Path:
    """The folder of an adapter: one of `folder` by its name, else a path.

    Raises ConfigError, which names those there are.
    """
    here = adapter_names(folder)
    if name in here:
        return folder / name
    path = expanded(name, "adapter")
    if find(path):
        return path
    raise ConfigError(
        f"adapter {name!r}: neither one of {folder} (there: {', '.join(here) or 'none'}) "
        "nor a folder with one"
    )

"""Packed weights on disk: a folder a checkpoint and mode, one file a part of the model.

Written whole or not at all.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from csm_chat.notices import Listener, PackedDamaged, PackedUnsaved, Packing

Tensors: TypeAlias = Mapping[str, Tensor]
Part: TypeAlias = Callable[[str], Tensors]  # the tensors of a part, by its name

log = logging.getLogger(__name__)

_FORMAT = 2  # of what is in the files: raise it when the packing changes


def folder_for(root: Path, files: tuple[Path, ...], mode: str) -> Path:
    """Where the packed weights of checkpoint files go: another folder when a file changes."""
    facts = [str(_FORMAT), mode]
    for file in sorted(files):
        stat = file.stat()
        facts.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
    return root / hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def open_folder(
    folder: Path,
    parts: Mapping[str, frozenset[str]],
    make: Part,
    mode: str,
    tell: Listener,
) -> Part:
    """A reader of the parts, each mapped; they are made and written where they are not there.

    `parts` says which tensors each holds. Where nothing can be written, the reader makes them,
    and that is said.
    """
    if folder.is_dir() and not _is_whole(folder, parts):
        tell(PackedDamaged(folder))
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        tell(Packing(mode))
        try:
            _write(folder, parts, make)
        except OSError as error:
            tell(PackedUnsaved(str(error)))
            return make
    return lambda part: _mapped(folder / f"{part}.safetensors")


def _is_whole(folder: Path, parts: Mapping[str, frozenset[str]]) -> bool:
    from safetensors import SafetensorError

    try:
        return all(_names(folder / f"{part}.safetensors") == parts[part] for part in parts)
    except (SafetensorError, OSError) as error:
        log.debug("%s: %s", folder, error)
        return False


def _names(path: Path) -> frozenset[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]  # the library's
        return frozenset(file.keys())


def _mapped(path: Path) -> Tensors:
    from safetensors.torch import load_file

    tensors: Tensors = load_file(path)
    return tensors


def _write(folder: Path, parts: Mapping[str, frozenset[str]], make: Part) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        for part in parts:
            _save(make(part), unfinished / f"{part}.safetensors")
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was quicker, with the same weights
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _save(tensors: Tensors, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:  # how the library words a full disk
        raise OSError(str(error)) from error

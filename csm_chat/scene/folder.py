"""The folder a scene is made in: what was said so far, so that a later run goes on from there.

Knows files, and nothing of models.
"""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from csm_chat.audio.files import (
    create_free,
    from_16_bit,
    to_16_bit,
    unsaved,
    write_all,
    write_clip,
)
from csm_chat.errors import UsageError
from csm_chat.places import slug
from csm_chat.types import Codes, Ended, Pcm, Turn

MAX_SEED = 2**32 - 1
ANOTHER_FOLDER = "choose another folder with -o"
TURNS, STATE = "turns", "render.json"
SUMMARY = "scene.json"
_TOLD = ("seed", "ended", "n_samples", "check")  # of a SavedTurn, as JSON

Mark = Callable[[Pcm], Pcm]  # put into whatever is saved to be listened to: a watermark


def unmarked(pcm: Pcm) -> Pcm:
    return pcm


@dataclass(frozen=True, slots=True, eq=False)
class SavedTurn:
    """A finished turn on disk, as the model made it."""

    path: Path
    seed: int
    ended: Ended
    codes: Codes
    n_samples: int
    check: dict[str, Any] | None = None  # a Verdict, if it was heard

    def pcm(self) -> Pcm:
        """Read anew each time: half an hour of it is not held in memory."""
        with np.load(self.path) as saved:
            samples: npt.NDArray[np.int16] = saved["pcm"]
        return from_16_bit(samples)


class SceneFolder:
    """`<path>/turns/NNN.npz` for each turn, and `NNN-name.wav` to listen to.

    Nothing in it is ever half written.
    """

    def __init__(self, path: Path, mark: Mark = unmarked) -> None:
        """Make it, or take up one made by an earlier run. Raises UsageError, TakeError."""
        self.path = path
        self.mark = mark
        self._state = path / TURNS / STATE
        try:
            if path.exists() and not path.is_dir():
                raise UsageError(f"{path}: is not a folder; choose another with -o")
            holds_files = any(not each.is_dir() for each in path.rglob("*"))
            if holds_files and not self._state.exists():
                raise UsageError(
                    f"{path}: holds files that no render made; choose another folder with -o"
                )
            self._state.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unsaved(path, error, ANOTHER_FOLDER, "made") from error
        if not self._state.exists():
            save(self._state, json.dumps({"seed": None}).encode())

    def seed(self, asked: int | None) -> int:
        """The first turn's seed: `asked`, else that of the run before, else one drawn now."""
        seed = self._kept_seed() if asked is None else asked
        if seed is None:
            seed = random.SystemRandom().randrange(1_000_000)
        save(self._state, json.dumps(_read(self._state) | {"seed": seed}).encode())
        return seed

    def find(self, number: int, key: str) -> SavedTurn | None:
        """The finished turn, None if there is none that was made from just this."""
        path = self._turn(number)
        try:
            # opened here, because numpy leaves a damaged file open
            with path.open("rb") as file, np.load(file) as saved:
                about = json.loads(str(saved["about"]))
                if about.pop("key") != key:
                    return None
                return SavedTurn(path, codes=saved["codes"], **about)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None  # missing or damaged: it is said again

    def keep(self, number: int, key: str, turn: Turn, pcm: Pcm, name: str) -> SavedTurn:
        """Save a finished turn at once. Raises TakeError."""
        samples = to_16_bit(pcm)
        path, segment = self._turn(number), turn.segment
        check = asdict(turn.verdict) if turn.verdict else None
        saved = SavedTurn(path, turn.seed, turn.ended, segment.codes, len(samples), check)
        about = {name: getattr(saved, name) for name in _TOLD}
        buffer = io.BytesIO()
        text = np.array(json.dumps(about | {"key": key}))
        np.savez(buffer, about=text, codes=segment.codes, pcm=samples)
        claim(self.path, [turn_file(number, name)])
        save_audio(self.path / turn_file(number, name), pcm, self.mark)
        # last, because it says that all is there
        save(path, buffer.getvalue())
        return saved

    def _turn(self, number: int) -> Path:
        return self.path / TURNS / f"{number:03d}.npz"

    def _kept_seed(self) -> int | None:
        seed = _read(self._state).get("seed")
        return seed if isinstance(seed, int) and 0 <= seed <= MAX_SEED else None


def turn_file(number: int, name: str) -> str:
    """Where the sound of a turn is, in the folder."""
    return f"{TURNS}/{number:03d}-{slug(name.casefold())}.wav"


def claim(folder: Path, names: Iterable[str]) -> None:
    """Say of files in a scene's folder that renders make them, before they are made.

    Raises UsageError for one that is there and that none has made, TakeError.
    """
    state = folder / TURNS / STATE
    kept = _read(state)
    made = {name for name in _made(folder, kept) if os.path.lexists(folder / name)}
    for name in names:
        if name not in made and os.path.lexists(folder / name):
            raise UsageError(
                f"{folder / name}: no render made it, so it is not replaced; "
                f"move it away, or {ANOTHER_FOLDER}"
            )
    save(state, json.dumps(kept | {"files": sorted(made | set(names))}).encode())


def files_of(summary: Path) -> list[str]:
    """What an earlier scene wrote, if its summary can be read."""
    files = _read(summary).get("files", [])
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def _made(folder: Path, kept: Mapping[str, object]) -> Iterator[str]:
    """Names of files that renders made; those of turns go with the turn as the model made it."""
    claimed = kept.get("files", [])
    yield from (str(name) for name in (claimed if isinstance(claimed, list) else []))
    if written := files_of(folder / SUMMARY):
        yield from (*written, SUMMARY)
    kept_turns = {turn.stem for turn in (folder / TURNS).glob("*.npz")}
    for sound in (folder / TURNS).glob("*-*.wav"):
        if sound.name.partition("-")[0] in kept_turns:
            yield f"{TURNS}/{sound.name}"


def _read(path: Path) -> dict[str, object]:
    """A file that holds an object; an empty one where it cannot be read."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def save(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, in place of one of that name. Raises TakeError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part, file = create_free(path.with_name(f"{path.name}.part"))
        try:
            with file:
                write_all(file, data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise unsaved(path, error, ANOTHER_FOLDER) from error


def save_audio(path: Path, pcm: Pcm, mark: Mark) -> None:
    """The one way of sound into a scene's folder. Raises TakeError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unsaved(path, error, ANOTHER_FOLDER) from error
    write_clip(path, mark(pcm), replace=True, otherwise=ANOTHER_FOLDER)

"""Which takes of a script's turns are wanted: a file of `pick: TURN TAKE` lines beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from csm_chat.errors import UsageError, first_of
from csm_chat.plain_files import decode, read_bytes
from csm_chat.scene.folder import MAX_SEED
from csm_chat.scene.script import COMMENT

ENDING = ".picks"
MAX_TAKE = 999
_PICK = re.compile(r"pick\s*:\s*([0-9]{1,9})\s+([0-9]{1,9})", re.IGNORECASE)


def picks_path(script: Path) -> Path:
    return script.with_name(script.name + ENDING)


def read_picks(script: Path, n_turns: int) -> dict[int, int]:
    """The take of each turn that has a pick; none without a file.

    Raises UsageError with a line for each one that has no reading, or names no turn.
    """
    path = picks_path(script)
    try:
        text = decode(read_bytes(path)).text
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    picks: dict[int, int] = {}
    problems = []
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        said = line.partition(COMMENT)[0].strip()
        problem = _take_in(picks, said, n_turns) if said else ""
        if problem:
            problems.append(f"{path}:{number}  {problem}")
    if problems:
        raise UsageError(*first_of(problems))
    return picks


def _take_in(picks: dict[int, int], line: str, n_turns: int) -> str:
    """Add what a line picks; what is wrong with it instead."""
    found = _PICK.fullmatch(line)
    if not found:
        return f'"{line}" is no pick: write it as pick: TURN TAKE, for example pick: 12 2'
    turn, take = int(found[1]), int(found[2])
    if not 1 <= turn <= n_turns:
        return f"there is no turn {turn}: the script has {n_turns} (scene.json numbers them)"
    if not 1 <= take <= MAX_TAKE:
        return f"there is no take {take}: they are 1 to {MAX_TAKE}, and 1 is the usual one"
    if turn in picks:
        return f"turn {turn} has a pick already: leave one of them out"
    picks[turn] = take
    return ""


def seed_of(seed: int, number: int, picks: Mapping[int, int]) -> int:
    """Turn `number` is said with `seed` + number - 1; another take of it with one far from these.

    The seeds next to it are those of the turns behind it, and of takes that have to be made again.
    """
    take = picks.get(number, 1)
    if take == 1:
        return (seed + number - 1) % (MAX_SEED + 1)
    digest = hashlib.sha256(f"{seed} {number} {take}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (MAX_SEED + 1)

"""Takes that a program was writing when it died: found, named and made to play. Knows no take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from csm_chat.audio.files import hold, move_free, write_all
from csm_chat.audio.sinks import HEADER_BYTES, SAMPLE_BYTES, wav_header
from csm_chat.types import SAMPLE_RATE

_PART = re.compile(r"(.+)\.wav(?:-[0-9]+)?\.part")


@dataclass(frozen=True, slots=True)
class CutOff:
    path: Path
    seconds: float


def rescued(root: Path) -> Iterator[CutOff]:
    """Give each file in a folder of `root` that nobody writes any more a name that players know.

    `003-ana.wav.part` becomes `003-ana.part.wav`; one without a sample goes. What cannot be
    touched stays as it is.
    """
    for part in sorted(root.glob("*/*.part")):
        name = _PART.fullmatch(part.name)
        if name is None:
            continue
        try:
            cut_off = _rescued(part, part.with_name(f"{name[1]}.part.wav"))
        except OSError:  # somebody else's, or of a program at work
            continue
        if cut_off:
            yield cut_off


def _rescued(part: Path, target: Path) -> CutOff | None:
    """Raises OSError."""
    with part.open("r+b", buffering=0) as file:
        if not hold(file):
            return None
        n_samples = (part.stat().st_size - HEADER_BYTES) // SAMPLE_BYTES
        if n_samples <= 0:
            part.unlink()
            return None
        # samples are written before the header that counts them
        write_all(file, wav_header(n_samples))
    path = move_free(part, target)
    return CutOff(path, n_samples / SAMPLE_RATE)

"""What a model is asked to say when it is measured, and whose voices it is compared with.

Recordings of voices that were never trained on say both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from csm_chat.errors import UsageError
from csm_chat.training.speech.corpus import Clip
from csm_chat.training.speech.recorded import Recordings
from csm_chat.types import SAMPLE_RATE

SEED = 20_000  # of all that is drawn
REFERENCE_S = 3.0
N_ENROLLED = 3  # clips that a voice is known by; the model hears the first
N_CANDIDATES = 10


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """Held-out sentences, and clips by which voices are known."""

    lines: tuple[Clip, ...]
    references: Mapping[str, tuple[Clip, ...]]  # of N_CANDIDATES voices


def draw_script(n_lines: int, held_out: Iterable[Clip], known: Iterable[Clip]) -> Script:
    """Lines of held-out voices, and clips of these and of enough known ones: both end.

    Raises UsageError when there are too few.
    """
    references: dict[str, list[Clip]] = {}
    lines: list[Clip] = []
    for clips, is_asked in ((held_out, True), (known, False)):
        for clip in clips:
            enrolled = references.setdefault(voice_of(clip), [])
            if len(clip.pcm) >= REFERENCE_S * SAMPLE_RATE and len(enrolled) < N_ENROLLED:
                enrolled.append(clip)
            elif is_asked and len(lines) < n_lines:
                lines.append(clip)
    full = {name: tuple(each) for name, each in references.items() if len(each) == N_ENROLLED}
    if len(full) < N_CANDIDATES or not {voice_of(line) for line in lines} <= full.keys():
        raise UsageError(
            f"{len(full)} voices with {N_ENROLLED} clips of {REFERENCE_S:g} s; {N_CANDIDATES} are "
            "needed, those of the lines among them: have the teacher speak more"
        )
    return Script(tuple(lines), dict(islice(full.items(), N_CANDIDATES)))


def voice_of(clip: Clip) -> str:
    """Whose it is, however quick."""
    return clip.voice.partition("@")[0]


def all_of(folder: Path) -> Iterator[Clip]:
    """A folder's recordings, each once, in an order drawn. Raises UsageError if there are none."""
    recordings = Recordings.open(folder)
    n = sum(len(turns) for turns in recordings.all_talks)
    return islice(recordings.clips(SEED), n)

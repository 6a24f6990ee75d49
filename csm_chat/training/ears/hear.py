"""Hears clips as a stranger would: words wrong, naturalness, likeness, group by group.

A folder holds GROUP_NN.wav and sentences.json, a list; NN is the place of what the clip says.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csm_chat.checking.likeness import Vector, voiceprint
from csm_chat.errors import UsageError
from csm_chat.printing import put
from csm_chat.training.ears import whisper
from csm_chat.training.ears.naturalness import naturalness
from csm_chat.training.ears.words import Errors, errors
from csm_chat.training.kit import KIT

CLIP = re.compile(r"(.+)_(\d+)\.wav")
SHOWN = 8  # misheard lines a group

Samples = npt.NDArray[np.float32]  # at 16 kHz


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What three ears say of a clip."""

    said: str
    words: str  # as heard
    errors: Errors
    naturalness: float
    print: Vector


@dataclass(frozen=True, slots=True)
class Group:
    """Figures of clips that belong together."""

    clips: int
    words_wrong: float  # share
    characters_wrong: float  # share
    naturalness: float
    like_itself: float  # mean of all pairs of clips
    like: Mapping[str, float]  # each reference
    misheard: tuple[tuple[str, str], ...]  # said, heard


def heard(said: str, samples: Samples, hear: Callable[[Samples], str]) -> Heard:
    """One clip, heard by all three."""
    words = hear(samples)
    found = errors(said, words)
    return Heard(said, words, found, naturalness(samples), voiceprint(samples))


def summed_up(clips: Sequence[Heard], references: Mapping[str, Vector]) -> Group:
    """The figures of a group; of words and characters over all of its clips together."""
    prints = np.stack([clip.print for clip in clips])
    pairs = (prints @ prints.T)[np.triu_indices(len(clips), 1)]
    counts = [clip.errors for clip in clips]
    return Group(
        len(clips),
        sum(each.words for each in counts) / max(1, sum(each.n_words for each in counts)),
        sum(each.characters for each in counts) / max(1, sum(each.n_characters for each in counts)),
        float(np.mean([clip.naturalness for clip in clips])),
        float(pairs.mean()) if len(pairs) else 1.0,
        {name: float((prints @ vector).mean()) for name, vector in references.items()},
        tuple((clip.said, clip.words) for clip in clips if clip.errors.words),
    )


def listen(
    folder: Path, hear: Callable[[Samples], str], references: Sequence[Path] = ()
) -> dict[str, Group]:
    """All groups of a folder. Raises UsageError where it holds no clips of sentences."""
    sentences = folder / "sentences.json"
    if not sentences.is_file():
        raise UsageError(f"{sentences}: not there; it says what the clips are to say")
    texts: list[str] = json.loads(sentences.read_text(encoding="utf-8"))
    groups: dict[str, list[Heard]] = {}
    for path in sorted(folder.glob("*.wav")):
        if match := CLIP.fullmatch(path.name):
            said = texts[int(match[2])]
            groups.setdefault(match[1], []).append(heard(said, _samples(path), hear))
    likes = {path.name: voiceprint(_samples(path)) for path in references}
    return {name: summed_up(clips, likes) for name, clips in groups.items()}


def _samples(path: Path) -> Samples:
    import soundfile
    import soxr

    pcm, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples: Samples = soxr.resample(pcm.mean(1), rate, whisper.RATE, quality="HQ")
    return samples


def told(name: str, group: Group) -> str:
    """A group's figures as lines of text."""
    like = "".join(f"  {reference} {value:.2f}" for reference, value in group.like.items())
    lines = [
        f"{name}: {group.clips} clips  words wrong {100 * group.words_wrong:.1f} %"
        f"  characters {100 * group.characters_wrong:.1f} %"
        f"  naturalness {group.naturalness:.2f}  like itself {group.like_itself:.2f}{like}"
    ]
    lines += [f"    {said} | {words}" for said, words in group.misheard[:SHOWN]]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("csm_chat.training hear", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("references", type=Path, nargs="*", help="voices to compare with")
    parser.add_argument("--kit", type=Path, default=KIT, metavar="DIR", help=f"({KIT})")
    parser.add_argument("--json", action="store_true", help="the figures alone")
    options = parser.parse_args(arguments)
    groups = listen(options.folder, whisper.base(options.kit).hear, options.references)
    if options.json:
        text = json.dumps({name: asdict(group) for name, group in groups.items()})
    else:
        text = "\n".join(told(name, group) for name, group in groups.items())
    put(*text.split("\n"))
    return 0

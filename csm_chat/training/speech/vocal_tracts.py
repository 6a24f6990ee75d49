"""What a voice of espeak-ng is made of, as its voice files say it.

The files have too few voices to learn from: a codec that heard 48 made others of anyone else's
upper formants. `draw_throat` makes new ones without end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

from csm_chat.errors import UsageError

Factors: TypeAlias = tuple[float, float, float]  # of a formant's frequency, strength, width

TONE_HZ = (600, 1200, 2000, 3000)  # where `Throat.tone` says how loud it is, 0 - 255

_PLAIN = (100, 100, 100)  # per cent: a formant that no file speaks of
# What a formant's factors are drawn from: as far as nine in ten of espeak-ng's variants go, and
# centred at 1, for from some mostly below it a codec learned a hollow at 4 kHz. The first three
# formants say which vowel it is, and stay near their places.
_VOWEL = ((0.93, 1.07), (0.55, 1.45), (0.45, 1.55))
_THIRD = ((0.65, 1.35), (0.1, 1.9), (0.45, 1.55))
_UPPER = ((0.6, 1.4), *_THIRD[1:])
_SPANS = (_VOWEL, _VOWEL, _VOWEL, _THIRD, _UPPER, _UPPER, _UPPER, _UPPER, _UPPER)
_TONES = ((90, 255), (70, 255), (50, 200), (30, 160))
_OWN_SHARE = 0.4  # of throats that are their variant's
_SHARE = 0.5  # of the others that differ in one more thing


@dataclass(frozen=True, slots=True)
class Throat:
    """How a voice differs from its variant; by default not at all."""

    formants: tuple[Factors, ...] = ()  # from formant 0 on
    tone: tuple[int, ...] = ()  # at TONE_HZ
    voicing: int | None = None  # per cent: how loud what is voiced is
    consonants: tuple[int, int] | None = None  # per cent: unvoiced ones, and those in voiced ones


VARIANTS_OWN = Throat()


def draw_throat(random: Random) -> Throat:
    """Another one at every call, or none."""
    if random.random() < _OWN_SHARE:
        return VARIANTS_OWN

    formants = tuple(
        (
            round(random.uniform(*frequency), 2),
            round(random.uniform(*strength), 2),
            round(random.uniform(*width), 2),
        )
        for frequency, strength, width in _SPANS
    )
    tone = tuple(random.randint(*span) for span in _TONES)
    voicing = random.randint(50, 200)
    consonants = random.randint(60, 130), random.randint(60, 130)
    return Throat(
        formants,
        tone if random.random() < _SHARE else (),
        voicing if random.random() < _SHARE else None,
        consonants if random.random() < _SHARE else None,
    )


def voice_file(data: Path, language: str, variant: str, throat: Throat) -> str:
    """A whole voice, as espeak-ng reads it, from its data folder. Raises UsageError."""
    languages = {path.name.lower(): path for path in (data / "lang" / "gmw").glob("*")}
    path = data / "voices" / "!v" / variant
    if language not in languages or not path.is_file():
        raise UsageError(
            f"espeak-ng has no voice {language}+{variant}; `espeak-ng --voices=en` and "
            "`espeak-ng --voices=variant` list what there is"
        )
    own = [*_lines(languages[language]), *_lines(path)]
    return "\n".join((*own, *_changes(throat, own), ""))


def _lines(path: Path) -> Iterator[str]:
    """Its settings; a variant's file says of its language only that it is a variant."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip() != "language variant":
            yield line


def _changes(throat: Throat, own: list[str]) -> Iterator[str]:
    """Lines that come after a voice's own and take their place."""
    formants: dict[int, tuple[int, ...]] = dict.fromkeys(range(len(_SPANS)), _PLAIN)
    for words in map(str.split, own):
        if words[:1] == ["formant"]:
            formant, *values = (int(word) for word in words[1:])
            formants[formant] = (*values, *_PLAIN[len(values) :])
    for formant, factors in enumerate(throat.formants):
        frequency, strength, width, *added = formants[formant]
        percents = (frequency * factors[0], strength * factors[1], width * factors[2])
        yield " ".join(map(str, ("formant", formant, *map(round, percents), *added)))
    if throat.tone:
        pairs = zip(TONE_HZ, throat.tone, strict=True)
        yield f"tone {' '.join(f'{hz} {loudness}' for hz, loudness in pairs)}"
    if throat.voicing is not None:
        yield f"voicing {throat.voicing}"
    if throat.consonants is not None:
        yield f"consonants {' '.join(map(str, throat.consonants))}"

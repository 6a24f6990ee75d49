"""Who says what in which voice, conversation by conversation, each fixed by its number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice, permutations
from random import Random
from typing import Literal

from csm_chat.training.text.sentences import sentences
from csm_chat.training.text.spoken import spoken_words

Cast = Literal["train", "heldout", "known"]

WOMEN = (
    "af_heart", "af_alloy", "af_aoede", "af_bella", "af_jessica", "af_kore", "af_river",
    "af_sarah", "af_sky", "bf_emma", "bf_isabella",
)  # fmt: skip
MEN = (
    "am_echo", "am_eric", "am_fenrir", "am_michael", "am_onyx", "bm_daniel", "bm_fable",
    "bm_george",
)  # fmt: skip
# never trained on, nor blends with them
HELD_OUT = ("af_nova", "am_liam", "bf_lily", "bm_lewis")
# beside the held-out ones when a voice is to be told among ten
KNOWN = ("af_heart", "af_bella", "bf_emma", "am_fenrir", "am_michael", "bm_george")
TRIPLES = 20  # blends of three, of women and of men

N_VOICES = (2, 2, 2, 3, 4)  # of a conversation, drawn evenly
TURNS = (4, 9)
SPEEDS = (0.85, 1.15)
OTHER_SPEAKER_SHARE = 0.85  # of turns, those that surely follow another speaker's


@dataclass(frozen=True, slots=True)
class Cue:
    """A turn that is to be spoken."""

    speaker: int  # within the conversation, from 0
    voice: str  # of the teacher's, or several with "+" between them
    speed: float
    text: str  # as it is read out: no digits


def _blends(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield from ((name,) for name in names)
    yield from combinations(names, 2)
    yield from ((first, first, second) for first, second in permutations(names, 2))
    yield from Random(0).sample(list(combinations(names, 3)), TRIPLES)


VOICES = tuple("+".join(parts) for names in (WOMEN, MEN) for parts in _blends(names))
_CASTS: dict[Cast, tuple[str, ...]] = {"train": VOICES, "heldout": HELD_OUT, "known": KNOWN}


def script(number: int, cast: Cast) -> tuple[Cue, ...]:
    """A conversation of 4 to 9 turns in 2 to 4 voices; of held-out sentences if not to train."""
    rng = Random(f"{cast} {number}")
    voices = rng.sample(_CASTS[cast], rng.choice(N_VOICES))
    speeds = [round(rng.uniform(*SPEEDS), 2) for _ in voices]
    texts = sentences(number, "train" if cast == "train" else "test")
    cues: list[Cue] = []
    for text in islice(texts, rng.randint(*TURNS)):
        speakers = list(range(len(voices)))
        if cues and rng.random() < OTHER_SPEAKER_SHARE:
            speakers.remove(cues[-1].speaker)
        speaker = rng.choice(speakers)
        cues.append(Cue(speaker, voices[speaker], speeds[speaker], spoken_words(text)))
    return tuple(cues)

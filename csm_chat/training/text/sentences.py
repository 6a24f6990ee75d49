"""Endless English sentences, split by what they say.

Characters: ASCII letters, digits, space and . , ; : ! ? ' " - % $ &. What digits and abbreviations
sound like: `spoken.spoken_words`.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Literal

from csm_chat.training.ears.measures import normalise
from csm_chat.training.text.grammar import Grammar, read_grammar
from csm_chat.training.text.spoken import spoken_words

log = logging.getLogger(__name__)

Split = Literal["train", "valid", "test", "voices"]

MAX_WORDS = 25
SPLIT_SALT = b"0"  # one that leaves "How are you?", "Of course." and their like in training
HELD_OUT_PERCENT = 1  # of all sentences, for "valid" and again for "test"

DEBIAN_SHARE = 0.06  # of sentences, when the packages are there
DICTIONARY_SHARE = 0.03
DIALOGUE_SHARE = 0.4  # of the sentences that are made up
PAIR_SHARE = 0.12  # of lines, those of two sentences
FORTUNES = "usr/share/games/fortunes"
DICTIONARY = "usr/share/dict/words"

ALLOWED = re.compile(r"""[A-Za-z .,;:!?'"-]+""")
PLAIN_WORD = re.compile(r"[A-Z]?[a-z]+")
SPEAKABLE = re.compile(
    r"""["']?(?:[A-Z]?[a-z']+|[IAO]|OK|TV|[A-Z]'[a-z]+)(?:-[A-Za-z][a-z']*)*"""
    r"""(?:\.\.\.|[.,;:!?]?["']?[.,;:!?]?)"""
)
SEVERAL = re.compile(r"(?<=[.!?]) ")
SENTENCE_END = re.compile(r"""(?<=[.!?])["']?\s+(?=["A-Z])""")
ABBREVIATION_END = re.compile(r"\b(?:[A-Z]|Mrs?|Ms|Dr|St|Jr|Sr|vs|etc|No|Prof)\.$")
SPELLED = (
    "The word is {0}.", "Say {0} again.", "How do you spell {0}?", "{0}!", "I said {0}, not {1}.",
    "What does {0} mean?", "{0}, {1}, {2}.", "It says {0} on the door.", "My favourite is {0}.",
    "Did you say {0}?", "Read this: {0} {1}.", "{0} or {1}?", "There is no {0} in {1}.",
)  # fmt: skip


def split_of(sentence: str) -> Split:
    """Where a sentence belongs, by a hash of how it sounds: "train", "valid" or "test"."""
    heard = normalise(spoken_words(sentence)).encode()
    digest = hashlib.blake2b(heard, digest_size=8, salt=SPLIT_SALT).digest()
    percent = int.from_bytes(digest, "big") % 100
    if percent < HELD_OUT_PERCENT:
        return "valid"
    return "test" if percent < 2 * HELD_OUT_PERCENT else "train"


def sentences(seed: int, split: Split) -> Iterator[str]:
    """Lines of 1 to 25 words, endless; equal for equal seeds, splits and installed packages.

    No sentence of "valid" or "test" is ever in "train", whatever the seeds, alone or as one of two
    in a line. "voices" draws from the sentences of "test".
    """
    rng = Random(f"{split} {seed}")
    wanted = "test" if split == "voices" else split
    fitting = (text for text in _drawn(rng) if _is_all_of(text, wanted))
    for text in fitting:
        if rng.random() < PAIR_SHARE:
            pair = f"{text} {next(fitting)}"
            yield pair if len(pair.split()) <= MAX_WORDS else text
        else:
            yield text


def _is_all_of(text: str, wanted: Split) -> bool:
    """Whether a text belongs to a split, and so does each sentence where it is several."""
    return all(split_of(part) == wanted for part in {text, *SEVERAL.split(text)})


def _drawn(rng: Random) -> Iterator[str]:
    """Single sentences from all sources."""
    grammar = _grammar()
    dictionary = debian_words()
    found = _shuffled(debian_text(), rng)
    while True:
        source = rng.random()
        if found is not None and source < DEBIAN_SHARE:
            text = next(found)
        elif dictionary and source > 1 - DICTIONARY_SHARE:
            text = rng.choice(SPELLED).format(*rng.choices(dictionary, k=3))
            text = text[0].upper() + text[1:]
        else:
            kind = "dialogue" if rng.random() < DIALOGUE_SHARE else "sentence"
            text = grammar.text(kind, rng)
        if len(text.split()) <= MAX_WORDS:
            yield text


def _shuffled(texts: Sequence[str], rng: Random) -> Iterator[str] | None:
    """All texts in random order, then all in another; None if there are none."""
    if not texts:
        return None

    def passes() -> Iterator[str]:
        while True:
            yield from rng.sample(texts, len(texts))

    return passes()


@functools.cache
def _grammar() -> Grammar:
    folder = Path(__file__).parent
    files = ("grammar.txt", "dialogue.txt", "words.txt")
    return read_grammar(*(folder / name for name in files))


@functools.cache
def debian_text(
    root: Path = Path("/"), notify: Callable[[str], None] = log.debug
) -> tuple[str, ...]:
    """Sentences of the package `fortunes` below `root`; empty, and said once, without it."""
    folder = root / FORTUNES
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.suffix)
    if not files:
        notify(f"{folder}: no text there; Debian's package `fortunes` would add about 20000 lines")
    found: dict[str, None] = {}
    for path in files:
        for entry in re.split(r"\n%\n?", path.read_text(encoding="utf-8", errors="replace")):
            found.update(dict.fromkeys(_cleaned(entry)))
    return tuple(found)


@functools.cache
def debian_words(
    root: Path = Path("/"), notify: Callable[[str], None] = log.debug
) -> tuple[str, ...]:
    """Words of a package such as `wamerican` below `root`; empty, and said once, without one."""
    path = root / DICTIONARY
    if not path.is_file():
        notify(f"{path}: not there; Debian's package `wamerican` would add rare words")
        return ()
    words = path.read_text(encoding="utf-8", errors="replace").split()
    return tuple(word for word in words if PLAIN_WORD.fullmatch(word) and 2 < len(word) < 15)


def _cleaned(entry: str) -> Iterator[str]:
    """Sentences of 2 to 25 words that can be said as they are written."""
    body = re.split(r"\n\s*--", f"\n{entry}")[0]  # what follows names the author
    body = " ".join(re.sub(r"\s*--+", ", ", body).replace("`", "'").split())
    parts: list[str] = []
    for part in SENTENCE_END.split(body):
        parts.append(part)
        if ABBREVIATION_END.search(part):
            continue
        text = SPACE_BEFORE_MARK.sub(r"\1", " ".join(parts)).strip("\"' ")
        parts.clear()
        if _is_sayable(text):
            yield text


SPACE_BEFORE_MARK = re.compile(r"\s+([.,!?;])")


def _is_sayable(text: str) -> bool:
    words = text.split()
    return (
        2 <= len(words) <= MAX_WORDS
        and text[0].isupper()
        and text[1] != "."  # "A. Yes.", as answers in riddles are marked
        and text[-1] in ".!?"
        and ALLOWED.fullmatch(text) is not None
        and text.count('"') % 2 == 0
        and all(SPEAKABLE.fullmatch(word) for word in words)
    )

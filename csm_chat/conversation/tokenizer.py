"""Text as the model reads it: ids, sentences, and how long it takes to say. Knows no audio."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from csm_chat.errors import CheckpointError

if TYPE_CHECKING:
    import tokenizers

_BOS, _EOS = "<|begin_of_text|>", "<|end_of_text|>"

_CLOSING = "[\"')\\]}\u2019\u201d\u00bb]*$"  # quotes and brackets
_SENTENCE_END = re.compile(f"[.!?\u2026]{_CLOSING}")
_CLAUSE_END = re.compile(f"[,;:\u2013\u2014]{_CLOSING}")
_ABBREVIATION = re.compile(
    r"\W*("
    r"([^\W\d_]\.)+"  # initials: J. e.g. p.m. U.S.
    r"|(mr|mrs|ms|mx|dr|prof|st|sr|jr|rev|hon|gen|col|capt|lt|sgt|messrs|mme|mlle"
    r"|vs|cf|etc|al|approx|dept|est|ca|inc|ltd|co|corp|bros"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\."
    r")",
    re.IGNORECASE,
)
_BEFORE_NUMBER = re.compile(r"\W*(no|nos|vol|fig|figs|p|pp|ch|sec)\.", re.IGNORECASE)

# English read aloud; digits and symbols are said as words
_CHARS_PER_S = 15.0
_CHARS_PER_DIGIT = 5
_SAID_AS_WORDS = frozenset("$\u20ac\u00a3%&@#+=")
_FLOOR_S = 0.4
_SHORT_PAUSE_S, _LONG_PAUSE_S = 0.15, 0.35
_SHORT_PAUSES = re.compile(r"[,;:\u2013\u2014]+(?!\w)")
_LONG_PAUSES = re.compile(r"[.!?\u2026]+(?!\w)")


def load_tokenizer(folder: Path) -> CsmTokenizer:
    """Read a checkpoint's own tokenizer.json. Raises CheckpointError."""
    import tokenizers

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; download it beside the weights")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); download the file again"
        ) from error
    for name in (_BOS, _EOS):
        if tokenizer.token_to_id(name) is None:
            raise CheckpointError(
                f"{path}: has no {name}; take the checkpoint's own tokenizer.json"
            )
    return CsmTokenizer(tokenizer)


class CsmTokenizer:
    """Text and speaker to ids, in the form CSM was trained on."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        # a typed <|end_of_text|> is then text like any other and cannot end the prompt
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._bos = tokenizer.token_to_id(_BOS)
        self._eos = tokenizer.token_to_id(_EOS)

    def encode(self, text: str, speaker: int) -> npt.NDArray[np.int32]:
        """`<|begin_of_text|>[speaker]text<|end_of_text|>` as ids; (n,)."""
        # the file's post-processor adds a start, or both ends, or nothing: not used
        ids = self._tokenizer.encode(f"[{speaker}]{text}", add_special_tokens=False).ids
        return np.array([self._bos, *ids, self._eos], np.int32)


def sentences(text: str) -> list[str]:
    """Split at sentence ends. Joined with spaces they are the text, its white space made single."""
    words = text.split()
    pairs = zip_longest(words, words[1:], fillvalue="")
    return _joined_up_to(words, [ends_sentence(word, after) for word, after in pairs])


def split_text(text: str, max_chars: int) -> list[str]:
    """Split into pieces of at most `max_chars`, none empty.

    At sentence ends where that is possible, then at clause marks, then at spaces, then anywhere.
    """
    assert max_chars >= 1, max_chars
    text = " ".join(text.split())
    return _split(text, max_chars, (sentences, _clauses, str.split)) if text else []


def estimate_s(text: str) -> float:
    """Seconds that reading `text` aloud takes, give or take a quarter. Grows with the text."""
    n_chars = 0
    for char in " ".join(text.split()):
        if char.isdigit() or char in _SAID_AS_WORDS:
            n_chars += _CHARS_PER_DIGIT
        elif char.isalnum() or char == " ":
            n_chars += 1
    pauses_s = _SHORT_PAUSE_S * len(_SHORT_PAUSES.findall(text))
    pauses_s += _LONG_PAUSE_S * len(_LONG_PAUSES.findall(text))
    return _FLOOR_S + n_chars / _CHARS_PER_S + pauses_s


def ends_sentence(word: str, after: str) -> bool:
    """Whether a sentence ends with `word`. `after` is what follows: a digit tells "No. 5"."""
    if not _SENTENCE_END.search(word) or _ABBREVIATION.fullmatch(word):
        return False
    return not (_BEFORE_NUMBER.fullmatch(word) and after[:1].isdigit())


def ends_clause(word: str) -> bool:
    return bool(_CLAUSE_END.search(word))


def _clauses(text: str) -> list[str]:
    words = text.split()
    return _joined_up_to(words, map(ends_clause, words))


def _joined_up_to(words: list[str], is_last: Iterable[bool]) -> list[str]:
    parts: list[list[str]] = [[]]
    for word, last in zip(words, is_last, strict=True):
        parts[-1].append(word)
        if last:
            parts.append([])
    return [" ".join(part) for part in parts if part]


def _split(
    text: str, max_chars: int, divisions: tuple[Callable[[str], list[str]], ...]
) -> list[str]:
    if len(text) <= max_chars:
        return [text]
    if not divisions:
        return [text[i : i + max_chars] for i in range(0, len(text), max_chars)]
    divide, *finer = divisions
    pieces: list[str] = []
    for part in divide(text):
        for piece in _split(part, max_chars, tuple(finer)):
            if pieces and len(pieces[-1]) + 1 + len(piece) <= max_chars:
                pieces[-1] += f" {piece}"
            else:
                pieces.append(piece)
    return pieces

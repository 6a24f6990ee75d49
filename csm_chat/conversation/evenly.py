"""Text in pieces of like length, cut where it is heard least.

Sentence ends come first, then clause marks, then the place before a conjunction, then any space.
"""

from __future__ import annotations

import re
from math import ceil

from csm_chat.conversation.tokenizer import ends_clause, ends_sentence, sentences

SHORT = 1 / 3  # of the mean: what is shorter goes with a neighbour
_WINDOW = 0.25  # of a piece: how far from its place a cut may be
_SLACK = 1.1  # more pieces than it takes, that cuts have room to be good ones
_SPACE = re.compile(" ")
_LONGEST_CONJUNCTION = 12  # with a quote before it and a mark behind
_CONJUNCTIONS = re.compile(
    r"\W*(?:and|or|nor|but|yet|so|for|because|although|though|while|when|where|which|who|that|if"
    r"|unless|until|since|as|than|then|after|before|with)\b",
    re.IGNORECASE,
)


def evenly(text: str, max_chars: int) -> list[str]:
    """Pieces of at most `max_chars`, none empty; joined with spaces they are the text.

    White space is made single. A sentence is cut only if it is too long itself, and no piece is
    shorter than a third of the mean, unless words are too long for that.
    """
    assert max_chars >= 1, max_chars
    pieces: list[str] = []
    for sentence in sentences(text):
        for piece in _cut(sentence, max_chars):
            if pieces and len(pieces[-1]) + 1 + len(piece) <= max_chars:
                pieces[-1] += f" {piece}"
            else:
                pieces.append(piece)
    return _without_short_ones(pieces, max_chars)


def best_space(text: str, least: float, most: float, ideal: float) -> int | None:
    """The space, `least` to `most` characters into `text`, at which a cut is heard least.

    Of equally good ones the nearest to `ideal`; None: there is no space in between. `text` has
    single spaces.
    """
    spaces = (found.start() for found in _SPACE.finditer(text, ceil(least), int(most) + 1))
    return max(spaces, key=lambda at: (_goodness(text, at), -abs(at - ideal)), default=None)


def _goodness(text: str, at: int) -> int:
    """Of a cut at a space."""
    last = text[text.rfind(" ", 0, at) + 1 : at]
    after = text[at + 1 :][:_LONGEST_CONJUNCTION]
    if ends_sentence(last, after):
        return 3
    return 2 if ends_clause(last) else 1 if _CONJUNCTIONS.match(after) else 0


def _cut(text: str, max_chars: int) -> list[str]:
    """Halved again and again, so that the pieces are alike."""
    if len(text) <= max_chars:
        return [text]
    n_pieces = max(2, ceil(len(text) / max_chars * _SLACK))
    ideal = len(text) * (n_pieces // 2) / n_pieces
    window = _WINDOW * len(text) / n_pieces
    at = best_space(text, ideal - window, ideal + window, ideal)
    if at is None and n_pieces == 2:
        at = best_space(text, 1, max_chars, ideal)
    at = round(ideal) if at is None else at
    head, rest = text[:at].rstrip(), text[at:].lstrip()
    return [*_cut(head, max_chars), *_cut(rest, max_chars)]


def _without_short_ones(pieces: list[str], max_chars: int) -> list[str]:
    """Each that is too short with its shorter neighbour: as one, or halved where that is too long.

    What is halved is no longer short, so it ends.
    """
    n = 0
    while n < len(pieces) and len(pieces) > 1:
        mean = sum(map(len, pieces)) / len(pieces)
        if len(pieces[n]) >= SHORT * mean:
            n += 1
            continue
        around = [i for i in (n - 1, n + 1) if 0 <= i < len(pieces)]
        first = min(n, min(around, key=lambda i: len(pieces[i])))
        joined = f"{pieces[first]} {pieces[first + 1]}"
        halves = _cut(joined, max_chars)
        is_better = len(halves) == 1 or min(map(len, halves)) > len(pieces[n])
        if not is_better:
            n += 1
            continue
        pieces[first : first + 2] = halves
        n = 0
    return pieces

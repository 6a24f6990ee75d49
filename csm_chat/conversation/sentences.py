"""Text cut into what is said at once: sentences as they arrive, long ones in like pieces.

Sentence ends come first, then clause marks, then the place before a conjunction, then any space.
"""

from __future__ import annotations

import re
from math import ceil

from csm_chat.conversation.tokenizer import ends_clause, ends_sentence, sentences

MIN_CHARS = 20  # more than a second; a take of one short word is often cut or garbled
MAX_CHARS = 250  # some 17 seconds
MOST = 0.75  # of a piece that is too long is parted with
_SPACE_OR_LETTERS = re.compile(r"\s|\S+")
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


class Sentences:
    """Pieces of whole sentences, their white space made single, wherever the chunks are cut.

    A piece comes out as soon as its end is certain. Sentences below `min_chars` go with those that
    follow; a blank line ends a piece in any case. What grows beyond `max_chars` is cut near
    its middle: at a sentence end, else at a clause mark, a conjunction or a space.
    """

    def __init__(self, min_chars: int = MIN_CHARS, max_chars: int = MAX_CHARS) -> None:
        assert 0 < min_chars <= max_chars, (min_chars, max_chars)
        self._min_chars = min_chars
        self._max_chars = max_chars
        self._words: list[str] = []  # of the piece begun
        self._word = ""  # the last one, as long as more of it may come
        self._is_open = False  # whether only the next word tells if a sentence ended
        self._n_newlines = 0  # since the last word

    def feed(self, chunk: str) -> list[str]:
        """The pieces that are complete now."""
        pieces: list[str] = []
        for part in _SPACE_OR_LETTERS.findall(chunk):
            pieces += self._space(part) if part.isspace() else self._letters(part)
        return pieces

    def close(self) -> list[str]:
        """What is left, at the end of the text. What is fed from here on is another text."""
        return [*self._finish_word(), *self._flush()]

    def _letters(self, part: str) -> list[str]:
        pieces = self._begin_word(part[0]) if not self._word else []
        self._word += part
        while len(self._word) > self._max_chars:
            head, self._word = self._word[: self._max_chars], self._word[self._max_chars :]
            pieces += self._add(head)
        return pieces

    def _space(self, char: str) -> list[str]:
        pieces = self._finish_word()
        self._n_newlines += char == "\n"
        return pieces + self._flush() if self._n_newlines > 1 else pieces

    def _begin_word(self, first: str) -> list[str]:
        self._n_newlines = 0
        was_open, self._is_open = self._is_open, False
        return self._end_sentence() if was_open and ends_sentence(self._words[-1], first) else []

    def _finish_word(self) -> list[str]:
        word, self._word = self._word, ""
        return self._add(word) if word else []

    def _add(self, word: str) -> list[str]:
        pieces = []
        while self._words and self._n_chars() + 1 + len(word) > self._max_chars:
            pieces.append(self._cut())
        self._words.append(word)
        if not ends_sentence(word, ""):
            return pieces
        self._is_open = not ends_sentence(word, "1")
        return pieces if self._is_open else pieces + self._end_sentence()

    def _end_sentence(self) -> list[str]:
        return self._flush() if self._n_chars() >= self._min_chars else []

    def _flush(self) -> list[str]:
        self._is_open = False
        words, self._words = self._words, []
        return [" ".join(words)] if words else []

    def _cut(self) -> str:
        n_words = _n_words_to_part_with(self._words)
        piece, self._words = self._words[:n_words], self._words[n_words:]
        return " ".join(piece)

    def _n_chars(self) -> int:
        return sum(map(len, self._words)) + len(self._words) - 1


def _n_words_to_part_with(words: list[str]) -> int:
    """As many as leave some behind: a sentence's last word is not to stand alone."""
    text = " ".join(words)
    most = len(text) * MOST
    at = best_space(text, len(text) * SHORT, most, most)
    return len(words) if at is None else text[:at].count(" ") + 1

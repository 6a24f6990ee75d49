"""Sentences of a text that arrives in chunks."""

from __future__ import annotations

import re

from csm_chat.conversation.evenly import SHORT, best_space
from csm_chat.conversation.tokenizer import ends_sentence

MIN_CHARS = 20  # more than a second; a take of one short word is often cut or garbled
MAX_CHARS = 250  # some 17 seconds
MOST = 0.75  # of a piece that is too long is parted with
_SPACE_OR_LETTERS = re.compile(r"\s|\S+")


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

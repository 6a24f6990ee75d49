"""Words that may be heard, and how often: what turns letters heard into words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

BEAM = 80
LEAST = -7.0  # log-probability of letters that are looked at
COMMONNESS = 0.5  # exponent of words' frequencies
UNKNOWN_WORD, UNKNOWN_LETTER = -7.0, -1.0  # nats, for spelling what is no known word
WORD_BONUS = 1.0  # nats: fewer, longer words would win otherwise


@dataclass(slots=True, eq=False)
class _Node:
    """The beginnings of words that are alike."""

    next: dict[int, _Node] = field(default_factory=dict)  # by class of letter
    cost: float | None = None  # nats, where a word ends
    ahead: float = -math.inf  # the likeliest word's that begins so, which its letters pay

    @property
    def owed(self) -> float:
        """What is left to pay where a word ends."""
        return (self.cost or 0.0) - self.ahead


_UNKNOWN = _Node(cost=0.0, ahead=0.0)  # within a word that is in no lexicon: any letter may follow


@dataclass(slots=True, eq=False)
class _Path:
    """Letters read so far, in nats: those after which a blank was seen, and those it was not."""

    node: _Node
    letters: tuple[int, ...]
    cost: float  # of its words
    blank: float = -math.inf
    letter: float = -math.inf

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.blank, self.letter)) + self.cost


class Lexicon:
    """Finds the likeliest words of CTC's log-probabilities, each word by itself.

    A beam search over the beginnings of words (Graves and Jaitly, 2014, algorithm 1), which count
    as the likeliest words they may become.
    """

    def __init__(self, counts: Mapping[str, int], letters: str) -> None:
        """`letters` names the classes 1 and up; the space is one of them."""
        self.counts = dict(counts)
        self._letters = letters
        self._space = letters.index(" ") + 1
        total = sum(counts.values())
        self._root = _Node(ahead=0.0)
        for word, count in counts.items():
            cost = COMMONNESS * math.log(count / total) + WORD_BONUS
            node = self._root
            for letter in word:
                node = node.next.setdefault(letters.index(letter) + 1, _Node())
                node.ahead = max(node.ahead, cost)
            node.cost = cost

    def words(self, log_probs: npt.NDArray[np.floating[Any]]) -> str:
        """Of log-probabilities (steps, 1 + letters), class 0 the blank."""
        beam = [_Path(self._root, (), 0.0, blank=0.0)]
        for step in log_probs:
            likely = np.flatnonzero(step[1:] > LEAST) + 1
            beam = self._after(beam, step, [int(each) for each in likely])
        ends = [path for path in beam if self._may_end(path.node)]
        best = max(ends or beam, key=lambda path: path.total + path.node.owed)
        return "".join(self._letters[each - 1] for each in best.letters).strip()

    def _may_end(self, node: _Node) -> bool:
        return node is self._root or node.cost is not None

    def _after(self, beam: list[_Path], step: Any, likely: list[int]) -> list[_Path]:
        found: dict[tuple[int, ...], _Path] = {}
        for path in beam:
            both = float(np.logaddexp(path.blank, path.letter))
            same = self._reached(found, path.letters, path.node, path.cost)
            same.blank = float(np.logaddexp(same.blank, both + step[0]))
            last = path.letters[-1] if path.letters else 0
            if last:
                same.letter = float(np.logaddexp(same.letter, path.letter + step[last]))
            for letter in likely:
                before = path.blank if letter == last else both
                for node, cost in self._read(path.node, letter):
                    new = self._reached(found, (*path.letters, letter), node, path.cost + cost)
                    new.letter = float(np.logaddexp(new.letter, before + step[letter]))
        return sorted(found.values(), key=lambda path: path.total, reverse=True)[:BEAM]

    def _reached(
        self,
        found: dict[tuple[int, ...], _Path],
        letters: tuple[int, ...],
        node: _Node,
        cost: float,
    ) -> _Path:
        key = (*letters, -1) if node is _UNKNOWN else letters
        if key not in found:
            found[key] = _Path(node, letters, cost)
        return found[key]

    def _read(self, node: _Node, letter: int) -> list[tuple[_Node, float]]:
        """Where a letter leads, and at what cost."""
        if letter == self._space:
            if node is self._root or node.cost is None:
                return []
            return [(self._root, node.owed)]
        reached: list[tuple[_Node, float]] = []
        if letter in node.next:
            reached.append((node.next[letter], node.next[letter].ahead - node.ahead))
        if node is self._root:
            reached.append((_UNKNOWN, UNKNOWN_WORD + UNKNOWN_LETTER))
        elif node is _UNKNOWN:
            reached.append((_UNKNOWN, UNKNOWN_LETTER))
        return reached


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often words occur in texts of letters, apostrophes and spaces."""
    return Counter(word for text in texts for word in text.split())

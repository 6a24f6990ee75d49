"""What the model reads of a text, and the pieces it reads it in."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING

from csm_chat import notices
from csm_chat.conversation.sentences import evenly
from csm_chat.conversation.tokenizer import estimate_s
from csm_chat.errors import EntryError
from csm_chat.normalise import normalise, says_nothing
from csm_chat.normalise.lexicon import EMPTY, Lexicon

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from csm_chat.notices import Listener
    from csm_chat.types import Tokenizer

# An utterance is split when its estimate comes this close to the limit: it is off by a quarter.
SPLIT_MARGIN = 1.3
# texts kept, of voices, history and what is said: a context holds fewer
_N_REMEMBERED = 256
_MARKS = tuple(map(chr, range(0x3400, 0x3500)))  # letters that next to nobody types
_N_FOREIGN = 2  # letters: a single one may be a sign, as in a formula
# beginnings of the names that Unicode gives to letters
_SPOKEN = ("LATIN", "FULLWIDTH", "MODIFIER", "FEMININE", "MASCULINE", "MICRO", "MATHEMATICAL")
_SCRIPTS = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
_OPEN_END = re.compile(r"([^\W_]['\")\]]*),?\s*$")


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How texts become what the model reads; called with one."""

    normalize: bool = True  # numbers and signs to words, and a full stop where nothing closes it
    lexicon: Lexicon = EMPTY  # applied before, in either case
    directions: str = "drop"  # what becomes of "*laughs*" before that: drop, keep or speak

    def __call__(self, text: str) -> str:
        """A text in which nothing can be read stays as it is: the model must be given something."""
        return _read(self, text)

    def also(self, own: Lexicon) -> Reading:
        """With the words of one speaker, which come first."""
        return replace(self, lexicon=own.over(self.lexicon)) if own.entries else self

    def says_nothing(self, text: str) -> bool:
        """Whether no word is left of a text: a model makes a sigh of it, or noise."""
        return says_nothing(_worded(self, text))

    def refuse_silence(self, text: str) -> None:
        """Raise EntryError for a text without a word."""
        if self.says_nothing(text):
            why = "stage directions are not read (directions: keep or speak)"
            why = why if self.dropped(text) else "no word is in it"
            raise EntryError(f'There is nothing to say in "{text}": {why}.')

    def dropped(self, text: str) -> str | None:
        """The first stage direction that is not read, None if there is none."""
        if self.directions != "drop":
            return None
        # here, because its patterns take 0.04 s to compile, as the prompt comes up
        from csm_chat.normalise.directions import find_directions

        found = next(find_directions(text), None)
        return found[0] if found else None

    def _of_words(self, text: str) -> str:
        if self.directions == "keep":
            return _with_directions(text, self._said) or text
        return self._said(text) or text

    def _said(self, text: str) -> str:
        worded = _worded(self, text)
        return closed(normalise(worded)) if self.normalize else worded


def _with_directions(text: str, read: Callable[[str], str]) -> str:
    """`text` as `read`, but for its stage directions, which stay as they were typed."""
    from csm_chat.normalise.directions import find_directions

    found = list(find_directions(text))
    if not found:
        return read(text)
    ends = [0, *(match.end() for match in found)]
    starts = [*(match.start() for match in found), len(text)]
    # a letter that is read as it stands, in place of each
    mark = next((char for char in _MARKS if char not in text), _MARKS[0])
    marked = mark.join(text[end:start] for end, start in zip(ends, starts, strict=True))
    pieces = zip_longest(read(marked).split(mark), (m[0] for m in found), fillvalue="")
    return "".join(map("".join, pieces))


@lru_cache(_N_REMEMBERED)
def _read(reading: Reading, text: str) -> str:
    return reading._of_words(text)


@lru_cache(_N_REMEMBERED)
def _worded(reading: Reading, text: str) -> str:
    """The text in the words that are to be said, as they would be typed."""
    from csm_chat.normalise.directions import without_directions

    text = without_directions(text) if reading.directions == "drop" else text
    return reading.lexicon.read(text)


def foreign_script(text: str) -> str | None:
    """The script of letters that no model here has learnt to speak, by its name; else None."""
    found = Counter(_script(char) for char in text if char.isalpha() and not char.isascii())
    found.pop(None, None)
    script, n_letters = max(found.items(), key=lambda item: item[1], default=(None, 0))
    return script if n_letters >= _N_FOREIGN else None


def _script(letter: str) -> str | None:
    first = unicodedata.name(letter, "LATIN").split()[0].split("-")[0]
    return None if first in _SPOKEN else _SCRIPTS.get(first, first.capitalize())


def closed(text: str) -> str:
    """A text that ends in a letter, a digit or a comma, with a full stop."""
    return _OPEN_END.sub(r"\1.", text)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A text in somebody's mouth, and what is worked out of it."""

    read: str  # what the model reads
    ids: npt.NDArray[np.int32]  # (n,), a row each
    expected_s: float  # that saying it takes, give or take a quarter


class Lines:
    """Lines by text and speaker, each worked out once: for what is said, history and references.

    It is the tokenizer that prompts are built with.
    """

    def __init__(
        self, tokenizer: Tokenizer, read: Reading, own: Callable[[int], Lexicon] = lambda _: EMPTY
    ) -> None:
        """`own`: what a speaker says in another way than all others."""
        self.read = read
        self._tokenizer = tokenizer
        self._own = own
        self._readings = lru_cache(_N_REMEMBERED)(self._reading_with)
        self._known = lru_cache(_N_REMEMBERED)(self._worked_out)

    def line(self, text: str, speaker: int) -> Line:
        return self._known(text, speaker)

    def read_by(self, speaker: int) -> Reading:
        """How a text in that mouth is read."""
        return self._readings(self._own(speaker))

    def encode(self, text: str, speaker: int) -> npt.NDArray[np.int32]:
        """See `Tokenizer.encode`."""
        return self._known(text, speaker).ids

    def _reading_with(self, own: Lexicon) -> Reading:
        return self.read.also(own)

    def _worked_out(self, text: str, speaker: int) -> Line:
        read = self.read_by(speaker)(text)
        return Line(read, self._tokenizer.encode(read, speaker), estimate_s(read))


def pieces(text: str, max_turn_s: float, read: Reading) -> list[str]:
    """`text` as it was typed, in pieces that each fit a turn; cut at sentence ends, else evenly.

    What of it has no word, as a row of stars, is left out where there are others.
    """
    limit_s = max_turn_s / SPLIT_MARGIN
    expected_s = estimate_s(read(text))
    if expected_s <= limit_s:
        return [text]
    fitting = _fitting(text, max(1, int(len(text) * limit_s / expected_s)), limit_s, read)
    return [piece for piece in fitting if not read.says_nothing(piece)] or [text]


def _fitting(text: str, max_chars: int, limit_s: float, read: Reading) -> list[str]:
    """Split until every piece is expected to last `limit_s` at most, or is a single character."""
    fitting = []
    for piece in evenly(text, max_chars):
        if estimate_s(read(piece)) <= limit_s or max_chars == 1:
            fitting.append(piece)
        else:
            fitting += _fitting(piece, max(1, max_chars // 2), limit_s, read)
    return fitting


class Remarks:
    """What is told of texts that are not spoken as typed: each kind once."""

    def __init__(self, tell: Listener) -> None:
        self._tell = tell
        self._is_script_told = self._is_drop_told = False

    def on_said(self, text: str, reading: Reading) -> None:
        self.on_dropped(text, reading)
        script = None if self._is_script_told else foreign_script(text)
        if script:
            self._is_script_told = True
            self._tell(notices.ForeignScript(script))

    def on_left_out(self, text: str, reading: Reading) -> None:
        self.on_dropped(text, reading)
        self._tell(notices.NothingToSay(text))

    def on_dropped(self, text: str, reading: Reading) -> None:
        direction = None if self._is_drop_told else reading.dropped(text)
        if direction:
            self._is_drop_told = True
            self._tell(notices.DirectionDropped(direction))

"""How many words of a line were heard otherwise, whatever they are spelt like. Knows no audio."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from csm_chat.normalise import normalise

# Spellings that are one word to the ear; both sides are folded, so that which side is kept and what
# else falls together ("sense", "sence") does not matter.
ONE_SPELLING = (
    (r"(?<=[a-z]{2})our", "or"),  # colour, favourite
    (r"(?<=[a-z])([iy])z(?=[aei])", r"\1s"),  # realize, organization, analyze
    (r"(?<=[a-z][bt])re(s?)\b", r"er\1"),  # centre, fibre
    (r"ogue(s?)\b", r"og\1"),  # catalogue
    (r"(?<=[a-z]{2}[ei])[cs]e(s|d)?\b", r"ce\1"),  # practise
    (r"(?<=en)[cs]e(s|d)?\b", r"ce\1"),  # defence, license
    (r"ae(?=[a-z])", "e"),  # anaesthetic
    (r"ll", "l"),  # travelled, fulfil
)
PATTERNS = tuple((re.compile(pattern), to) for pattern, to in ONE_SPELLING)
ONE_WORD = {
    "aeroplane": "airplane", "aluminium": "aluminum", "cheque": "check", "cosy": "cozy",
    "doughnut": "donut", "doughnuts": "donuts", "grey": "gray", "jewellery": "jewelry",
    "kerb": "curb", "mould": "mold", "moustache": "mustache", "mum": "mom", "ok": "okay",
    "plough": "plow", "programme": "program", "pyjamas": "pajamas", "sceptical": "skeptical",
    "storey": "story", "tyre": "tire", "tyres": "tires", "yeah": "yes", "alright": "all right",
    "axe": "ax", "mr": "mister", "mrs": "missus", "dr": "doctor", "ms": "miz",
}  # fmt: skip
TIME = re.compile(r"\b(\d{1,2})(\d\d)\b")  # 645, said as 6:45

_CONTRACTED = tuple(
    (re.compile(pattern), to)
    for pattern, to in (
        (r"\bwon't\b", "will not"),
        (r"\bcan(?:'t|not)\b", "can not"),
        (r"\bshan't\b", "shall not"),
        (r"n't\b", " not"),
        (r"\blet's\b", "let us"),
        (r"(?<=\bi)'m\b", " am"),
        (r"'re\b", " are"),
        (r"'ve\b", " have"),
        (r"'ll\b", " will"),
        (r"(?<=\bit|\bhe)'s\b|(?<=\bshe|\bwho|\bhow)'s\b", " is"),
        (r"(?<=\bthat|\bwhat|\bhere)'s\b|(?<=\bthere|\bwhere)'s\b", " is"),
        (r"\bgonna\b", "going to"),
        (r"\bwanna\b", "want to"),
        (r"\bgotta\b", "got to"),
    )
)
# No ear tells these apart, and a recogniser chooses by what is said beside them.
_ALIKE = (
    *(
        "to too two",
        "for four fore",
        "there their theyare",
        "here hear",
        "no know",
        "right write rite",
    ),
    *("by buy bye", "sea see", "our hour", "one won", "be bee", "would wood", "where wear ware"),
    *("meet meat", "week weak", "son sun", "whole hole", "new knew", "through threw", "way weigh"),
    *("wait weight", "piece peace", "night knight", "mail male", "tail tale", "sail sale"),
    *("blue blew", "flower flour", "i eye aye", "so sew", "which witch", "weather whether"),
    *("break brake", "fair fare", "hair hare", "pair pear pare", "stair stare", "bear bare"),
    *("ate eight", "oh o", "its itis", "your youare", "whose whois", "red read", "led lead"),
    *(
        "passed past",
        "road rode",
        "seen scene",
        "some sum",
        "steal steel",
        "tied tide",
        "vain vein",
    ),
    *("anne ann", "sarah sara", "john jon", "stephen steven", "catherine katherine", "brian bryan"),
)
_SOUND = {word: group.split()[0] for group in _ALIKE for word in group.split()}
_NUMBER = "hundred|thousand|million|billion"
_NO_LETTER = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Compared:
    """A line as it was to be said, beside what was heard."""

    n_wrong: int  # words changed, left out or added
    n_words: int  # that were to be said
    starts: bool  # the first of them is where it belongs
    ends: bool  # and the last


def compared(said: str, heard: str) -> Compared:
    """Compare two lines, folded; the kinder of two readings of numbers that may be times."""
    want = folded(said)
    readings = {folded(heard), folded(TIME.sub(r"\1:\2", heard))}
    return min((_compared(want, got) for got in sorted(readings)), key=lambda found: found.n_wrong)


def folded(text: str) -> str:
    """The words of a line: lower-case, numbers in words, of one spelling, contractions in full."""
    plain = normalise(text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    for pattern, to in _CONTRACTED:
        plain = pattern.sub(to, plain)
    plain = _NO_LETTER.sub(" ", plain.replace("'", ""))
    plain = re.sub(rf"\b({_NUMBER}) and\b", r"\1", plain)
    plain = re.sub(rf"\ba ({_NUMBER})\b", r"one \1", plain)
    return " ".join(map(in_one_spelling, plain.split()))


def in_one_spelling(word: str) -> str:
    """One of the spellings of a word in small letters."""
    word = ONE_WORD.get(word, word)
    for pattern, to in PATTERNS:
        word = pattern.sub(to, word)
    return word


def _compared(said: str, heard: str) -> Compared:
    want, got = said.split(), heard.split()
    if not want:
        return Compared(len(got), 0, starts=True, ends=True)
    starts = any(_fits(want, got[:n]) for n in (1, 2))
    ends = any(_fits(want[::-1], [*reversed(got[-n:])], backwards=True) for n in (1, 2))
    return Compared(_n_wrong(want, got), len(want), starts, ends)


def _fits(want: Sequence[str], got: Sequence[str], *, backwards: bool = False) -> bool:
    """Whether the first word, or the first two as one, is among those heard there."""
    joined = "".join(reversed(want[:2]) if backwards else want[:2])
    here = {*map(_sound, got), _sound("".join(reversed(got) if backwards else got))}
    return _sound(want[0]) in here or _sound(joined) in here


def _sound(word: str) -> str:
    return _SOUND.get(word, word)


def _n_wrong(want: Sequence[str], got: Sequence[str]) -> int:
    """The least number of words to change, add or take away; two may be one ("every one")."""
    rows: list[list[int]] = [[*range(len(got) + 1)]]
    for i, word in enumerate(want, 1):
        row = [i]
        for j, other in enumerate(got, 1):
            ways = [
                rows[i - 1][j] + 1,
                row[j - 1] + 1,
                rows[i - 1][j - 1] + (_sound(word) != _sound(other)),
            ]
            if i > 1 and _sound(want[i - 2] + word) == _sound(other):
                ways.append(rows[i - 2][j - 1])
            if j > 1 and _sound(word) == _sound(got[j - 2] + other):
                ways.append(rows[i - 1][j - 2])
            row.append(min(ways))
        rows.append(row)
    return rows[-1][-1]


def edits(want: Sequence[str], got: Sequence[str]) -> int:
    """The least number of items to change, add or take away."""
    row = list(range(len(got) + 1))
    for i, one in enumerate(want, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            changed = before + (one != other)
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, changed)
    return row[-1]

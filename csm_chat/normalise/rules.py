"""Rules of reading: a pattern, what it is read as, and pieces that patterns are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

Say = Callable[[re.Match[str]], str]
Rule = tuple[re.Pattern[str], Say]

# Pieces of patterns that several tables of rules are made with.
CAPITAL = "['\"]?(?-i:[A-Z\u00c0-\u00de])"
_ENDS_HERE = rf"\s+{CAPITAL}|['\"\s]*$"
# The point of an abbreviation goes; one that ends a sentence as well ends it still.
POINT = rf"(?:\.(?!{_ENDS_HERE})|(?=\.))"
POINT_OR_NONE = rf"(?:\.(?!{_ENDS_HERE})|(?=\.)|\b)"
# Words that begin a sentence, and are no part of a name.
OPENER = (
    "(?:The|A|An|I|You|He|She|It|We|They|This|That|There|Then|And|But|So|Or|In|On|At|If|When|What|"
    r"Why|Who|How|Where|My|Our|Your|His|Her|Its|Their|Is|Are|Was|Do|Did|No|Yes|Not|After|For)\b"
)
# "1,234.5", ".5"; and one number or a range of two
START = r"(?<![0-9])(?<![0-9][.,])"
NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|(?<!\w)\.[0-9]+)"
AMOUNT = rf"{START}({NUMBER})(?:\s?[-\u2013]\s?({NUMBER}))?"
_NO_NOUN = "per|and|or|to|for|in|on|of|at|from|more|less|than|is|was|but|if|when|with|by"


def rule(pattern: str, read: Say | str, flags: int = 0) -> Rule:
    """`read` is a template, as of `re.sub`, or a function of the match."""
    return re.compile(pattern, flags), _template(read) if isinstance(read, str) else read


def _template(text: str) -> Say:
    return lambda match: match.expand(text)


def apply(rules: tuple[Rule, ...], text: str) -> str:
    """Each rule on all of the text, in order. Words never grow together with their neighbours."""
    for pattern, say in rules:
        text = pattern.sub(_apart(say), text)
    return text


def before(match: re.Match[str]) -> str:
    """The character in front of a match; none at the start of the text."""
    return match.string[max(0, match.start() - 1) : match.start()]


def after(match: re.Match[str]) -> str:
    return match.string[match.end() : match.end() + 1]


def is_before_noun(match: re.Match[str]) -> bool:
    """As in "a 5 km walk", "a 10 kg-bag"."""
    text, start, end = match.string, match.start(), match.end()
    is_one = re.search(r"\ban? $", text[max(0, start - 4) : start], re.IGNORECASE)
    is_noun = re.match(rf" (?!(?:{_NO_NOUN})\b)[a-z]{{3}}", text[end : end + 8])
    return after(match) == "-" or bool(is_one and is_noun)


def either(words: Iterable[str]) -> str:
    """A pattern for any of the words, the longest first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


def from_table(words: Mapping[str, str]) -> Say:
    """The entry of the first group, with a capital where the group has one."""

    def said(match: re.Match[str]) -> str:
        word = words[match[1].lower()]
        return word[0].upper() + word[1:] if match[1][0].isupper() else word

    return said


# Where case is ignored they match an i, and no table has them.
_TURKISH_I = re.compile("[\u0130\u0131]")


def _apart(say: Say) -> Say:
    def said(match: re.Match[str]) -> str:
        if _TURKISH_I.search(match[0]):
            return match[0]
        words = say(match)
        left = " " if before(match).isalnum() and words[:1].isalnum() else ""
        right = " " if after(match).isalnum() and words[-1:].isalnum() else ""
        return f"{left}{words}{right}"

    return said

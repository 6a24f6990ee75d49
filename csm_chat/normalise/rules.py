"""Rules of reading: a pattern and what it is read as. Knows neither words nor numbers."""

from __future__ import annotations

import re
from collections.abc import Callable

Say = Callable[[re.Match[str]], str]
Rule = tuple[re.Pattern[str], Say]


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


def _apart(say: Say) -> Say:
    def said(match: re.Match[str]) -> str:
        words = say(match)
        left = " " if before(match).isalnum() and words[:1].isalnum() else ""
        right = " " if after(match).isalnum() and words[-1:].isalnum() else ""
        return f"{left}{words}{right}"

    return said

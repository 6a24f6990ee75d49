"""Forms of English words: plurals, verb forms, degrees."""

from __future__ import annotations

import re

DOUBLED = re.compile(r"(?:[^aeiou]|^)(?:qu)?[aeiou][bdgklmnprtvz]")
PLURAL_OR_COMPARATIVE = {"s": 1, "er": 1, "est": 2}
PARTICIPLES = {"ed": 1, "en": 2, "ing": 3}


def inflected(entry: str, form: str) -> str:
    """A form of a word of a words file, by its listed irregular forms or by rule.

    Two forms after a noun's or adjective's "/": plural, or -er and -est; after a verb's: past,
    participle, -ing.
    """
    word, *irregular = entry.replace("_", " ").split("/")
    doubles = word.endswith("+")
    word = word.rstrip("+")
    if not form:
        return word
    if form in PARTICIPLES:
        place = PARTICIPLES[form]
        if form == "en" and len(irregular) == 1:
            place = 1
        return irregular[place - 1] if len(irregular) >= place else _verb(word, form, doubles)
    if form == "vs":
        head, space, rest = word.partition(" ")
        return _with_s(head, "es" if head.endswith("o") else "s") + space + rest
    place = PLURAL_OR_COMPARATIVE[form]
    if len(irregular) >= place:
        return irregular[place - 1]
    return _with_s(word, "s") if form == "s" else _compared(word, form)


def _with_s(word: str, ending: str) -> str:
    if re.search(r"(s|x|z|sh|ch)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ending


def _verb(word: str, form: str, doubles: bool) -> str:
    """By rule: -ing, and -ed for past and participle. A particle stays behind the verb."""
    head, space, rest = word.partition(" ")
    ending = "ing" if form == "ing" else "ed"
    if head.endswith("e") and not (ending == "ing" and re.search(r"(ee|oe|ye)$", head)):
        head = head[:-1]
    elif ending == "ed" and re.search(r"[^aeiou]y$", head):
        head = head[:-1] + "i"
    elif doubles or (DOUBLED.fullmatch(head[-3:]) and len(re.findall("[aeiou]+", head)) == 1):
        head += head[-1]
    elif head.endswith("c"):
        head += "k"
    return head + ending + space + rest


def _compared(word: str, form: str) -> str:
    short = len(re.findall("[aeiouy]+", word.rstrip("e"))) == 1
    if not short and not re.search(r"^[a-z]+[^aeiou]y$", word):
        return f"{'more' if form == 'er' else 'most'} {word}"
    if word.endswith("y") and not re.search(r"[aeiou]y$", word):
        return word[:-1] + "i" + form
    if word.endswith("e"):
        return word[:-1] + form
    return word + (word[-1] if DOUBLED.fullmatch(word[-3:]) else "") + form

"""What a setting is: its type, its limits and how text becomes its value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import SequenceMatcher
from types import NoneType, UnionType
from typing import Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from csm_chat.errors import ConfigError

T = TypeVar("T")
Value: TypeAlias = str | int | float | bool | None

TRUE_WORDS = ("true", "yes", "on")
FALSE_WORDS = ("false", "no", "off")
NULL_WORDS = ("", "null", "none", "~")

KIND_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a section",
}


def option(
    default: T,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    null: str = "null",
    live: bool = False,
) -> T:
    """A dataclass field that says what its text may be. `null` is one more word for None.

    A `live` one may change while the program runs; the others are read at its start.
    """
    limits = {"low": low, "high": high, "choices": choices, "null": null, "live": live}
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, slots=True)
class Key:
    name: str  # dotted: "sampling.top_k"
    kind: type  # a key of KIND_WORDS
    optional: bool  # takes None
    default: object
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    null: str = "null"
    live: bool = False  # may change while the program runs

    @property
    def tail(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def type_words(self) -> str:
        return KIND_WORDS[self.kind] + (f" or {self.null}" if self.optional else "")

    @property
    def limits(self) -> str:
        """`0.0 - 2.0`, `0 or more`, `cpu, cuda`; empty where all goes."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None:
            return ""
        return f"{self.low} or more" if self.high is None else f"{self.low} - {self.high}"

    @property
    def default_words(self) -> str:
        if self.default is None:
            return self.null
        return str(self.default).lower() if self.kind is bool else str(self.default)

    def read(self, text: str) -> Value:
        """The value `text` stands for. Raises ConfigError with the key, the text and what fits."""
        text = text.strip()
        if self.optional and text.lower() in (*NULL_WORDS, self.null):
            return None
        if not text:
            raise ConfigError(f"{self.name}: needs a value {self._hint()}")
        if self.kind is bool:
            return self._truth(text)
        return self._word(text) if self.kind is str else self._number(text)

    def refuse(self, what: str) -> ConfigError:
        """The error for something that cannot be this key's value, `what` in words."""
        return ConfigError(f"{self.name}: {what} is not {self.type_words} {self._hint()}".rstrip())

    def _hint(self) -> str:
        return f"({', '.join(filter(None, (self.limits, f'default {self.default_words}')))})"

    def _truth(self, text: str) -> bool:
        if text.lower() not in TRUE_WORDS + FALSE_WORDS:
            raise self.refuse(shown(text))
        return text.lower() in TRUE_WORDS

    def _word(self, text: str) -> str:
        if not text.isprintable():
            raise ConfigError(f"{self.name}: {shown(text)} has characters that cannot be printed")
        if not self.choices:
            return text
        if text.lower() in self.choices:
            return text.lower()
        guess = nearest(text, self.choices)
        raise ConfigError(
            f"{self.name}: {shown(text)} is not one of {self.limits}"
            f" (default {self.default_words})." + (f" Did you mean {guess}?" if guess else "")
        )

    def _number(self, text: str) -> float:
        try:
            number: float = self.kind(text)
        except ValueError as error:
            raise self.refuse(shown(text)) from error
        if self.kind is float and not math.isfinite(number):
            raise self.refuse(shown(text))
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if not low <= number <= high:
            raise ConfigError(f"{self.name}: {_cut(text)} is out of range {self._hint()}")
        return number


def describe(settings: Any, prefix: str = "") -> Iterator[Key]:
    """The keys of a dataclass made of `option` fields and of further such dataclasses."""
    hints = get_type_hints(settings)
    for each in fields(settings):
        hint = hints[each.name]
        if is_dataclass(hint):
            yield from describe(hint, f"{prefix}{each.name}.")
            continue
        kinds = get_args(hint) if get_origin(hint) is UnionType else (get_origin(hint) or hint,)
        assert kinds[0] in KIND_WORDS and set(kinds[1:]) <= {NoneType}, hint
        default: Any = each.default
        if each.default_factory is not MISSING:
            default = each.default_factory()
        yield Key(prefix + each.name, kinds[0], NoneType in kinds, default, **each.metadata)


def nearest(wrong: str, names: Iterable[str]) -> str | None:
    """The name most like `wrong`: first by the part after the last dot, then as a whole."""
    wrong = wrong[:80].lower()

    def likeness(name: str) -> tuple[float, float]:
        tails = wrong.rpartition(".")[2], name.rpartition(".")[2]
        return SequenceMatcher(None, *tails).ratio(), SequenceMatcher(None, wrong, name).ratio()

    best = max(names, key=likeness, default=None)
    return best if best is not None and likeness(best)[0] >= 0.6 else None


def shown(text: str) -> str:
    """Text in quotes, on one line, printable anywhere and not too long."""
    text = _cut(text)
    return f'"{text}"' if text.isprintable() else json.dumps(text)


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."

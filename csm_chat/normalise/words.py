"""Abbreviations, addresses, Roman numerals and symbols as words. Knows no number."""

from __future__ import annotations

import re

from csm_chat.normalise.numbers import cardinal, ordinal
from csm_chat.normalise.rules import Say, rule

# Addresses

_TOP_LEVEL = "com|org|net|edu|gov|io|ai|dev|app|co|uk|us|de|fr|eu|info|me|tv|fm|ly|gg|xyz"
_HOST = r"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"
_URL = (
    r"(?:\b[a-z][a-z0-9+.-]{1,9}://(?:www\.)?|\bwww\.)([A-Za-z0-9.-]*[A-Za-z0-9])(:\d+)?"
    r"([/?#][^\s<>\"]*)?"
)
_BARE = rf"(?<![\w@.-])((?:[A-Za-z0-9-]{{2,}}\.)+(?:{_TOP_LEVEL}))(?![\w@-])(:\d+)?(/[^\s<>\"]*)?"
_IN_ADDRESSES = {
    ".": " dot ", "/": " slash ", "-": " dash ", "_": " underscore ", "@": " at ", "~": " tilde ",
    "+": " plus ", ":": " colon ", "=": " equals ", "&": " and ", "%": " percent ",
}  # fmt: skip
_LONGEST_PATH = 60  # characters; beyond, nobody listens


def _spelled(address: str) -> str:
    return " ".join("".join(_IN_ADDRESSES.get(char, char) for char in address).split())


def _url(match: re.Match[str]) -> str:
    host, port, path = match[1], match[2] or "", match[3] or ""
    kept = re.split("[?#]", path)[0].rstrip("/.,!?;:)]}'*_")
    end = path[len(path.rstrip(".,!?;:)]}'*_")) :] and path[-1]
    said = host + port + (kept if len(kept) <= _LONGEST_PATH else "")
    return _spelled(said) + (end if end in ".,!?;:)" else "")


ADDRESSES = (
    rule(rf"(?<![\w.+-])(?:mailto:)?([\w+-]+(?:\.[\w+-]+)*@{_HOST})", lambda m: _spelled(m[1])),
    rule(_URL, _url),
    rule(_BARE, _url, re.IGNORECASE),
)

# Abbreviations. Before a name, before a number, and anywhere.

_TITLES = {
    "mr": "Mister", "mrs": "Missus", "ms": "Miz", "dr": "Doctor", "prof": "Professor",
    "st": "Saint", "mt": "Mount", "ft": "Fort", "rev": "Reverend", "hon": "Honorable",
    "gen": "General", "col": "Colonel", "maj": "Major", "capt": "Captain", "cpt": "Captain",
    "lt": "Lieutenant", "sgt": "Sergeant", "cpl": "Corporal", "sen": "Senator", "gov": "Governor",
    "rep": "Representative", "pres": "President", "supt": "Superintendent",
}  # fmt: skip
_STREETS = {"st": "Street", "dr": "Drive"}
_AFTER_NAME = {
    "ave": "Avenue", "blvd": "Boulevard", "rd": "Road", "ln": "Lane",
    "hwy": "Highway", "jr": "Junior", "sr": "Senior", "inc": "Incorporated", "ltd": "Limited",
    "co": "Company", "corp": "Corporation", "bros": "Brothers",
}  # fmt: skip
_BEFORE_NUMBER = {
    "no": "number", "nos": "numbers", "nr": "number", "p": "page", "pp": "pages", "vol": "volume",
    "vols": "volumes", "ch": "chapter", "chap": "chapter", "fig": "figure", "figs": "figures",
    "sec": "section", "eq": "equation", "ca": "circa", "c": "circa", "approx": "approximately",
    "ext": "extension", "v": "version", "ver": "version", "tel": "telephone", "rm": "room",
    "apt": "apartment", "ep": "episode",
}  # fmt: skip
_MONTHS = {
    "jan": "January", "feb": "February", "mar": "March", "apr": "April", "jun": "June",
    "jul": "July", "aug": "August", "sept": "September", "sep": "September", "oct": "October",
    "nov": "November", "dec": "December",
}  # fmt: skip
_DAYS = {
    "mon": "Monday", "tue": "Tuesday", "tues": "Tuesday", "wed": "Wednesday", "thu": "Thursday",
    "thur": "Thursday", "thurs": "Thursday", "fri": "Friday", "sat": "Saturday", "sun": "Sunday",
}  # fmt: skip
_INSIDE = {  # a sentence, and never at its end
    "e.g": "for example", "eg": "for example", "i.e": "that is", "ie": "that is", "vs": "versus",
    "approx": "approximately", "est": "established", "viz": "namely", "cf": "compare",
    "incl": "including",
}  # fmt: skip
_ANYWHERE = {
    "etc": "et cetera", "et al": "and others", "dept": "department", "govt": "government",
    "misc": "miscellaneous", "resp": "respectively", "encl": "enclosed", "assn": "association",
    "tbsp": "tablespoons", "tsp": "teaspoons", "n.b": "note well", "p.s": "PS",
    "a.k.a": "also known as", "w.r.t": "with respect to",
}  # fmt: skip
_WITHOUT_POINT = {
    "vs": "versus", "etc": "et cetera", "w/o": "without", "w/": "with ", "b/c": "because",
    "approx": "approximately", "aka": "also known as", "and/or": "and or", "n/a": "not applicable",
    "he/she": "he or she", "she/he": "she or he", "him/her": "him or her", "his/her": "his or her",
    "s/he": "she or he", "yes/no": "yes or no", "c/o": "care of", "24/7": "twenty-four seven",
    "24-7": "twenty-four seven",
    "9/11": "nine eleven",
    "20/20": "twenty twenty", "50/50": "fifty fifty", "007": "double oh seven",
}  # fmt: skip


def _either(words: dict[str, str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


def _cased(match: re.Match[str], said: str) -> str:
    return said[0].upper() + said[1:] if match[1][0].isupper() else said


def _from(words: dict[str, str]) -> Say:
    return lambda match: _cased(match, words[match[1].lower()])


_CAPITAL = "['\"]?(?-i:[A-Z\u00c0-\u00de])"
# the point of an abbreviation that ends a sentence ends it still
_POINT = rf"(?:\.(?!\s+{_CAPITAL}|['\"\s]*$)|(?=\.))"
_OPENER = (
    "(?:The|A|An|I|You|He|She|It|We|They|This|That|There|Then|And|But|So|Or|In|On|At|If|When|What|"
    r"Why|Who|How|Where|My|Our|Your|His|Her|Its|Their|Is|Are|Was|Do|Did|No|Yes|Not|After|For)\b"
)
_IN_DATE = rf"(?:(?=\.,)\.|\.?(?=,?\s+(?:[0-9]|{_either(_MONTHS)})))"

ABBREVIATIONS = (
    rule(rf"(?<![\w.])({_either(_MONTHS)})\.(?=\s*[0-9])", _from(_MONTHS), re.IGNORECASE),
    rule(rf"(?<![\w.])(?-i:(?=[A-Z]))({_either(_DAYS)}){_IN_DATE}", _from(_DAYS), re.IGNORECASE),
    rule(rf"(?<![\w.])({_either(_BEFORE_NUMBER)})\.\s?(?=#?[0-9])",
         lambda m: f"{_from(_BEFORE_NUMBER)(m)} ", re.IGNORECASE),
    rule(rf"\b((?:[A-Z]\w+|[0-9]+(?:st|nd|rd|th)) )(St|Dr)"
         rf"(?:\.(?!\s+{_OPENER}|['\"\s]*$)|(?=\.)|\b)(?!\.?\s+(?!{_OPENER}){_CAPITAL})(?=[\s.,;:!?\"']|$)",
         lambda m: m[1] + _STREETS[m[2].lower()]),
    rule(rf"(?<![\w.'])((?i:{_either(_TITLES)}))\.\s?(?={_CAPITAL})",
         lambda m: f"{_TITLES[m[1].lower()]} " if m[1][0].isupper() else m[0]),
    rule(rf"(?<![\w.'])(Mr|Mrs|Ms|Dr|Prof|St)(?= {_CAPITAL})", _from(_TITLES)),
    rule(rf"(?<=[\w,] )({_either(_AFTER_NAME)}){_POINT}",
         lambda m: _AFTER_NAME[m[1].lower()] if m[1][0].isupper() else m[0], re.IGNORECASE),
    rule(rf"(?<![\w.'])({_either(_INSIDE)})\.(?=\s*\S)", _from(_INSIDE), re.IGNORECASE),
    rule(rf"(?<![\w.'])({_either(_ANYWHERE)}){_POINT}", _from(_ANYWHERE), re.IGNORECASE),
    rule(rf"(?<![\w/.'-])(?<![0-9],)({_either(_WITHOUT_POINT)})(?![\w'-]|[/.,:]\w)",
         _from(_WITHOUT_POINT), re.IGNORECASE),
    rule(r"\b((?:[A-Z]\.){2,6})s\b", lambda m: f"{m[1].replace('.', '')}s"),
    # U.S. is said as US is; single letters before a name are left alone
    rule(rf"(?<![\w.])((?:[A-Z]\.)+[A-Z])(?:\.(?!\s+{_OPENER}|['\"\s]*$)|(?=\.))",
         lambda m: m[1].replace(".", "")),
    rule(r"\bPh\.D\b\.?", "PhD"),
)  # fmt: skip


# Roman numerals

_NUMERAL = {"I": 1, "V": 5, "X": 10, "L": 50}
_REIGNS = (
    "Henry|Louis|George|Elizabeth|Edward|Charles|James|Richard|William|Mary|John|Paul|Pius|Leo|"
    "Benedict|Francis|Gregory|Innocent|Alexander|Catherine|Peter|Nicholas|Frederick|Philip|Anne|"
    "Ferdinand|Napoleon|Ramses|Rameses|Ptolemy|Clement|Urban|Julius|Sixtus|Otto|Ivan|Harald|Olav|"
    "Christian|Gustav|Carl|Alfonso|Xerxes|Darius|Cleopatra|Margaret|Robert|Malcolm|Wilhelm|"
    "Friedrich|Karl|Albert|Leopold|Baldwin|Stephen|Victor|Umberto|Isabella|Maria|Sigismund"
)
_NUMBERED = (
    "Chapter|Part|Act|Scene|Volume|Vol|Book|Section|Article|Title|Phase|Type|Level|Stage|Class|"
    "Episode|Season|Appendix|Figure|Table|War|Bowl|Mark|Unit|Lesson|Step|Group|Grade|Canto"
)
_ROMAN = "X{0,3}(?:IX|IV|V?I{1,3}|V)|X{1,3}"


def _value(numeral: str) -> int:
    digits = [_NUMERAL[letter] for letter in numeral]
    after = [*digits[1:], 0]
    return sum(-d if d < n else d for d, n in zip(digits, after, strict=True))


def _title_case(words: str) -> str:
    return "-".join(word.capitalize() for word in words.split("-"))


ROMAN = (
    rule(rf"\b({_REIGNS}) (?!I\b(?!'s|\s+of\b|[.,;:!?]|$))({_ROMAN})\b(?!\.\w|'[^s])",
         lambda m: f"{m[1]} the {_title_case(ordinal(_value(m[2])))}"),
    rule(rf"\b({_NUMBERED}) (L?(?:{_ROMAN})|L)\b(?!'|\.\w)",
         lambda m: f"{m[1]} {cardinal(_value(m[2]))}"),
    rule(rf"\b([A-Z][a-z]+) ((?=[IVX]{{2}})(?:{_ROMAN}))(?![\w-])",
         lambda m: f"{m[1]} {cardinal(_value(m[2]))}"),
)  # fmt: skip


# Symbols

_EACH = {
    "hour": "hour", "hr": "hour", "day": "day", "night": "night", "week": "week", "wk": "week",
    "month": "month", "mo": "month", "year": "year", "yr": "year", "minute": "minute",
    "person": "person", "piece": "piece", "kg": "kilogram", "lb": "pound", "km": "kilometer",
}  # fmt: skip
SYMBOLS = (
    rule(r"(?<![\w+])([A-Za-z]\w*)\+\+(?![\w+])", r"\1 plus plus"),
    rule(r"\b([A-GJ])#(?!\w)", r"\1 sharp"),
    rule(r"(?<![\w.])\.(?=[A-Za-z]{2,}\b)(?!\.)", "dot "),
    rule(r"(?<=[^\W\d_]{2})\.(?=[a-z]{2,5}\b|[a-z]+\d)(?![a-z]+\.\s)", " dot "),
    rule(r"\s*[-=]+>\s*|\s*<[-=]+\s*(?=[A-Za-z])", " to "),
    rule(r"\s*!=\s*", " is not "),
    rule(r"\s*>=\s*", " is at least "),
    rule(r"\s*<=\s*", " is at most "),
    rule(r"(?<=\w)(?: < |<(?=-?[0-9]))", " is less than "),
    rule(r"(?<=\w)(?: > |>(?=-?[0-9]))", " is greater than "),
    rule(r"(?<!\w)#(?=[A-Za-z])", "hashtag "),
    rule(r"(?<![\w#])#\s?(?=[0-9])", "number "),
    rule(r"(?<![\w~])~\s?(?=[-0-9.$\u20ac\u00a3])", "about "),
    rule(r"(?<=\b(?:dial|call) )911\b", "nine one one", re.IGNORECASE),
    rule(rf"/({_either(_EACH)})\b\.?", lambda m: f" per {_EACH[m[1]]}"),
)

# What is left of them once numbers are read
LEFTOVER = (
    rule(r"\s*&+\s*", " and "),
    rule(r"@+", " at "),
    rule(r"\s*%", " percent"),
    rule(r"(?<=[A-Za-z])\+(?!\w)", " plus"),
    rule(r"\s*\++\s*", " plus "),
    rule(r"\s*=+\s*", " equals "),
    rule(r"\s*\u00d7\s*", " times "),
    rule(r"\s*\u00b0\s*", " degrees "),
    rule(r"\s*\u20ac\s*", " euros "),
    rule(r"\s*\u00a3\s*", " pounds "),
    rule(r"\s*\u00a2\s*", " cents "),
    rule(r"(?<=\w)/(?=\w)", " slash "),
    rule(r"\s*\|\s*", ", "),
    rule(r"\*", ""),
    rule(r"[#$<>\[\\\]^_`{}~/|\u00a4\u00a5\u20a0-\u20cf]", " "),
)

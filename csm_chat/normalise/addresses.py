"""What is spelt out: web and e-mail addresses, file paths, telephone, card and network numbers."""

from __future__ import annotations

import re

from csm_chat.normalise.numbers import DIGITS, cardinal, in_pairs, number, one_by_one
from csm_chat.normalise.rules import after, either, rule

# Web and e-mail addresses

_TOP_LEVEL = "com|org|net|edu|gov|io|ai|dev|app|co|uk|us|de|fr|eu|info|me|tv|fm|ly|gg|xyz"
_HOST = r"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"
_URL = (
    r"(?:\b(?!file:)[a-z][a-z0-9+.-]{1,9}://(?:www\.)?|\bwww\.)([A-Za-z0-9.-]*[A-Za-z0-9])(:\d+)?"
    r"([/?#][^\s<>\"]*)?"
)
_BARE = (
    rf"(?<![\w@.-])((?:[A-Za-z0-9-]{{2,}}\.)+(?:{_TOP_LEVEL})|[a-z]\.com)(?![\w@-])(:\d+)?"
    r"(/[^\s<>\"]*)?"
)
_EMAIL = rf"(?<![\w.+&-])(?:mailto:)?([\w+&-]+(?:\.[\w+&-]+)*@{_HOST}(?:/[\w/-]*\w)?)"
_SIGNS = {
    ".": " dot ", "/": " slash ", "\\": " backslash ", "-": " dash ", "_": " underscore ",
    "@": " at ", "~": " tilde ", "+": " plus ", ":": " colon ", "=": " equals ",
    "&": " ampersand ", "%": " percent ", "#": " hash ", "$": " dollar ", "!": " bang ",
}  # fmt: skip
_LONGEST_PATH = 60  # characters; beyond, nobody listens
_TOLD = re.compile(r"(?<![0-9A-Za-z])(?:19|20)[0-9]{2}(?![0-9A-Za-z])|[0-9]|[^\w\s]|_")


def _spelled(address: str) -> str:
    """Each sign by its name, each digit by itself; a year stays one."""
    return " ".join(_TOLD.sub(_told, address).split())


def _told(match: re.Match[str]) -> str:
    part = match[0]
    if part.isdecimal():
        return f" {number(part) if len(part) > 1 else DIGITS[int(part)]} "
    return _SIGNS.get(part, part)


def _url(match: re.Match[str]) -> str:
    host, port, path = match[1], match[2] or "", match[3] or ""
    kept = re.split("[?#]", path)[0].rstrip("/.,!?;:)]}'*_")
    end = path[len(path.rstrip(".,!?;:)]}'*_")) :] and path[-1]
    told = [
        host if host.replace(".", "").isdecimal() else _spelled(host),  # a network number
        f"colon {number(port[1:])}" if port else "",
        _spelled(kept) if len(kept) <= _LONGEST_PATH else "",
    ]
    return " ".join(filter(None, told)) + (end if end in ".,!?;:)" else "")


def _path(path: str) -> str:
    """Signs by their names; numbers stay, to be read as others are."""
    return " ".join("".join(_SIGNS.get(char, char) for char in path).split())


# Paths. A folder at the root is a path, but not "/month".

_PART = r"[\w.~+@%$-]"
_RATES = "hour|hr|day|night|week|wk|month|mo|year|yr|minute|min|person|piece|each|sec|second"
_POSIX = (
    rf"(?<![\w/.:)\]\"'~<&*-])((?:~|\.\.?)?/(?!(?:{_RATES})\b)(?:[A-Za-z_]|\.\w)(?:{_PART}*\w)?"
    rf"(?:/{_PART}*\w)*/?)(?![\w/])|(?<![\w/.:])((?:~|\.\.)/)(?!\S)"
)
_WINDOWS = (
    r"(?<![\w/\\])([A-Za-z]:(?:\\|/(?!/))(?:[\w.~+@%$/\\-]*\w)?|\\\\[\w.$-]+(?:\\[\w.$-]*\w)+"
    r"|%\w+%\\[\w.\\-]*\w)"
)

ADDRESSES = (
    rule(_EMAIL, lambda m: _spelled(m[1])),
    rule(rf"\b(file:///?{_PART}+(?:/{_PART}*\w)*)", lambda m: _spelled(m[1])),
    rule(_URL, _url),
    rule(_BARE, _url, re.IGNORECASE),
    rule(_WINDOWS, lambda m: _path(m[1])),
    rule(_POSIX, lambda m: _path(m[1] or m[2])),
)

# Numbers nobody counts with; before brackets are read


def _in_groups(match: re.Match[str]) -> str:
    """Digit by digit with a short stop after each group; 800 and 900 are told as hundreds."""
    plus = "plus " if match[0].startswith("+") else ""
    groups = re.findall("[0-9]+", match[0])
    free = [i for i in range(min(2, len(groups) - 1)) if groups[i] in ("800", "900")]
    said = [cardinal(int(g)) if i in free else one_by_one(g) for i, g in enumerate(groups)]
    return plus + ", ".join(said)


def _with_letters(match: re.Match[str]) -> str:
    """1-800-GO-2-HAUL."""
    country, area, name = match.group(1, 2, 3)
    code = cardinal(int(area)) if area.endswith("00") else one_by_one(area)
    words = " ".join(
        one_by_one(part) if part.isdecimal() else part for part in re.split("[-. ]", name)
    )
    return f"{'one, ' if country else ''}{code}, {words}"


def _network(match: re.Match[str]) -> str:
    parts = match[1].split(".")
    if any(int(part) > 255 for part in parts):
        return match[0]
    said = " dot ".join(in_pairs(int(part)) for part in parts)
    port = f" colon {number(match[2][1:])}" if match[2] else ""
    return said + port + (f" slash {cardinal(int(match[3][1:]))}" if match[3] else "")


def _plan(match: re.Match[str]) -> str:
    """401(k) and its like."""
    rest = [DIGITS[int(part)] if part.isdecimal() else part for part in re.findall(r"\w", match[2])]
    return f"{in_pairs(int(match[1]))} {' '.join(rest)}{match[3]}"


def _letters(match: re.Match[str]) -> str:
    """Of a network card or a key: 00:1A:2B."""
    return ", ".join(
        " ".join(DIGITS[int(c)] if c.isdecimal() else c.upper() for c in pair)
        for pair in match[0].split(":")
    )


_SPELT = (
    r"(?:PIN|OTP|passcode|password|(?:ZIP|area|access|security|verification|promo|post) ?code|code|"
    r"(?:account|card|tracking|confirmation|serial|reference|policy|case|member) number|SSN|"
    r"(?:card|account|number|phone|plate) (?:that )?(?:ending|ends) in)"
)
CODES = (
    rule(r"(?<![\w.,-])[0-9]{4}([ -])[0-9]{4}(?:\1[0-9]{4}){2}(?![\w-])", _in_groups),
    rule(r"(?<![\w.,-])3[47][0-9]{2}([ -])[0-9]{6}\1[0-9]{5}(?![\w-])", _in_groups),
    rule(r"(?<![\w.])([0-9]{1,3}(?:\.[0-9]{1,3}){3})(:[0-9]{1,5})?(/[0-9]{1,2})?(?!\w|\.[0-9])",
         _network),
    rule(r"(?<![\w:])[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}(?![\w:])", _letters),
    rule(r"(?<![\w.])([1-9][0-9]{2})(\([a-z]\)(?:\([0-9a-z]\))*)(s?)(?!\w)", _plan),
    rule(r"(?<![\w.$])(401|403|457)([kb])(s?)\b", _plan),
    rule(r"(?<![\w.-])(?:\+?(1)[-. ])?(8[03-8]{2}|900)[-. ]"
         r"((?=[-. 0-9]*[A-Z])[A-Z0-9]{1,8}(?:-[A-Z0-9]{1,8}){0,5})(?![\w-])", _with_letters),
    rule(r"(?<![\w$.,-])(?:\+?1[-. ]?)?(?:\([0-9]{3}\)[-. ]?|[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}"
         r"(?![\w-])", _in_groups),
    rule(r"(?<![\w+])\+[0-9]{1,3}(?:[-. ]?\(?[0-9]{2,4}\)?){2,5}(?![\w-])", _in_groups),
    rule(r"(?<![\w+])\+[0-9]{1,3}(?:(?:[-. ]|(?=\())\(?[0-9]{1,8}\)?|(?<=\))[0-9]{1,8}){1,6}"
         r"(?![\w-])", lambda m: _in_groups(m) if len(re.findall("[0-9]", m[0])) > 6 else m[0]),
    rule(r"(?<![\w$.,-])\(?0[0-9]{2,4}\)?[ -][0-9]{3,4}[ -]?[0-9]{3,4}(?![\w-])", _in_groups),
    rule(r"(?<![\w$.,-])0[0-9](?: [0-9]{2}){3,4}(?![\w-]| [0-9])", _in_groups),
    rule(r"(?<![\w$.,-])[0-9]{3}-[0-9]{4}(?![\w-])", _in_groups),
    rule(rf"(\b{_SPELT}(?: (?:is|was|number|no\.|of))?:? #?)([0-9]{{3,}})(?![\w%-]|[.,:/][0-9])",
         lambda m: m[1].removesuffix("#") + one_by_one(m[2]), re.IGNORECASE),
    rule(r"(\b(?:call|dial|dialled|dialed|ring|text) )([1-9]1[0-9]|999|000)\b(?!-)",
         lambda m: m[1] + one_by_one(m[2]), re.IGNORECASE),
    rule(r"(?<![\w.,-])()(911|999)(?= (?:call|operator|dispatch))",
         lambda m: one_by_one(m[2])),
)  # fmt: skip

# In front of a number that is told in pairs: "room two thirty-seven", "error four oh four"
_PLACES = (
    *("room", "suite", "flight", "route", "highway", "interstate", "error", "HTTP", "apartment"),
    *("Boeing", "Airbus", "hwy", "apt", "rm", "status", "extension", "PO Box", "PO box"),
)
PLACES = (
    rule(rf"(\b(?:{either(_PLACES)})\.? (?:number |code )?)([1-9][0-9]{{2,3}})"
         r"(?![\w%-]|[.,:/][0-9])",
         lambda m: m[1] + in_pairs(int(m[2])), re.IGNORECASE),
)  # fmt: skip


def is_spelt_out(match: re.Match[str]) -> bool:
    """Whether a word is part of an address that was spelt out: slash, etc, slash, hosts."""
    start = match.string[max(0, match.start() - 11) : match.start()]
    return bool(re.search(r"\b(?:slash|dot|dash|underscore|colon) $", start)) or bool(
        re.match(r" (?:slash|underscore|dash)\b", match.string[match.end() : match.end() + 11])
        and after(match) == " "
    )

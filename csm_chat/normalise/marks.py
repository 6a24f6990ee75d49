"""Characters, mark-up and punctuation down to letters, digits and plain marks."""

from __future__ import annotations

import re
import unicodedata

from csm_chat.normalise.rules import after, before

_QUOTES = dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4", "'") | dict.fromkeys(
    "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u2039\u203a", '"'
)
_DASHES = dict.fromkeys("\u2010\u2011\u2212", "-") | {
    "\u2012": "\u2013", "\u2013": "\u2013", "\u2014": "\u2014", "\u2015": "\u2014",
}  # fmt: skip
_SAID = {
    "÷": " divided by ", "±": " plus or minus ", "≈": " about ", "≠": " is not equal to ",
    "≤": " is at most ", "≥": " is at least ", "→": " to ", "⇒": " to ", "∞": " infinity ",
    "√": " the square root of ", "№": " No. ", "§": " section ", "‰": " per mille ",
    "…": "...", "•": "\n- ", "·": " ", "\u00d7": "\u00d7", "°": "°",
}  # fmt: skip
_NEWLINES = dict.fromkeys("\n\r\x0b\x0c\x85\u2028\u2029", "\n")
_ASCII = {chr(code): chr(code) for code in range(32, 127)}
# punctuation of other languages
_FOREIGN = "\u3002\u3001\u061f\u060c\u061b\u0964\u0965\u00bf\u00a1"
_JOINERS = "\u200c\u200d"  # letters of some scripts change shape by them
_COMPATIBLE = ("<font>", "<wide>", "<narrow>", "<compat>", "<sub>", "<circle>", "<square>")


class _Characters(dict[int, str]):
    """For `str.translate`: what each character becomes, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = said = _plain(chr(code))
        return said


def _plain(char: str) -> str:
    """A character as what the rules know: itself, others, or a space for what nobody reads."""
    for table in (_QUOTES, _DASHES, _SAID, _NEWLINES, _ASCII):
        if char in table:
            return table[char]
    form = unicodedata.decomposition(char).partition(" ")[0]
    same = unicodedata.normalize("NFKC", char)
    if form == "<super>" and same.isdecimal():
        return f"^{same}"
    if form == "<fraction>":
        return " " + same.replace("\u2044", "/")
    if form in _COMPATIBLE and same != char:
        return "".join(map(_plain, same))
    return _by_category(char)


def _by_category(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    is_read = category[0] == "L" or category in ("Mn", "Mc", "Sc", "No", "Nl")
    if (is_read and char not in "\ufe0e\ufe0f") or char in _FOREIGN or char in _JOINERS:
        return char
    # soft hyphens, direction marks and control characters stand inside words
    is_inside = category in ("Cf", "Mn", "Me") or (category == "Cc" and not char.isspace())
    return "" if is_inside else " "


_CHARACTERS = _Characters()
_STRAY = re.compile(
    f"(?:(?<![^\\s!-~])[{_JOINERS}]+|[{_JOINERS}]+(?=[\\s!-~]|$))"  # joiners that join nothing
    "|(?<=[\u0300-\u036f]{2})[\u0300-\u036f]+"  # accents in towers
)

_ROWS = re.compile(r"([^\w\s\[\](){}\-=*~#`]|[\u00b2\u00b3\u00b9\u00bc-\u00be])\1{3,}")  # ornament
_SPACES, _LINES = re.compile(" {2,}"), re.compile(r" ?\n ?\n[ \n]*")

# What colours a terminal, moves its cursor or names its window; not all of it need be there
TERMINAL_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[\]PX^_][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|[\x90\x98\x9d-\x9f][^\x07\x1b\x90\x98\x9c-\x9f\n]*(?:\x07|\x1b\\|\x9c)|\x1b[ -/]*[0-~]?"
)
# and as programmers write it
_WRITTEN_SEQUENCE = re.compile(r"\\(?:033|0?x1b|e|u001b)\[[0-?]*[ -/]*[@-~]", re.IGNORECASE)

# Tags of web pages and of speech (SSML). One that ends a paragraph leaves a line's end.
_BLOCKS = (
    *("p", "s", "br", "div", "li", "ul", "ol", "tr", "table", "hr", "title", "header", "section"),
    *(
        "dt",
        "dd",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "article",
        "blockquote",
        "paragraph",
        "sentence",
    ),
)
_INLINE = (
    *("a", "b", "i", "u", "em", "strong", "span", "small", "big", "sub", "sup", "mark", "code"),
    *("tt", "kbd", "del", "ins", "strike", "abbr", "cite", "font", "center", "html", "body", "td"),
    *(
        "th",
        "pre",
        "var",
        "samp",
        "dl",
        "q",
        "dfn",
        "label",
        "form",
        "head",
        "time",
        "speak",
        "voice",
        "emphasis",
        "prosody",
        "audio",
        "lang",
        "w",
        "phoneme",
    ),
)
_ATTRIBUTE = r"(?:\s+[\w:-]+|(?<=\w))\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+?)"
_TAG = re.compile(
    rf"<(?:/\s*[a-z][\w:-]*|(?P<name>[a-z][\w:-]*)(?P<attributes>(?:{_ATTRIBUTE})*))\s*(?P<alone>/?)>",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"</\s*([A-Za-z][\w:-]*)")
_VARIABLE_BEFORE = re.compile(r"(?<![^\W_])[^\W_]$")
_VARIABLE_AFTER = re.compile(r"[^\W_](?![^\W_])")
_ALIAS = re.compile("<sub\\s+alias=[\"']([^\"'<>]*)[\"']\\s*>[^<>]*</sub>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)
_BREAK = re.compile(r"time\s*=\s*[\"']?\s*\+?([0-9]*\.?[0-9]+)\s*(m?s)", re.IGNORECASE)
_SHORT_BREAK_MS = 500  # from here on a break is as long as one between sentences
_WEAK_BREAKS = re.compile(r"strength\s*=\s*[\"']?(?:x-)?weak", re.IGNORECASE)
_STRENGTH = re.compile(r"strength\s*=\s*[\"']?\s*([a-z-]+)", re.IGNORECASE)
# seconds of breaks that say how strong they are, as readers of SSML keep them
_STRENGTHS = {
    "none": 0.0,
    "x-weak": 0.25,
    "weak": 0.5,
    "medium": 0.75,
    "strong": 1.0,
    "x-strong": 1.25,
}
_NO_BREAK = re.compile(r"strength\s*=\s*[\"']?none|time\s*=\s*[\"']?0m?s", re.IGNORECASE)

# Thousands apart by a space that holds a line together, an apostrophe or an underline
_THOUSANDS = re.compile(
    "(?<![0-9.,'_\u2019])([1-9][0-9]{0,2})((?:[\u00a0\u2007\u2009\u202f'\u2019_][0-9]{3}){1,4})(?![0-9])"
)

# Markdown; the marks go, the words stay
_MARKDOWN = tuple(
    (re.compile(pattern, re.MULTILINE), said)
    for pattern, said in (
        (r"^[ \t]*(?:```|~~~)\w*[ \t]*$", ""),
        (r"<!--[^<>]*-->", ""),
        (r"(?<!\S)(?:/\*+|\*+/)(?!\S)", " "),  # a remark in a program
        (r"!?\[([^\[\]\n]*)\]\([^()\s]*\)", r"\1"),  # [text](address)
        (r"\[\d{1,3}\]", ""),  # a footnote's number
        (r"(?<![\w=])==(?=[^\s=])([^=\n]*)(?<=[^\s=])==(?![\w=])", r"\1"),
        (r"[-=_*~#]{4,}", " "),
        (r"^[ \t]*(?:-[ \t]*){3,}$", ""),
        (r"^[ \t]*(?!>=?[0-9$])(?:>[ \t]*)+", ""),
        # a paragraph is a sentence of its own
        (r"(?<=\w)[ \t]*\n(?=[ \t]*\n|[ \t]*(?:#{1,6}|[-*+]|\d{1,3}[.)])[ \t])", ".\n"),
        # so is a heading or an item of a list
        (r"^[ \t]*(?:#{1,6}|[-*+])[ \t]+(?:\[[ xX]?\] )?(.*\w)[ \t#]*$", r"\1."),
        (r"^[ \t]*(?:#{1,6}|[-*+])[ \t]+", ""),
        (r"(?<![\w*])\*{1,3}(?=[^\s*])|(?<=[^\s*])\*{1,3}(?![\w*])|~~|`+", ""),
        (r"(?<!\w)__?(?=\w)|(?<=\w)__?(?!\w)", ""),
    )
)
_FACES = re.compile(
    r"(?<!\S)(?:[:;]['^-]?[()\[\]DPpOo/\\|*3](?!\w)|=[()]|[xX]D+\b|<+/?3+(?!\w)|\^_*\^|-_+-)(?!\w)"
    r"|(?<=[.!?,\w])[:;]-?[()](?!\S)"
)
_PLURAL = re.compile(r"(?<=\w)\((e?s)\)")
_OPENS = re.compile(r"[ \n]?[(\[{][ \n]?")
_GOES_ON = re.compile(" ?[a-z]")
_CLOSES = re.compile(r"[ \n]?[)\]}]")


def _character(entity: re.Match[str]) -> str:
    from html import unescape  # its table of 2 231 names is for the few lines that hold one

    return unescape(entity[0])


def without_markup(text: str) -> str:
    """No terminal colours, tags and entities; a break is a comma, or three points if it is long."""
    text = _WRITTEN_SEQUENCE.sub("", TERMINAL_SEQUENCE.sub("", text))
    text = _ALIAS.sub(r" \1 ", text)
    closed = {name.lower() for name in _CLOSING.findall(text)}
    text = _TAG.sub(lambda match: _without_tag(match, closed), text)
    return _ENTITY.sub(_character, text)


def _without_tag(match: re.Match[str], closed: set[str]) -> str:
    name = (match["name"] or match[0].strip("</> ")).lower()
    if name == "break":
        return _pause(match[0])
    if name in _BLOCKS:
        return "\n\n"
    if len(name) == 1 and name not in closed and _between_variables(match):
        return match[0]  # a<b>c
    # <T> may be a word in brackets of another kind; a tag has a stroke or something set
    is_tag = match[0][1] == "/" or match["alone"] or match["attributes"]
    return "" if is_tag or name in _INLINE or name in closed else match[0]


def _between_variables(match: re.Match[str]) -> bool:
    return bool(_VARIABLE_BEFORE.search(match.string[: match.start()][-2:])) and bool(
        _VARIABLE_AFTER.match(match.string[match.end() :][:2])
    )


def _pause(tag: str) -> str:
    if _NO_BREAK.search(tag):
        return " "
    lasts_ms = _break_ms(tag)
    if lasts_ms is None:
        return ", " if _WEAK_BREAKS.search(tag) else "... "
    return ", " if lasts_ms < _SHORT_BREAK_MS else "... "


def _break_ms(tag: str) -> float | None:
    """How long a break lasts, if it says so."""
    time = _BREAK.search(tag)
    return float(time[1]) * (1 if time[2].lower() == "ms" else 1000) if time else None


def break_s(tag: str) -> float:
    """How many seconds of silence a tag of a break asks for."""
    lasts_ms = _break_ms(tag)
    if lasts_ms is not None:
        return lasts_ms / 1000
    strength = _STRENGTH.search(tag)
    return _STRENGTHS.get(strength[1].lower() if strength else "", _STRENGTHS["medium"])


def plain_characters(text: str) -> str:
    """Each character as itself, as others that are read alike, or as a space.

    Digits of all scripts become ASCII, quotes straight, emoji go.
    """
    text = _ROWS.sub(r"\1\1\1", text)
    text = _THOUSANDS.sub(lambda match: match[1] + re.sub("[^0-9]", ",", match[2]), text)
    text = _STRAY.sub("", unicodedata.normalize("NFC", text).translate(_CHARACTERS))
    text = _LINES.sub("\n\n", _SPACES.sub(" ", text))
    return unicodedata.normalize("NFC", text)


def without_markdown(text: str) -> str:
    for pattern, said in _MARKDOWN:
        text = pattern.sub(said, text)
    return _FACES.sub(" ", text)


def without_brackets(text: str) -> str:
    """Asides between commas."""
    text = _PLURAL.sub(r"\1", text)
    text = _OPENS.sub(_opened, text)
    return _CLOSES.sub(_closed, text)


def _opened(match: re.Match[str]) -> str:
    return " " if before(match) in ".!?,;:\"'([{\u2014" else ", "


def _closed(match: re.Match[str]) -> str:
    if before(match) == "." and _GOES_ON.match(match.string, match.end()):
        return ", "  # the point was that of "etc.", "p.m."
    return " " if before(match) in ".!?,;:" or after(match) in ".!?,;:" else ", "


_HYPHENS = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r"\s+", " "),
        (r"(?<![\w'-])-+(?=\w)", ""),
        (r"-{2,}|(?<!\w)-(?!\w)|(?<!\w)\u2013|\u2013(?!\w)", "\u2014"),
        (r"\u2013", "-"),
        (r"(?<=\w)-(?=[\"' ]*$)", "\u2014"),
    )
)
_MARKS = ".,;:!?\u2014"
_CLUSTER = re.compile(f" ?[{_MARKS}](?: ?[{_MARKS}])*")
_N_QUOTES = 3  # quotes and spaces that may stand before the first word and after the last
_MISSING_SPACE = re.compile(
    r"(?<=[,;:!?])(?=[^\W_])|(?<=\w[,;:])(?=\"\w)|(?<=[a-z]\.)(?=[A-Z][a-z])|(?<=\.\.\.)(?=[^\W_])"
)


# Single quotes round words cost a quarter of them (benchmarks/README.md), double ones none.
_QUOTED = re.compile(
    r"(?<![\w'])'(?=\w)(?!n')((?:[^']|(?<=\w)'(?=\w))*?(?<=[\w.,;:!?\u2014]))'(?![\w'])"
)


def tidy_punctuation(text: str) -> str:
    """One mark where several meet, single spaces, and no single quotes round words."""
    text = _QUOTED.sub(r"\1", text)
    for pattern, said in _HYPHENS:
        text = pattern.sub(said, text)
    text = _CLUSTER.sub(_strongest, text)
    return " ".join(_MISSING_SPACE.sub(" ", text).split())


def _strongest(match: re.Match[str]) -> str:
    """The one mark that marks in a row amount to."""
    marks = match[0]
    asked, called = "?" in marks, "!" in marks
    if asked or called:
        return "?" * asked + "!" * called
    if ".." in marks or marks.count(".") > 2:
        return "..."
    text, start, end = match.string, match.start(), match.end()
    if start <= _N_QUOTES and not text[:start].strip(" \"'"):
        return " "
    if set(marks) <= {"\u2014", " "} and not text[end : end + _N_QUOTES].strip(" \"'"):
        return "..." if len(text) - end <= _N_QUOTES else ", "  # somebody breaks off
    said = next((mark for mark in ".:;" if mark in marks), ",")
    is_inside = marks == "." and after(match).isalnum()
    return said if is_inside or said == "." or after(match) in "\"'" else f"{said} "

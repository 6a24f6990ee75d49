"""Abbreviations and symbols as words."""

from __future__ import annotations

import re

from csm_chat.normalise.addresses import is_spelt_out
from csm_chat.normalise.rules import OPENER, POINT, Say, either, from_table, rule

# Abbreviations: before a number, inside a sentence, and anywhere

_BEFORE_NUMBER = {
    "no": "number", "nos": "numbers", "nr": "number", "p": "page", "pp": "pages", "vol": "volume",
    "vols": "volumes", "ch": "chapter", "chap": "chapter", "fig": "figure", "figs": "figures",
    "sec": "section", "eq": "equation", "ca": "circa", "c": "circa", "approx": "approximately",
    "ext": "extension", "v": "version", "ver": "version", "tel": "telephone", "rm": "room",
    "apt": "apartment", "ep": "episode", "para": "paragraph", "art": "article", "pt": "part",
    "ste": "suite", "max": "maximum", "min": "minimum", "avg": "average", "qty": "quantity",
    "op": "opus",
}  # fmt: skip
_INSIDE = {  # a sentence, and never at its end
    "e.g": "for example", "eg": "for example", "i.e": "that is", "ie": "that is", "vs": "versus",
    "approx": "approximately", "est": "established", "viz": "namely", "cf": "compare",
    "incl": "including", "excl": "excluding", "esp": "especially", "max": "maximum",
    "n.b": "note well", "a.k.a": "also known as", "w.r.t": "with respect to",
    "abbr": "abbreviated", "orig": "originally", "usu": "usually",
}  # fmt: skip
_ANYWHERE = {
    "etc": "et cetera", "et al": "and others", "dept": "department", "govt": "government",
    "misc": "miscellaneous", "resp": "respectively", "encl": "enclosed", "assn": "association",
    "tbsp": "tablespoons", "tsp": "teaspoons", "p.s": "PS",
    "univ": "university", "tel": "telephone", "a.s.a.p": "ASAP", "appt": "appointment",
    "appx": "appendix", "mgmt": "management", "mgr": "manager", "dist": "district",
    "intl": "international", "natl": "national",
}  # fmt: skip
_WITHOUT_POINT = {
    "vs": "versus", "etc": "et cetera", "w/o": "without", "w/": "with ", "b/c": "because",
    "approx": "approximately", "aka": "also known as", "and/or": "and or", "n/a": "not applicable",
    "he/she": "he or she", "she/he": "she or he", "him/her": "him or her", "his/her": "his or her",
    "s/he": "she or he", "yes/no": "yes or no", "true/false": "true or false", "c/o": "care of",
    "either/or": "either or", "am/pm": "AM or PM", "dept": "department", "govt": "government",
    "gov't": "government", "int'l": "international", "nat'l": "national", "ass'n": "association",
    "24/7/365": "twenty-four seven three sixty-five", "24-7": "twenty-four seven",
    "24/7": "twenty-four seven", "9/11": "nine eleven", "20/20": "twenty twenty",
    "50/50": "fifty fifty", "007": "double oh seven", "+/-": "plus or minus",
}  # fmt: skip
_ZONES = (
    *("EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "ET", "CT", "MT", "PT", "GMT", "UTC"),
    *("BST", "CET", "CEST", "EET", "IST", "JST", "AEST", "AEDT", "HST", "AKST"),
)
_ZONE = either(_ZONES)
_DOTTED_ZONE = either(".".join(zone.lower()) for zone in _ZONES)


def _unless_spelt_out(words: dict[str, str]) -> Say:
    say = from_table(words)
    return lambda match: match[0] if is_spelt_out(match) else say(match)


POINTED = (
    rule(rf"(?<![\w.])({_DOTTED_ZONE})\b\.?", lambda m: m[1].replace(".", "").upper(),
         re.IGNORECASE),
    rule(rf"(?<=[0-9a-z])( ?)([ap])\.\s?m\b(?:\.(?!\s+(?!(?:{_ZONE})\b)['\"]?(?-i:[A-Z])|['\"\s]*$)"
         rf"|(?=\.)|(?!\.))(?=\W|$|(?:{_ZONE})\b)", lambda m: f" {m[2].upper()}M", re.IGNORECASE),
    rule(rf"(?<![\w.])({either(_BEFORE_NUMBER)})\.\s?(?=#?[0-9]|(?-i:[IVXLC]{{2,7}}\b))",
         lambda m: f"{from_table(_BEFORE_NUMBER)(m)} ", re.IGNORECASE),
    rule(rf"(?<![\w.'])(?-i:(?!EST\b))({either(_INSIDE)})\.(?=\s*\S)", from_table(_INSIDE),
         re.IGNORECASE),
    rule(rf"(?<![\w.'])({either(_ANYWHERE)}){POINT}", _unless_spelt_out(_ANYWHERE), re.IGNORECASE),
    rule(r"\b((?:[A-Z]\.){2,6})s\b", lambda m: f"{m[1].replace('.', '')}s"),
    rule(r"(?<![\w.])(u\.s\.a|u\.s|u\.k|e\.u|u\.n)\b\.?", lambda m: m[1].replace(".", "").upper()),
    # U.S. is said as US is; single letters before a name are left alone
    rule(rf"(?<![\w.])((?:[A-Z]\.)+[A-Z])(?:\.(?!\s+{OPENER}|['\"\s]*$)|(?=\.))",
         lambda m: m[1].replace(".", "")),
    rule(r"\bPh\.D\b\.?", "PhD"),
)  # fmt: skip
ABBREVIATIONS = (
    rule(r"\b([Ee])xt (?=[0-9])", r"\1xtension "),
    rule(rf"\b({_ZONE})/(?=(?:{_ZONE})\b)", r"\1 or "),
    rule(rf"(?<=\b[ap]m)\s?({_ZONE})\b", lambda m: f" {m[1].upper()}", re.IGNORECASE),
    rule(rf"(?<=[0-9])(?=[A-Z]{{3}})({_ZONE})\b", r" \1"),
    rule(rf"(?<![\w/.'-])(?<![0-9],)({either(_WITHOUT_POINT)})(?![\w'-]|[/.,:]\w)",
         _unless_spelt_out(_WITHOUT_POINT), re.IGNORECASE),
)  # fmt: skip


# Symbols

_EACH = {
    "hour": "hour", "hr": "hour", "h": "hour", "day": "day", "night": "night", "week": "week",
    "wk": "week", "month": "month", "mo": "month", "year": "year", "yr": "year",
    "minute": "minute", "min": "minute", "person": "person", "piece": "piece", "kg": "kilogram",
    "lb": "pound", "km": "kilometer", "oz": "ounce", "gal": "gallon", "sq ft": "square foot",
    "mile": "mile", "unit": "unit", "user": "user", "share": "share", "sec": "second",
}  # fmt: skip
# signs that compare, and what stands before the second of the two
_LESS, _MORE = "is less than", "is greater than"
SYMBOLS = (
    rule(r"(?<![\w+])([A-Za-z]\w*)\+\+(?![\w+])", r"\1 plus plus"),
    rule(r"\b([A-GJ])#(?!\w)", r"\1 sharp"),
    rule(r"(?<![\w.])\.(?=[A-Za-z]{2,}\b)(?!\.)", "dot "),
    rule(r"(?<=[^\W\d_]{2})\.(?=[a-z]{2,5}\b|[a-z]+\d)(?![a-z]+\.\s)", " dot "),
    rule(r"\s*(?:!=+|=/=|<>(?=\s*\w))\s*", " is not equal to "),
    rule(r"\s*(?:>=|\u2265)\s*", " is at least "),
    rule(r"\s*(?:<=(?![=>])|\u2264)\s*", " is at most "),
    rule(r"\s*<?[-=]+>\s*|\s*<(?:-+|={2,})\s*(?=[A-Za-z])", " to "),
    rule(r"(?<=\w\w)<(\w{1,30}(?:, ?\w{1,30}){0,3})>", r" of \1"),  # List<String>
    rule(r"<(\w[\w .,:|/-]{0,60})>(?!\w)|(?<!\w)<(\w[\w:-]{0,30})>",
         lambda m: f" {m[1] or m[2]} "),  # <a thing to fill in>
    rule(r"(?<=[\w)])\s?<<\s?(?=[\w(-])(?![^<>]{1,80}>>)", " is much less than "),
    rule(r"(?<=[\w)])\s?>>\s?(?=[\w(-])", " is much greater than "),
    rule(r"(?<=[\w)]) < |(?<=[\w)])<(?![^<>]{1,80}>(?!\w))(?=-?[A-Za-z0-9(])", f" {_LESS} "),
    rule(r"(?<=[\w)]) > |(?<=[\w)])>(?=-?[A-Za-z0-9(])", f" {_MORE} "),
    rule(r"(?<!\S)>\s?(?=[0-9$\u20ac\u00a3])", "more than "),
    rule(r"(?<!\S)<\s?(?=[0-9$\u20ac\u00a3])", "less than "),
    rule(r"(?<=\w)\s*(?:\+/-|\+-)\s*(?=[0-9])|(?<!\S)(?:\+/-|\+-)\s*(?=[0-9])",
         " plus or minus "),
    rule(r"(?<!\w)#(?=[A-Za-z])", "hashtag "),
    rule(r"(?<![\w#])#\s?(?=[0-9])", "number "),
    rule(r"(?<![\w~])~\s?(?=[-0-9.$\u20ac\u00a3])", "about "),
    rule(rf"(?<=[\w.%)\u20ac\u00a3$])(?<!\bday)(?<!\bweek)(?<!\bmonth)\s?/\s?({either(_EACH)})\b(?![/\w])\.?",
         lambda m: f" per {_EACH[m[1]]}"),
    rule(r"(?<=\w) / (?=\w)", " slash "),
    rule(r"\b([0-9]+)/([a-z])(?!\w)", r"\1 over \2"),
    rule(r"(?<![\w*])(\w)\*(\w)(?![\w*])", r"\1 times \2"),
    rule(r"\^\(?([a-z])\)?(?!\w)", r" to the power of \1"),
)  # fmt: skip

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
    rule(r"\s*\$\s*", " dollar "),
    rule(r"\s*\u20ac\s*", " euros "),
    rule(r"\s*\u00a3\s*", " pounds "),
    rule(r"\s*\u00a2\s*", " cents "),
    rule(r"(?<=\w)/(?=\w)", " slash "),
    rule(r"\s*\|\s*", ", "),
    rule(r"\*", ""),
    rule(r"[#<>\[\\\]^_`{}~/|\u00a4\u00a5\u20a0-\u20cf]", " "),
)

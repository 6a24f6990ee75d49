"""What belongs to names: titles, streets and states, and the Roman numerals of kings and wars."""

from __future__ import annotations

import re

from csm_chat.normalise.numbers import cardinal, in_pairs, one_by_one, ordinal, year
from csm_chat.normalise.rules import CAPITAL, OPENER, POINT, POINT_OR_NONE, either, rule

# Titles, before a name

_TITLES = {
    "mr": "Mister", "mrs": "Missus", "ms": "Miz", "dr": "Doctor", "prof": "Professor",
    "st": "Saint", "sts": "Saints", "mt": "Mount", "ft": "Fort", "rev": "Reverend",
    "hon": "Honorable", "gen": "General", "col": "Colonel", "maj": "Major", "capt": "Captain",
    "cpt": "Captain", "lt": "Lieutenant", "sgt": "Sergeant", "cpl": "Corporal", "pvt": "Private",
    "adm": "Admiral", "brig": "Brigadier", "cmdr": "Commander", "cdr": "Commander",
    "sen": "Senator", "sens": "Senators", "gov": "Governor", "govs": "Governors",
    "rep": "Representative", "reps": "Representatives", "pres": "President",
    "supt": "Superintendent", "insp": "Inspector", "det": "Detective", "atty": "Attorney",
    "amb": "Ambassador", "msgr": "Monsignor", "fr": "Father", "drs": "Doctors",
    "profs": "Professors", "messrs": "Messieurs", "mmes": "Mesdames", "mme": "Madame",
    "mlle": "Mademoiselle", "rt": "Right", "asst": "Assistant", "assoc": "Associate",
}  # fmt: skip
_WITHOUT_POINT = ("Mr", "Mrs", "Ms", "Dr", "Prof", "St", "Drs", "Messrs", "Mme", "Mlle")
_TITLE = rf"(?:{either(_TITLES)})"
# "Mr. & Mrs. O'Neil", "Dr. and Mrs. Lee"
_PAIR = rf"(?: ?& ?| and )(?:{_TITLE}\b|{CAPITAL})"
# ends a sentence after a title; "Dr. No" and "Dr. Who" are names
_NEW_SENTENCE = (
    "(?:The|A|He|She|They|We|You|It|This|That|There|Then|And|But|When|What|Why|How|Where|If|Their|"
    r"His|Is|Was|Are)\b"
)


def _title(match: re.Match[str]) -> str:
    return _TITLES[match[1].lower()] if match[1][0].isupper() else match[0]


TITLES = (
    rule(rf"(?<![\w.'])((?i:{either(set(_TITLES) - {'st', 'ft', 'mt', 'fr', 'rt'})}))"
         rf"(?=\.\s+{_NEW_SENTENCE})", _title),
    rule(rf"(?<![\w.'])((?i:{_TITLE}))\.\s?(?={CAPITAL}|(?i:{_PAIR}))",
         lambda m: f"{_title(m)} " if m[1][0].isupper() else m[0]),
    rule(rf"(?<![\w.'])({'|'.join(_WITHOUT_POINT)})(?= {CAPITAL}|(?i:{_PAIR}))", _title),
)  # fmt: skip

# After a name

_AFTER_NAME = {
    "ave": "Avenue", "blvd": "Boulevard", "rd": "Road", "ln": "Lane", "hwy": "Highway",
    "pkwy": "Parkway", "expy": "Expressway", "expwy": "Expressway", "fwy": "Freeway",
    "tpke": "Turnpike", "ct": "Court", "pl": "Place", "sq": "Square", "cir": "Circle",
    "ter": "Terrace", "terr": "Terrace", "trl": "Trail", "aly": "Alley", "cres": "Crescent",
    "jr": "Junior", "sr": "Senior", "esq": "Esquire", "inc": "Incorporated", "ltd": "Limited",
    "co": "Company", "cos": "Companies", "corp": "Corporation", "bros": "Brothers",
    "univ": "University", "mfg": "Manufacturing", "assn": "Association",
}  # fmt: skip
_NO_POINT_NEEDED = (
    *("ave", "blvd", "hwy", "pkwy", "expy", "expwy", "fwy", "tpke", "jr", "esq", "rd", "bros"),
)

# Streets, states and what stands before a street's name

_STREETS = {"st": "Street", "dr": "Drive"}
_SUFFIXES = _STREETS | {key: _AFTER_NAME[key] for key in list(_AFTER_NAME)[:19]}
_FULL_SUFFIXES = (*_SUFFIXES.values(), "Way", "Broadway", "Row", "Mews")
_COMPASS = {
    "N": "North", "S": "South", "E": "East", "W": "West", "NE": "Northeast", "NW": "Northwest",
    "SE": "Southeast", "SW": "Southwest",
}  # fmt: skip
_STATES = {
    "AK": "Alaska", "AR": "Arkansas", "AZ": "Arizona", "CA": "California", "CT": "Connecticut",
    "FL": "Florida", "GA": "Georgia", "IA": "Iowa", "IL": "Illinois", "KS": "Kansas",
    "KY": "Kentucky", "MN": "Minnesota", "MS": "Mississippi", "MT": "Montana",
    "NC": "North Carolina", "ND": "North Dakota", "NE": "Nebraska", "NH": "New Hampshire",
    "NJ": "New Jersey", "NM": "New Mexico", "NV": "Nevada", "NY": "New York",
    "RI": "Rhode Island", "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee",
    "TX": "Texas", "UT": "Utah", "VA": "Virginia", "VT": "Vermont", "WA": "Washington",
    "WI": "Wisconsin", "WV": "West Virginia", "WY": "Wyoming",
}  # fmt: skip
_STATES_ONLY_WITH_ZIP = {  # words, or said as letters elsewhere
    "AL": "Alabama", "CO": "Colorado", "DE": "Delaware", "HI": "Hawaii", "ID": "Idaho",
    "IN": "Indiana", "LA": "Louisiana", "MA": "Massachusetts", "MD": "Maryland", "ME": "Maine",
    "MI": "Michigan", "MO": "Missouri", "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon",
    "PA": "Pennsylvania", "DC": "DC",
}  # fmt: skip
_ZIP = r"([0-9]{5})(?:-([0-9]{4}))?(?![\w-])"


def _house(match: re.Match[str]) -> str:
    where = f"{_COMPASS[match[2]]} " if match[2] else ""
    street = match[4].rstrip(".")
    if street not in _FULL_SUFFIXES:
        street = _SUFFIXES[street.lower()]
    return f"{in_pairs(int(match[1]))} {where}{match[3]}{street}"


def _with_zip(match: re.Match[str]) -> str:
    state = (_STATES | _STATES_ONLY_WITH_ZIP)[match[1]]
    more = f", {one_by_one(match[3])}" if match[3] else ""
    return f"{state} {one_by_one(match[2])}{more}"


def _street_point(is_street: str) -> str:
    return rf"(?:\.(?!\s+{OPENER}|['\"\s]*$)|(?=\.)|\b){is_street}(?=[\s.,;:!?\"']|$)"


_POINTED = rf"(?:\.(?!\s+{OPENER}|['\"\s]*$)|(?=\.)|\b)(?!\w)"
STREETS = (
    rule(rf"(?<![\w.,$-])([1-9][0-9]{{0,4}}) (?:({either(_COMPASS)})\.? )?"
         rf"((?:[A-Z][\w'-]*\.? |[0-9]+(?:st|nd|rd|th) ){{1,3}}?)"
         rf"((?:{either(_FULL_SUFFIXES)})\b|(?i:{either(_SUFFIXES)}){_POINTED})", _house),
    rule(rf"(?<=, )({either([*_STATES, *_STATES_ONLY_WITH_ZIP])}),? {_ZIP}", _with_zip),
    rule(rf"(?<=[a-z], )({either(_STATES)})(?=[,.;!?]|$| [a-z])", lambda m: _STATES[m[1]]),
    # not before another name, as in "Lake St. Clair", but before "NW"
    rule(r"\b((?:[A-Z][\w'-]*|[0-9]+(?:st|nd|rd|th)) )(St|Dr)"
         + _street_point(rf"(?!\.?\s+(?!{OPENER}|(?:{either(_COMPASS)})\b){CAPITAL})"),
         lambda m: m[1] + _STREETS[m[2].lower()]),
    rule(rf"(?<=[0-9](?:st|nd|rd|th) )(st|ave|rd|blvd){POINT_OR_NONE}(?!\w)",
         lambda m: _SUFFIXES[m[1].lower()], re.IGNORECASE),
)  # fmt: skip


def _after_name(match: re.Match[str]) -> str:
    return _AFTER_NAME[match[1].lower()] if match[1][0].isupper() else match[0]


AFTER_NAMES = (
    rule(rf"(?<=[\w,] )({either(_AFTER_NAME)}){POINT}", _after_name, re.IGNORECASE),
    rule(rf"(?<=[A-Za-z0-9,] )({either(map(str.capitalize, _NO_POINT_NEEDED))})\b(?!['.-])",
         _after_name),
)  # fmt: skip

# Roman numerals

_LETTERS = r"(?=[IVXLCDM])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_ROMAN = rf"{_LETTERS}(?![A-Za-z0-9])"
_SMALL = r"(?=[IVX])X{0,3}(?:IX|IV|V?I{0,3})(?![A-Za-z0-9])"
_SEVERAL = rf"(?=[IVXLCDM]{{2}}){_ROMAN}"
_NUMERAL = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_REIGNS = (
    *("Henry", "Louis", "George", "Elizabeth", "Edward", "Charles", "James", "Richard", "William"),
    *("Mary", "John", "Paul", "Pius", "Leo", "Benedict", "Francis", "Gregory", "Innocent", "Ivan"),
    *("Alexander", "Catherine", "Peter", "Nicholas", "Frederick", "Philip", "Anne", "Ferdinand"),
    *("Napoleon", "Ramses", "Rameses", "Ramesses", "Ptolemy", "Clement", "Urban", "Julius", "Otto"),
    *("Sixtus", "Harald", "Olav", "Christian", "Gustav", "Carl", "Alfonso", "Xerxes", "Darius"),
    *("Cleopatra", "Margaret", "Robert", "Malcolm", "Wilhelm", "Friedrich", "Karl", "Albert"),
    *("Leopold", "Baldwin", "Stephen", "Victor", "Umberto", "Isabella", "Maria", "Sigismund"),
    *("Boniface", "Eugene", "Celestine", "Adrian", "Martin", "Haakon", "Erik", "Eric", "Joseph"),
    *("Theodore", "Constantine", "Mehmed", "Murad", "Selim", "Thutmose", "Amenhotep", "Pedro"),
    *("Rama", "Juan", "Manuel", "Emmanuel", "Rudolf", "Maximilian", "Franz", "Felipe", "Carlos"),
)
# others whose sons and grandsons are told apart: "Sam the Second", "James Brown the Second"
_GIVEN = (
    *("Sam", "Samuel", "Thomas", "Tom", "David", "Michael", "Daniel", "Matthew", "Mark", "Andrew"),
    *("Anthony", "Arthur", "Ben", "Benjamin", "Bill", "Bob", "Bruce", "Calvin", "Chris"),
    *("Christopher", "Davis", "Donald", "Douglas", "Edwin", "Ernest", "Frank", "Franklin", "Fred"),
    *("Gary", "Gerald", "Harold", "Harry", "Howard", "Hugh", "Jack", "Jacob", "Jim", "Joe"),
    *("Jonathan", "Kenneth", "Kevin", "Larry", "Lawrence", "Lewis", "Luke", "Marcus", "Nathan"),
    *("Nathaniel", "Oliver", "Oscar", "Patrick", "Ralph", "Raymond", "Roger", "Ronald", "Roy"),
    *("Russell", "Simon", "Steven", "Theo", "Timothy", "Vincent", "Walter", "Wayne", "Will"),
)
# "X" is the tenth of these; Malcolm X and Mister X are not
_TENTH = ("Leo", "Pius", "Louis", "Charles", "Gregory", "John", "Benedict", "Boniface", "Clement",
          "Innocent", "Alfonso", "Christian", "Frederick", "Stephen", "Karl", "Carl", "Ptolemy",
          "Ramses", "Rameses", "Ramesses", "Rama")  # fmt: skip
_CROWN = "King|Queen|Pope|Emperor|Empress|Tsar|Czar|Kaiser|Prince|Sultan|Pharaoh"
# after a king, what shows that I is his number and not the speaker
_NOT_THE_SPEAKER = (
    r"(?='s|[.,;:!?)]|$|\s+(?:of|and|was|is|ruled|reigned|died|became|succeeded|to|in|on|at|by|"
    r"from|until|the|begins|ends|opens|or|has)\b|\s*-)"
)
# these have a part I; and the speaker may come after them
_WORKS = ("Chapter", "Part", "Act", "Scene", "Volume", "Vol", "Book", "Section", "Article", "Title",
          "Episode", "Season", "Lesson", "Canto", "Step", "Unit", "Psalm", "Symphony",
          "Sonata", "Movement", "Round", "Game", "Week", "Day", "Plate", "Exhibit")  # fmt: skip
_KINDS = ("Phase", "Type", "Level", "Stage", "Class", "Appendix", "Figure", "Table", "War", "Bowl",
          "Mark", "Group", "Grade", "Annex", "Factor", "Division", "Tier", "Category",
          "Schedule")  # fmt: skip
_ORDINAL_BEFORE = ("century", "centuries", "dynasty", "Dynasty", "Olympiad", "Olympic", "Congress",
                   "Corps", "Airborne", "Legion")  # fmt: skip


def _value(numeral: str) -> int:
    digits = [_NUMERAL[letter] for letter in numeral]
    following = [*digits[1:], 0]
    return sum(-d if d < n else d for d, n in zip(digits, following, strict=True))


def _title_case(words: str) -> str:
    return "-".join(word.capitalize() for word in words.split("-"))


def _reign(match: re.Match[str]) -> str:
    *names, numeral = match.groups()
    return f"{' '.join(names)} the {_title_case(ordinal(_value(numeral)))}"


def _world_war(match: re.Match[str]) -> str:
    count = int(match[1]) if match[1].isdecimal() else _value(match[1])
    return f"World War {_title_case(cardinal(count))}"


def _centuries(match: re.Match[str]) -> str:
    until = f" to {ordinal(_value(match[2]))}" if match[2] else ""
    return f"{ordinal(_value(match[1]))}{until} {match[3]}"


def _keyword(words: tuple[str, ...]) -> str:
    """A keyword with a capital, or all in capitals."""
    return either([*words, *map(str.upper, words)])


def _counted(match: re.Match[str]) -> str:
    return f"{match[1]} {cardinal(_value(match[2]))}"


_CROWNED = either(_REIGNS)
_PERSON = either([*_REIGNS, *_GIVEN])
ROMAN = (
    rule(r"\b(?:WW\s?|World War |WORLD WAR |First World War |Second World War )"
         r"(I{1,3}|[123])(?![\w.])", _world_war),
    rule(rf"\b({_LETTERS})(?:th)?(?:\s?[-\u2013]\s?({_LETTERS})(?:th)?)?"
         rf"\s({either(_ORDINAL_BEFORE)})\b", _centuries),
    rule(rf"\b((?:{_CROWN}) (?:{_PERSON})) (I|X)\b(?!'[^s]|\.\w|\s+(?:am|have|think|know)\b)",
         _reign),
    rule(rf"\b({_CROWNED}) (I)\b(?!\.\w){_NOT_THE_SPEAKER}", _reign),
    rule(rf"\b({either(_TENTH)}) (X)\b(?!'[^s]|\.\w)", _reign),
    rule(rf"\b({_PERSON}) (?![IX]\b)({_SMALL})(?!\.\w|'[^s])", _reign),
    rule(rf"\b({_PERSON}) ((?:[A-Z]\.? |[A-Z][\w'-]+ ){{0,2}}[A-Z][\w'-]+) "
         rf"(?=[IVX]{{2}}|V\b)({_SMALL})(?!\.\w|'[^s])", _reign),
    rule(rf"\b({_keyword(_WORKS)}) (I)\b(?!\.\w){_NOT_THE_SPEAKER}", _counted),
    rule(rf"\b({_keyword(_WORKS)}) (?![ICDLM]\b)({_ROMAN})(?!'|\.\w)", _counted),
    rule(rf"\b({_keyword(_KINDS)}) (?![CDLMX]\b)({_ROMAN})(?!'|\.\w)", _counted),
    rule(rf"\b({either(map(str.lower, (*_WORKS, *_KINDS)))}) ({_SEVERAL})(?!'|\.\w)", _counted),
    rule(rf"\b(?!{OPENER})([A-Z][a-z]+) (?=[IVX]{{2}})({_SMALL})(?![\w-])", _counted),
    rule(rf"\b(?=M[MDCLXVI]{{3}})({_ROMAN})(?!['.]\w)", lambda m: year(_value(m[1]))),
)  # fmt: skip

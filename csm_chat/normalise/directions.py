"""Stage directions in a line: `*laughs*`, `(sighs softly)`, `[clears throat]`.

What is emphasised or put in brackets as part of what is said is none. Which it is, the tables
below decide: a word between stars or in round brackets has to name a sound or a manner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from csm_chat.normalise.rules import either

# Whoever is said to do these is heard doing them, or seen.
_DOES = {
    "laugh": "laughs laughing", "chuckle": "chuckles chuckling", "giggle": "giggles giggling",
    "snicker": "snickers snickering", "cackle": "cackles cackling", "snort": "snorts snorting",
    "scoff": "scoffs scoffing", "sigh": "sighs sighing", "exhale": "exhales exhaling",
    "inhale": "inhales inhaling", "gasp": "gasps gasping", "pant": "pants panting",
    "gulp": "gulps gulping", "cough": "coughs coughing", "sneeze": "sneezes sneezing",
    "sniff": "sniffs sniffing", "sniffle": "sniffles sniffling", "hiccup": "hiccups hiccuping",
    "burp": "burps burping", "yawn": "yawns yawning", "snore": "snores snoring",
    "sob": "sobs sobbing", "weep": "weeps weeping", "cry": "cries crying",
    "whimper": "whimpers whimpering", "groan": "groans groaning", "moan": "moans moaning",
    "grunt": "grunts grunting", "growl": "growls growling", "hiss": "hisses hissing",
    "whisper": "whispers whispering", "mutter": "mutters muttering",
    "mumble": "mumbles mumbling", "murmur": "murmurs murmuring", "shout": "shouts shouting",
    "yell": "yells yelling", "scream": "screams screaming", "shriek": "shrieks shrieking",
    "hum": "hums humming", "sing": "sings singing", "whistle": "whistles whistling",
    "smile": "smiles smiling", "grin": "grins grinning", "smirk": "smirks smirking",
    "frown": "frowns frowning", "nod": "nods nodding", "shrug": "shrugs shrugging",
    "wink": "winks winking", "clap": "claps clapping",
}  # fmt: skip
_HOW = (
    *("softly", "quietly", "loudly", "gently", "slowly", "quickly", "angrily", "sadly", "happily"),
    *("nervously", "excitedly", "sarcastically", "coldly", "warmly", "calmly", "sternly"),
    *("bitterly", "cheerfully", "dryly", "drily", "flatly", "firmly", "hesitantly", "tearfully"),
    *("playfully", "mockingly", "breathlessly", "deeply", "heavily", "wearily", "anxiously"),
    *("awkwardly", "furiously", "hysterically", "sheepishly", "hoarsely", "faintly", "lightly"),
)
_SELF = "(?:my|your|him|her|it|our|them)(?:self|selves)"
_WHOSE = "(?:(?:my|your|his|her|its|our|their) )?"
_PHRASES = (
    rf"(?:clears|clearing) {_WHOSE}throat",
    rf"(?:catches|catching|holds|holding) {_WHOSE}breath",
    r"(?:takes|taking|draws|drawing) a (?:deep |long |sharp )?breath",
    r"(?:bursts|bursting) (?:into tears|into laughter|out laughing)",
    r"blows (?:a kiss|raspberry|a raspberry)",
)
_MANNERS = (
    either(_HOW), "aside", rf"to {_SELF}", rf"under {_WHOSE}breath", "through tears",
    r"in an? (?:low |soft |loud |hushed )?(?:whisper|voice)", r"with a (?:sigh|laugh|smile|grin)",
)  # fmt: skip
# what people write between stars without an s: "*sigh* Fine."
_NAMED = (
    *("sigh", "cough", "gasp", "gulp", "yawn", "sniff", "sniffle", "sob", "snort", "giggle"),
    *("chuckle", "groan", "grunt", "hiccup", "sneeze", "burp", "shrug", "laughter", "applause"),
)
_ACTS = "|".join([either(" ".join(_DOES.values()).split()), *_PHRASES])
_MANNER = "|".join(_MANNERS)
_ALSO = rf"(?:,? (?:and |then |and then )?(?:{_ACTS})|,? (?:a little|a bit|{_MANNER}))"
# one that is a direction wherever it stands, and one that is only where a sentence begins
_ACT = rf"(?:(?:he|she|everyone|everybody) )?(?:{either(_HOW)} )?(?:{_ACTS}){_ALSO}{{0,3}}"
_BASE, _ONLY = either({*_DOES, *_NAMED}), rf"(?:very |more )?(?:{_MANNER})"

_N_WORDS = 8  # in square brackets, at most
_SQUARE = rf"(?!pause\b|beat\b)[a-z][a-z'\u2019-]+(?:,? [a-z'\u2019-]+){{0,{_N_WORDS - 1}}}"
# `*` behind words that it stresses the next of: "She *laughs* at it", "he is *crying*"
_STRESSED = re.compile(
    r"(?:\b(?:he|she|it|who|that|which|nobody|everybody|never|always|only|am|are|is|was|were|be"
    r"|been|not)|['\u2019](?:m|s|re))\s*$",
    re.IGNORECASE,
)
# "the (nodding) dog", "his *laughing* eyes": a noun follows
_OF_A_NOUN = re.compile(
    r"\b(?:the|an?|this|that|these|those|my|your|his|her|its|our|their|no)$", re.IGNORECASE
)
_N_BEFORE = 20  # characters looked at in front of one
_BEFORE_SENTENCES = '.!?:;\u2026\u2014"\u201c\u201d*)]'
_OPENING, _CLOSING = "\"'\u201c\u2018([", ".,;:!?\u2026)"
_DIRECTION = re.compile(
    rf"(?<![\w*])(?P<stars>\*{{1,3}})(?:(?P<stressed>{_ACT})|(?P<first>{either(_NAMED)}|{_ONLY}))[.!]?"
    r"(?P=stars)(?![\w*])"
    rf"|(?<!\w)\((?:(?P<round>{_ACT}|{_BASE})|(?P<first_in_round>{_ONLY}))[.!]?\)(?!\w)"
    rf"|(?<!\w)\[(?:(?:\w+ )?(?:{_ACT})|{_BASE}|{_ONLY})[.!]?\](?![\w(])"
    # not [text][name] of Markdown
    rf"|(?<![\w\])])\[(?-i:{_SQUARE})[.!]?\](?![\w(\[])",
    re.IGNORECASE,
)


def find_directions(text: str) -> Iterator[re.Match[str]]:
    """Each one where it stands, with its marks."""
    if "*" in text or "(" in text or "[" in text:
        yield from filter(_is_direction, _DIRECTION.finditer(text))


def without_directions(text: str) -> str:
    """The text without them, and without the spaces that they stood between."""
    pieces, at = [], 0
    for match in find_directions(text):
        pieces.append(text[at : match.start()])
        at = match.end()
    if not at:
        return text
    said = ""
    for piece in [*pieces, text[at:]]:
        is_close = said[-1:] in _OPENING or piece.lstrip()[:1] in _CLOSING
        said = said.rstrip() + ("" if is_close else " ") + piece.lstrip()
    return said.strip()


def _is_direction(match: re.Match[str]) -> bool:
    text, start = match.string, match.start()
    before = text[max(0, start - _N_BEFORE) : start].rstrip()
    if (match["stressed"] or match["round"]) and _OF_A_NOUN.search(before):
        return False
    if match["stressed"]:
        opens = match["stressed"].endswith("ing") and text[match.end() : match.end() + 1] == ","
        return not opens and not _STRESSED.search(before)  # "*Laughing*, she left"
    if match["first"] or match["first_in_round"]:
        # "*Sadly*, he died" stresses a word of the sentence
        begins = not before or before[-1] in _BEFORE_SENTENCES
        return begins and text[match.end() : match.end() + 1] != ","
    return True

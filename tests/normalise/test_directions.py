"""Stage directions are told from what is emphasised or put in brackets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.conversation.reading import Reading
from csm_chat.errors import EntryError
from csm_chat.normalise.directions import without_directions

DROPPED = [
    ("*laughs* Hi.", "Hi."),
    ("Hi (laughs), there.", "Hi, there."),
    ("Hi *laughs* there", "Hi there"),
    ("Oh (chuckles)!", "Oh!"),
    ("Yes. [sighs] No.", "Yes. No."),
    ("[Laughs] ha", "ha"),
    ("(LAUGHS) ha", "ha"),
    ("**laughs** ha", "ha"),
    ("*clears throat* So.", "So."),
    ("(clears her throat) So.", "So."),
    ("(laughs nervously, then coughs) ok", "ok"),
    ("(whispering to himself) Run.", "Run."),
    ("(softly) I know.", "I know."),
    ("Get out! (softly) Please.", "Get out! Please."),
    ("*to herself* Never.", "Never."),
    ("(under her breath) Fool.", "Fool."),
    ("*sigh* fine", "fine"),
    ("That is, (sigh), late.", "That is,, late."),
    ("[door opens] Who is it?", "Who is it?"),
    ("[he walks slowly to the door] Bye.", "Bye."),
    ('"*laughs* Yes", she said', '"Yes", she said'),
    ("Hi.\n*laughs*\nYou.", "Hi. You."),
    ("*laughs* *coughs* (sighs)", ""),
    ("[laughs][coughs] Hi.", "Hi."),
    ("(She sighs.) *he laughs* [Ana giggles] Hi.", "Hi."),
]
SPOKEN = [
    "I *really* mean it.",
    "Open the book (see page 4).",
    "He left (quietly) by the door.",
    "*Sadly*, he died.",
    "Walk *softly*.",
    "*Sing* it, *shout* it!",
    "She *laughs* at you, he is *crying*.",
    "You're *whispering*.",
    "I heard a *cough*.",
    "The (nodding) dog, his *laughing* eyes.",
    "*Laughing*, she left.",
    "see [the text][name]",
    "(laughing fits are common)",
    "(pause) (beat) [pause] [beat] (pause 0.8)",
    "a[index] and f(laughs)",
    "[laughs](https://a.b) [1] [x] [Note: this] [A]",
    "5 * 3 * laughs * 2",
    "/* laughs */",
    "The cost (in dollars) is [REDACTED].",
    "(",
    "*",
]


@pytest.mark.parametrize(("text", "left"), DROPPED)
def test_a_direction_is_left_out_with_its_marks(text: str, left: str) -> None:
    assert without_directions(text) == left
    assert Reading(directions="speak", normalize=False)(text) == text


@pytest.mark.parametrize("text", SPOKEN)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert without_directions(text) == text


@pytest.mark.parametrize(
    ("directions", "read"),
    [
        ("drop", "So, twelve."),
        ("keep", "*laughs* So, (sighs) twelve [coughs]."),
        ("speak", "laughs So, sighs, twelve, coughs."),
    ],
)
def test_the_model_reads_directions_as_the_setting_says(directions: str, read: str) -> None:
    assert Reading(directions=directions)("*laughs* So, (sighs) 12 [coughs]") == read


def test_a_kept_one_is_given_as_typed_without_normalising_too() -> None:
    assert Reading(normalize=False, directions="keep")("*laughs* 12") == "*laughs* 12"
    assert Reading(normalize=False)("*laughs* 12") == "12"


@pytest.mark.parametrize("text", ["*laughs*", "(sighs). [door opens]"])
def test_a_line_of_nothing_else_has_nothing_to_say_when_they_are_dropped(text: str) -> None:
    with pytest.raises(EntryError, match="stage directions are not read"):
        Reading().refuse_silence(text)
    Reading(directions="keep").refuse_silence(text)
    Reading(directions="speak").refuse_silence(text)


@given(st.lists(st.sampled_from(["*laughs*", "(sighs)", "5 km", "$4", "Hi.", "\u3400", "so", ","])))
def test_none_is_lost_or_moved_where_they_are_kept(words: list[str]) -> None:
    read = Reading(directions="keep")(" ".join(words))
    kept = [word for word in words if word in ("*laughs*", "(sighs)")]
    places, at = [], 0
    for direction in kept:
        at = read.index(direction, at)
        places.append(at)
        at += len(direction)
    assert len(places) == len(kept)


@given(st.text("*()[]laughs sighs,.", max_size=60))
def test_leaving_them_out_never_fails_and_adds_nothing(text: str) -> None:
    assert len(without_directions(text)) <= len(text)

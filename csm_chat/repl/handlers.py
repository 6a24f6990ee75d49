"""What each command does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from csm_chat.casting.names import by_name, folded, label
from csm_chat.config.override import named
from csm_chat.config.settings import MAX_SPEAKER, Config, keys, speaker_keys
from csm_chat.conversation.directing import LEAST_TAKES, MOST_TAKES, check_n_takes
from csm_chat.conversation.grammar import Entry, parse
from csm_chat.conversation.reading import pieces
from csm_chat.errors import ConfigError, EntryError
from csm_chat.normalise.lexicon import Lexicon, LexiconError, parse_entry
from csm_chat.repl.toolbar import stats as stats_text
from csm_chat.types import FRAMES_PER_S, Utterance, Voice
from csm_chat.visible import one_line

if TYPE_CHECKING:
    from csm_chat.conversation.session import Session
    from csm_chat.repl.worker.worker import Worker

DEMO = (
    "Hello! Can you hear me?",
    "Yes, loud and clear.",
    "Good. Type a line, and I will say it.",
    "Two bars between lines make a scene, like this one.",
    "Where do our voices come from?",
    "From short clips in a folder. Put yours beside them.",
)
STARTS_WITH = 40  # characters shown of what a voice says
MOST_LISTED = 40  # entries of the lexicon: what fits a screen


@dataclass(slots=True)
class PromptState:
    """What the prompt knows between lines."""

    worker: Worker
    speaker: int = 0  # who says the next line
    leaving: bool = False

    @property
    def config(self) -> Config:
        return self.worker.config

    @property
    def names(self) -> Mapping[int, str]:
        return self.worker.speakers()

    def parsed(self, line: str) -> Entry:
        """What a line would say. Raises EntryError."""
        return parse(
            *(line, self.speaker, self.names, self.config.offsets),
            moods=self.worker.moods(),
            taken=self.worker.taken(),
        )

    @property
    def name(self) -> str:
        return label(self.speaker, self.names)


Run = Callable[[PromptState, str], str | None]
Complete = Callable[[PromptState], Iterable[str]]


def on_session(act: Callable[[Session], str]) -> Run:
    """A command that is queued for the session."""

    def run(state: PromptState, _: str) -> None:
        state.worker.run(act)

    return run


def of_session(question: Callable[[Session], str]) -> Run:
    """A command that only looks, and answers while the session is busy, too."""

    def run(state: PromptState, _: str) -> str:
        return state.worker.ask(question)

    return run


def clear(session: Session) -> str:
    session.clear()
    return "The dialogue is forgotten; the voices stay."


def undo(session: Session) -> str:
    before = session.turns
    turn = session.undo()
    if turn is None:
        return "There is no turn to take back."
    last = session.turns[-1].segment.text if session.turns else None
    now = f'The dialogue now ends with "{last}".' if last else "The dialogue is empty now."
    if back := [each.segment.text for each in session.turns if each not in before]:
        now = f'"{back[0]}"{f" and {len(back) - 1} more" * (len(back) > 1)} came back.'
    return one_line(
        f'"{turn.segment.text}" is no longer part of the dialogue (its file stays). {now}'
    )


def show_history(state: PromptState, _: str) -> str:
    names = state.names
    return state.worker.ask(lambda session: session.history(names)) or "Nothing was said yet."


def list_voices(state: PromptState, _: str) -> str:
    new = [
        f"{n:3} {one_line(name)}  a random voice" for n, name in state.worker.newcomers().items()
    ]
    return "\n".join([state.worker.ask(_voices), *new])


def _voices(session: Session) -> str:
    if not session.voices:
        return "There are no voices: each speaker gets a random one."
    listed = [each for voice in session.voices for each in _in_all_moods(voice)]
    width = max(len(voice.name) for voice in listed)
    return "\n".join(_voice(voice, width) for voice in listed)


def _in_all_moods(voice: Voice) -> Iterable[Voice]:
    yield voice
    for mood in voice.moods:
        yield replace(voice.in_mood(mood), name=f"{voice.name} ({mood})")


def _voice(voice: Voice, width: int) -> str:
    seconds = sum(len(segment.codes) for segment in voice.segments) / FRAMES_PER_S
    text = " ".join(segment.text for segment in voice.segments)
    shown = text if len(text) <= STARTS_WITH else f"{text[:STARTS_WITH].rstrip()}..."
    return one_line(f'{voice.speaker:3} {voice.name:{width}} {seconds:5.1f} s  "{shown}"')


def swap(state: PromptState, _: str) -> str:
    state.speaker += 1
    return f"Now speaking: {state.name}."


def back(state: PromptState, _: str) -> str:
    if state.speaker == 0:
        return f"{state.name} is the first speaker already."
    state.speaker -= 1
    return f"Now speaking: {state.name}."


def choose_speaker(state: PromptState, argument: str) -> str:
    names = state.names
    if not argument:
        numbers = sorted({*names, state.speaker})
        return "\n".join(
            f"{number:3} {label(number, names)}{'  (now)' if number == state.speaker else ''}"
            for number in numbers
        )
    known = by_name(names)
    if argument.isdecimal():
        if len(argument) > len(str(MAX_SPEAKER)):
            raise EntryError(f"There is no speaker {argument}: they are 0 - {MAX_SPEAKER}.")
        state.speaker = int(argument)
    elif folded(argument) in known:
        state.speaker = known[folded(argument)]
    else:
        near = get_close_matches(folded(argument), known, n=1)
        hint = f"Did you mean {names[known[near[0]]]}?" if near else "$SPEAKER$ lists them."
        raise EntryError(f'There is no speaker "{argument}". {hint} A number works always.')
    return f"Now speaking: {state.name}."


def show_reading(state: PromptState, argument: str) -> str:
    """What the model would read, a line a turn. Does not need the model."""
    config = state.config
    read = state.worker.reading
    entry = state.parsed(argument)
    if all(read.says_nothing(each.text) and not each.is_silence for each in entry.utterances):
        read.refuse_silence(argument)
    longest_s = config.context.max_turn_s
    shown: list[str] = []
    for each in entry.utterances:
        own = state.worker.reading_by(each.speaker)
        texts = [] if read.says_nothing(each.text) else pieces(each.text, longest_s, own)
        before = [f"(pause {each.pause_s:g})"] if each.pause_s else []
        after = [f"(pause {each.rest_s:g})"] if each.rest_s else []
        shown += [*before, *map(own, texts), *after]
    return "\n".join(map(one_line, [*shown, *entry.notes]))


def change_lexicon(state: PromptState, argument: str) -> str | None:
    """Queue one more entry; alone, those that hold for the next line."""
    if not argument:
        return _listed(state.worker.reading.lexicon)
    try:
        entry = parse_entry(argument)
    except LexiconError as error:
        raise EntryError(f"lexicon: {error}. Nothing was changed.") from error
    state.worker.add_to_lexicon(entry)
    return None


def _listed(lexicon: Lexicon) -> str:
    """The last entries, which are those that were typed."""
    written = [one_line(entry.written) for entry in lexicon.entries]
    if not written:
        return (
            "The lexicon is empty. $LEXICON Nguyen = win$ adds an entry for now, a line "
            "in lexicon.txt beside the references folder for good."
        )
    n_before = len(written) - MOST_LISTED
    return "\n".join([f"... {n_before} before"] * (n_before > 0) + written[-MOST_LISTED:])


def lexicon_entries(state: PromptState) -> Iterable[str]:
    return (entry.written for entry in state.worker.reading.lexicon.entries)


def leave(state: PromptState, _: str) -> None:
    state.leaving = True


def retry(state: PromptState, _: str) -> None:
    state.worker.retry()


def demo(state: PromptState, _: str) -> str:
    """Two speakers take turns; what they say is shown at once."""
    utterances = tuple(Utterance(text, index % 2) for index, text in enumerate(DEMO))
    state.worker.say(utterances)
    return "\n".join(f"{label(u.speaker, state.names)}: {u.text}" for u in utterances)


def replay(state: PromptState, argument: str) -> None:
    state.worker.replay(int(argument) if argument else None)


def takes(state: PromptState, argument: str) -> None:
    check_n_takes(int(argument))
    state.worker.takes(int(argument))


def pick(state: PromptState, argument: str) -> None:
    state.worker.pick(int(argument))


def edit(*, onward: bool) -> Run:
    """A command that says a turn anew; `onward` those behind it, too."""

    def run(state: PromptState, argument: str) -> None:
        number, text = argument.split(maxsplit=1)
        state.worker.edit(int(number), text, onward=onward)

    return run


def seed(state: PromptState, argument: str) -> None:
    change_setting(state, f"sampling.seed {argument}")
    first = state.config.sampling.seed

    def count_anew(session: Session) -> str:
        session.reseed(first)  # also when it was that seed before
        return ""

    state.worker.run(count_anew)


def change_setting(state: PromptState, argument: str) -> None:
    key, value = argument.split(maxsplit=1)
    before = state.config
    try:
        _check_speaker(state, named(key).name)
        state.worker.set(key, value)
    except ConfigError as error:
        raise EntryError(str(error)) from error
    if state.config.speaker != before.speaker:
        state.speaker = state.config.speaker


def _check_speaker(state: PromptState, key: str) -> None:
    """Raise EntryError for a setting of a speaker whom nobody knows."""
    speaker = key.removeprefix("speakers.").rpartition(".")[0]
    known = by_name(state.names)
    if speaker == key.rpartition(".")[0] or speaker.isdecimal() or speaker in known:
        return
    near = get_close_matches(speaker, known, n=1)
    hint = f"Did you mean {state.names[known[near[0]]]}?" if near else "$SPEAKER$ lists them."
    raise EntryError(f'There is no speaker "{speaker}". {hint} A number works always.')


def check(state: PromptState, argument: str) -> str | None:
    """Set whether takes are heard; alone, tell."""
    if argument:
        mode = "words" if argument.lower() == "on" else argument.lower()
        change_setting(state, f"check.mode {mode}")
        state.worker.check_anew()
        return None
    if state.config.check.mode == "off":
        return "Takes are not checked; $CHECK on$ has Whisper hear them."
    return "Takes are heard by Whisper while nobody waits; what is wrong with one is told."


def modes_of_checking(_: PromptState) -> Iterable[str]:
    return ("on", "off", "words")


def reload(state: PromptState, _: str) -> None:
    state.worker.reload()


def open_audio(state: PromptState, argument: str) -> None:
    state.worker.set_audio(argument or None)


def show_stats(state: PromptState, _: str) -> str:
    return stats_text(state.worker.status())


def speakers(state: PromptState) -> Iterable[str]:
    return state.names.values()


def settings(state: PromptState) -> Iterable[str]:
    yield from (key.name for key in keys() if key.live and key.kind is not dict)
    own = [key.name for key in speaker_keys() if key.live]
    for number, name in state.names.items():
        # what comes behind it is the value: a name of several words is given by its number
        yield from (f"{number if ' ' in name else name.casefold()}.{tail}" for tail in own)


def devices(state: PromptState) -> Iterable[str]:
    return dict.fromkeys(["default", "off", state.worker.status().audio])


def seeds(_: PromptState) -> Iterable[str]:
    return ("random",)


def numbers_of_takes(_: PromptState) -> Iterable[str]:
    return map(str, range(LEAST_TAKES, MOST_TAKES + 1))


def offered(state: PromptState) -> Iterable[str]:
    return (str(place) for place in range(1, state.worker.n_offered() + 1))


def turns(state: PromptState) -> Iterable[str]:
    """Each with its number and its text, to be changed."""
    return (f"{number} {one_line(text)}" for number, text in state.worker.numbered().items())

"""A script is said, turn by turn, each one saved as soon as it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from csm_chat.casting.names import label
from csm_chat.conversation.session import Session
from csm_chat.conversation.take import whole
from csm_chat.scene.digests import first_key, next_key
from csm_chat.scene.folder import SavedTurn, SceneFolder
from csm_chat.scene.picks import seed_of
from csm_chat.scene.script import Script, ScriptTurn, added, piece_of
from csm_chat.shape.overlap import SENTENCE_GAP_S
from csm_chat.types import SAMPLE_RATE, Pcm, Segment, Timings, Turn, Utterance

MAX_RETRIES = 2  # of a take that did not end by itself

Heard = Callable[[float], None]  # gets the seconds of the turn that is being said


@dataclass(frozen=True, slots=True, eq=False)
class PlannedTurn:
    """A turn, and what the folder holds of it."""

    asked: ScriptTurn
    number: int
    seed: int
    key: str
    saved: SavedTurn | None  # None: still to be said
    is_picked: bool = False  # somebody chose this take of it


def split_turns(script: Script, session: Session, gap_s: float) -> tuple[ScriptTurn, ...]:
    """The script's turns, those too long for one take in pieces, those without a word left out.

    Raises EntryError where none has one.
    """
    turns: list[ScriptTurn] = []
    left_s: float | None = None  # silence before turns that were left out
    for turn in script.turns:
        if session.reading.says_nothing(turn.utterance.text):
            session.leave_out(turn.utterance.text)
            left_s = added(left_s, turn.pause_s)
            continue
        pieces = session.split(turn.utterance)
        turns.append(piece_of(turn, pieces[0].text, added(left_s, turn.pause_s)))
        left_s = None
        between_s = min(max(0.0, gap_s), SENTENCE_GAP_S)
        turns += [piece_of(turn, piece.text, between_s) for piece in pieces[1:]]
    if not turns:
        session.reading.refuse_silence(script.turns[0].utterance.text)
    return tuple(turns)


def plan(
    turns: Sequence[ScriptTurn],
    session: Session,
    folder: SceneFolder,
    seed: int,
    picks: Mapping[int, int] = MappingProxyType({}),
) -> list[PlannedTurn]:
    """What is finished and what is to be said: from the first turn on that has changed, all.

    A turn's seed follows from `seed`, its number and its pick, so how it comes out depends on the
    script and its picks alone.
    """
    planned: list[PlannedTurn] = []
    key = first_key(session)
    is_known = True
    for number, asked in enumerate(turns, 1):
        own_seed, is_picked = seed_of(seed, number, picks), number in picks
        key = next_key(key, session, asked.utterance, own_seed, is_picked=is_picked)
        saved = folder.find(number, key) if is_known else None
        is_known = saved is not None
        planned.append(PlannedTurn(asked, number, own_seed, key, saved, is_picked))
    return planned


def speak(
    planned: Sequence[PlannedTurn],
    session: Session,
    folder: SceneFolder,
    names: Mapping[int, str],
    heard: Heard = lambda seconds: None,
) -> Iterator[SavedTurn]:
    """Say the turns in order, those that are finished by remembering them only.

    `session` is empty. Raises TakeError, ContextError.
    """
    for each in planned:
        utterance = each.asked.utterance
        saved = each.saved
        if saved is None:
            if session.checks:  # what a person chose is heard, and stays
                session.checks.makes_again = not each.is_picked
            pcm, turn = _take(session, utterance, each.seed, heard)
            name = label(utterance.speaker, names)
            saved = folder.keep(each.number, each.key, turn, pcm, name)
        elif saved.ended == "eos":
            session.restore(_turn_of(saved, utterance))
        yield saved


def _turn_of(saved: SavedTurn, utterance: Utterance) -> Turn:
    segment = Segment(utterance.speaker, utterance.text, saved.codes)
    timings = Timings(0, 0, saved.n_samples / SAMPLE_RATE)
    return Turn(segment, saved.seed, saved.ended, timings, utterance.mood)


def _take(session: Session, utterance: Utterance, seed: int, heard: Heard) -> tuple[Pcm, Turn]:
    """Say it, again with further seeds if it does not end by itself; the last take is kept.

    Every prompt is computed from nothing: a turn then comes out the same whether the turns before
    were said in this run or an earlier one.
    """
    for _ in range(1 + MAX_RETRIES):
        session.backend.engine.forget()
        session.reseed(seed)
        pcm, turn = whole(session.take(utterance), heard)
        seed = turn.seed + 1
        if turn.ended == "eos" or not session.sampling.temperature:
            break
    return pcm, turn

"""What the program tells the person who uses it: values of a kind, with data.

Each front end words them in one table: `wording`, `repl/wording`, `commands/terminal/wording`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from csm_chat.types import Verdict

log = logging.getLogger(__name__)


class Notice:
    """Any of those below."""

    __slots__ = ()


Listener = Callable[[Notice], None]


def log_only(notice: Notice) -> None:
    """The listener of who has none."""
    log.debug("%s", notice)


@dataclass(frozen=True, slots=True)
class Reporting:
    """Whom loading keeps informed, and who may stop it."""

    tell: Listener = log_only
    progress: Callable[[str], None] = log.debug  # gets a few words on the step under way
    is_cancelled: Callable[[], bool] = lambda: False  # asked several times a second


# the model


@dataclass(frozen=True, slots=True)
class BuiltinInstead(Notice):
    """The built-in voice speaks because CSM-1B is not here."""

    repo: str  # that CSM-1B can be had from
    size: str  # of what would be downloaded


@dataclass(frozen=True, slots=True)
class DownloadBegins(Notice):
    repo: str
    others: tuple[tuple[str, str], ...]  # file and repository of what comes from elsewhere
    left: str  # how much is to come, as "7.1 GB"
    folder: Path
    free: str  # on the disk
    here: str  # "2.1 GB of 7.1 GB"; empty where it is the first try


@dataclass(frozen=True, slots=True)
class MlxNotForIntel(Notice):
    pass


@dataclass(frozen=True, slots=True)
class QuantizeIgnored(Notice):
    wanted: str
    device: str  # that no packed weights are for


@dataclass(frozen=True, slots=True)
class WeightsStayPacked(Notice):
    wanted: str
    folder: Path
    mode: str  # that they are in


@dataclass(frozen=True, slots=True)
class PackedDamaged(Notice):
    folder: Path


@dataclass(frozen=True, slots=True)
class Packing(Notice):
    mode: str


@dataclass(frozen=True, slots=True)
class PackedUnsaved(Notice):
    error: str


@dataclass(frozen=True, slots=True)
class NoGraphs(Notice):
    """Frames are computed without CUDA graphs."""

    reason: str


@dataclass(frozen=True, slots=True)
class ModelReady(Notice):
    name: str
    device: str
    numbers: str  # what it computes with, as "bfloat16" or "int8 weights"
    rtf: float | None  # compute time over audio time; None: too little to measure


@dataclass(frozen=True, slots=True)
class NoRoomToSpeak(Notice):
    """The voices leave no room for a line."""

    error: str


# voices


@dataclass(frozen=True, slots=True)
class ReferencesUnlisted(Notice):
    folder: Path
    reason: str


@dataclass(frozen=True, slots=True)
class ReferencesMissing(Notice):
    """There is no such folder."""

    folder: Path


@dataclass(frozen=True, slots=True)
class NoReferences(Notice):
    folder: Path


@dataclass(frozen=True, slots=True)
class ReferenceRefused(Notice):
    """A file whose name cannot serve."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReferenceSkipped(Notice):
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class VoiceGone(Notice):
    file: str
    speaker: int
    mood: str = ""  # it is that mood's clip which is gone


@dataclass(frozen=True, slots=True)
class VoiceRead(Notice):
    file: str
    speaker: int
    name: str
    is_changed: bool  # since it was read last
    done: tuple[str, ...]  # to the clip
    warnings: tuple[str, ...]
    mood: str = ""


@dataclass(frozen=True, slots=True)
class TranscriptEmpty(Notice):
    file: str


@dataclass(frozen=True, slots=True)
class Transcribing(Notice):
    file: str


@dataclass(frozen=True, slots=True)
class TranscriptSaved(Notice):
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptUnsaved(Notice):
    path: Path
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClipCodesUnsaved(Notice):
    folder: Path
    reason: str


@dataclass(frozen=True, slots=True)
class KeptCodesDamaged(Notice):
    file: str  # that they were of
    folder: Path


@dataclass(frozen=True, slots=True)
class WhisperDownload(Notice):
    path: Path
    size_mb: float


@dataclass(frozen=True, slots=True)
class LexiconUnread(Notice):
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class LexiconProblem(Notice):
    """A line that is no entry; the others hold."""

    path: Path
    problem: str  # begins with the line's number


@dataclass(frozen=True, slots=True)
class MoreLexiconProblems(Notice):
    path: Path
    n: int  # lines that are no entries, beside those that were told


# speech


@dataclass(frozen=True, slots=True)
class TextRemark(Notice):
    """How a text was read that is not written as it should be."""

    source: str  # where it is from
    remark: str


@dataclass(frozen=True, slots=True)
class NothingToSay(Notice):
    """A piece of what arrives that has no word in it."""

    text: str


@dataclass(frozen=True, slots=True)
class DirectionDropped(Notice):
    """A line has a stage direction, which is not read. Once a session."""

    direction: str


@dataclass(frozen=True, slots=True)
class ForeignScript(Notice):
    """A line is in letters that the model has not learnt. Once a session."""

    script: str


@dataclass(frozen=True, slots=True)
class TurnSplit(Notice):
    expected_s: float
    longest_s: float  # that a turn may be
    n_turns: int


@dataclass(frozen=True, slots=True)
class TurnsDropped(Notice):
    """The oldest turns have left the context."""

    texts: tuple[str, ...]
    n_rows: int


@dataclass(frozen=True, slots=True)
class EmptyTake(Notice):
    seed: int


@dataclass(frozen=True, slots=True)
class TakeStopped(Notice):
    """A take did not end by itself, so it is not part of the conversation."""

    reason: str


@dataclass(frozen=True, slots=True)
class TakeTooShort(Notice):
    """A take ended long before its text can have been said; it is no part of it either."""

    reason: str


@dataclass(frozen=True, slots=True)
class SaidAgain(Notice):
    """A take that was too short is made anew, unasked."""


@dataclass(frozen=True, slots=True)
class CheckFailed(Notice):
    """A take that was heard is not what was asked for."""

    number: int  # of its file; 0: it has none
    text: str
    verdict: Verdict
    is_again: bool = False  # it is made once more
    is_last: bool = False  # of what was said


@dataclass(frozen=True, slots=True)
class NothingHeard(Notice):
    """Takes cannot be heard, and go unchecked."""

    error: str


@dataclass(frozen=True, slots=True)
class VoicesUncompared(Notice):
    """Takes are heard, but whose voice it is cannot be told."""

    error: str


@dataclass(frozen=True, slots=True)
class TakeOffered(Notice):
    """One of several takes of the last line, to be picked or not."""

    place: int  # among them, from 1
    number: int  # of its file; 0: it has none
    seconds: float
    seed: int
    ended: str  # as `Turn.ended`
    verdict: Verdict | None = None  # where takes are checked


@dataclass(frozen=True, slots=True)
class TakesOffered(Notice):
    """Those are all."""

    n_good: int  # that can be picked


@dataclass(frozen=True, slots=True)
class TakePicked(Notice):
    place: int
    text: str


@dataclass(frozen=True, slots=True)
class TurnReplaced(Notice):
    """A turn of the dialogue was said anew; both by number."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class SceneJoined(Notice):
    """The file of a scene was made once more, with what was said anew."""

    path: Path


@dataclass(frozen=True, slots=True)
class RandomVoice(Notice):
    """A speaker without a clip."""

    speaker: int
    refused: str  # the clip that could have been one, and why it is none; empty: there is none
    name: str = ""


# sound and files


@dataclass(frozen=True, slots=True)
class SoundOpened(Notice):
    device: str


@dataclass(frozen=True, slots=True)
class NoSound(Notice):
    """The device cannot be opened."""

    error: str


@dataclass(frozen=True, slots=True)
class SoundLost(Notice):
    """The device went away."""

    error: str


@dataclass(frozen=True, slots=True)
class GapsHeard(Notice):
    n_starved: int  # the model did not deliver in time
    starved_s: float  # silence played while waiting for it
    n_device_underruns: int  # the machine was too busy to feed the device
    rtf: float | None  # compute time over audio time


@dataclass(frozen=True, slots=True)
class WatermarkOff(Notice):
    """The settings want none."""


@dataclass(frozen=True, slots=True)
class WatermarkOn(Notice):
    words: str  # what it is


@dataclass(frozen=True, slots=True)
class NoWatermark(Notice):
    """The one that the settings want cannot be had."""

    error: str


@dataclass(frozen=True, slots=True)
class TakeCutOff(Notice):
    """A take of an earlier run, which died while it was spoken."""

    path: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class TakesFolderGone(Notice):
    """Somebody removed the folder of this session's takes; it is made anew."""

    folder: Path


@dataclass(frozen=True, slots=True)
class TakeUnsaved(Notice):
    error: str
    kept: Path | None = None  # what was said before it failed


@dataclass(frozen=True, slots=True)
class RecordUnsaved(Notice):
    """A take is saved, but not the line about it."""

    path: Path
    error: str


@dataclass(frozen=True, slots=True)
class SceneUnsaved(Notice):
    error: str


UNSAVED = (TakeUnsaved, RecordUnsaved, SceneUnsaved)  # something that was to be on disk is not

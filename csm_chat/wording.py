"""Notices in words, as a program that uses the library is told them. Knows no front end.

A front end whose reader can do more about something has a table of its own over this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from csm_chat import notices
from csm_chat.notices import Listener, Notice
from csm_chat.types import Verdict
from csm_chat.visible import one_line

SHOWN_CHARS = 24  # of a turn's text

Wording = Mapping[type[Notice], Callable[[Any], str]]  # each kind by its words


def pace(rtf: float) -> str:
    """RTF in words."""
    fast = 1 / rtf
    if round(rtf, 1) == round(fast, 1) == 1.0:
        return "as fast as real time"
    return f"{fast:.1f}x faster than real time" if fast > 1 else f"{rtf:.1f}x slower than real time"


def gaps(heard: notices.GapsHeard, remedy: str) -> str:
    """`remedy` is how to have none where the model is slow."""
    parts = []
    if heard.n_starved:
        slow = heard.rtf and heard.rtf > 1.05
        speed = f"{heard.rtf:.1f}x slower than real time" if slow else "late"
        parts.append(
            f"{_counted(heard.n_starved, 'gap')}, {heard.starved_s:.1f} s"
            f" of waiting (model is {speed}; {remedy})"
        )
    if heard.n_device_underruns:
        parts.append(
            f"{_counted(heard.n_device_underruns, 'device underrun')}"
            " (machine too busy; a larger audio.latency_s helps)"
        )
    return "; ".join(parts)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n > 1)}"


def _download(begins: notices.DownloadBegins) -> str:
    others = "".join(f" with {file} of {repo}" for file, repo in begins.others)
    here = f", {begins.here} are here" if begins.here else ""
    sizes = f"{begins.left} to {begins.folder} (disk free {begins.free}{here})"
    return f"{begins.repo}{others}: {sizes}"


def _model(ready: notices.ModelReady) -> str:
    speed = f": {pace(ready.rtf)}" if ready.rtf else ""
    return f"model: {ready.name} on {ready.device}, {ready.numbers}{speed}"


def _voice(read: notices.VoiceRead) -> str:
    sign = "~" if read.is_changed or read.warnings else "+"
    parts = [*(["changed"] if read.is_changed else []), *read.done, *read.warnings]
    who = f"({read.name}), {read.mood}" if read.mood else f"({read.name})"
    return f"{sign} {read.file}   {', '.join(parts)} -> speaker {read.speaker} {who}"


def _voice_gone(gone: notices.VoiceGone) -> str:
    what = f"mood {gone.mood}" if gone.mood else "voice"
    return f"- {gone.file} -> speaker {gone.speaker} has no {what} now"


def _random_voice(of: notices.RandomVoice) -> str:
    if of.refused:
        return f"speaker {of.speaker} has a random voice: {of.refused}"
    if re.fullmatch(r"[\w .'-]+", of.name):
        return (
            f"{of.name} (speaker {of.speaker}) has no voice: it will be a random one. "
            f"reference-{of.name.casefold()}.wav in the references folder gives it one"
        )
    return (
        f"speaker {of.speaker} has no voice: it will be a random one. "
        f"reference{of.speaker or ''}.wav in the references folder gives it one"
    )


def _dropped(turns: notices.TurnsDropped) -> str:
    texts = turns.texts
    which = _quoted(texts[0])
    if len(texts) > 1:
        which = f"{len(texts)} turns, {which} to {_quoted(texts[-1])}"
    return f"context: dropped the oldest, {which} (-{turns.n_rows} rows)"


ENDED = {
    "eos": "",
    "cut": "cut short",
    "limit": "stopped at the longest a turn may last",
    "guard": "stopped as a runaway",
    "early": "ended far too early",
}


def _offered(take: notices.TakeOffered) -> str:
    how = ENDED.get(take.ended, take.ended) or "ended by itself"
    file = f"take {take.number}" if take.number else "not saved"
    told = f"; {heard(take.verdict)}" if take.verdict else ""
    return f"{take.place}  {file}: {take.seconds:.1f} s, seed {take.seed}, {how}{told}"


_PROBLEMS = {
    "words": "{0.n_wrong} of {0.n_words} words wrong",
    "start": "its first word was not heard",
    "end": "its last word was not heard",
    "cut": "it breaks off in a sound",
    "voice": "another voice (likeness {0.likeness:.2f})",
    "soft": "too soft ({0.level_db:.0f} dB)",
    "loud": "too loud ({0.level_db:.0f} dB)",
}


def heard(verdict: Verdict) -> str:
    """What was heard of a take, its likeness, and what is wrong with it."""
    words = f'heard "{verdict.heard}"' if verdict.heard else "heard no words"
    wrong = ", ".join(_PROBLEMS[each].format(verdict) for each in verdict.problems)
    told = wrong or (f"{_counted(verdict.n_wrong, 'word')} wrong" if verdict.n_wrong else "")
    like = verdict.likeness
    likeness = "" if like is None or "voice" in verdict.problems else f", likeness {like:.2f}"
    return f"{words}{f' ({told})' if told else ''}{likeness}"


def check_failed(failed: notices.CheckFailed, remedy: str) -> str:
    """`remedy` is what to do about a take that stays wrong."""
    which = f"take {failed.number}" if failed.number else _quoted(failed.text)
    told = f"{which}: {heard(failed.verdict)}"
    if failed.is_again:
        return f"{told}; it is said again with the next seed"
    tries = failed.verdict.tries
    best = f"; the best of {tries} takes" if tries > 1 else ""
    return f"{told}{best}{f'; {remedy}' if remedy else ''}"


def _take_unsaved(take: notices.TakeUnsaved) -> str:
    kept = f". What was said before is in {take.kept}" if take.kept else ""
    return f"{take.error}{kept}. Speech goes on"


def _quoted(text: str) -> str:
    return f'"{text}"' if len(text) <= SHOWN_CHARS else f'"{text[: SHOWN_CHARS - 1].rstrip()}…"'


GENERAL: Wording = {
    # the model
    notices.BuiltinInstead: (
        "the built-in voice speaks, small and synthetic; for CSM-1B, once "
        "({0.size}): csm-chat --model {0.repo}"
    ).format,
    notices.DownloadBegins: _download,
    notices.MlxNotForIntel: "backend mlx: not made for Intel Macs; torch computes".format,
    notices.QuantizeIgnored: (
        "quantize {0.wanted}: packed weights are for a cpu; on {0.device} none is used"
    ).format,
    notices.WeightsStayPacked: (
        "quantize {0.wanted}: the weights in {0.folder} are {0.mode} and stay so"
    ).format,
    notices.PackedDamaged: "{0.folder} is damaged: the weights are packed anew".format,
    notices.Packing: "packing the weights in {0.mode}, once; a large model takes a minute".format,
    notices.PackedUnsaved: (
        "packed weights are not kept, so each start packs them: {0.error}"
    ).format,
    notices.NoGraphs: ("no CUDA graphs, so frames take longer: {0.reason} (graphs: false)").format,
    notices.ModelReady: _model,
    notices.NoRoomToSpeak: "{0.error}".format,
    # voices
    notices.ReferencesUnlisted: "{0.folder}/ cannot be listed ({0.reason}): no voices yet".format,
    notices.ReferencesMissing: "there is no folder {0.folder}: no voices yet".format,
    notices.NoReferences: "{0.folder}/ holds no reference*.wav, .flac, .mp3 or .ogg yet".format,
    notices.ReferenceRefused: "{0.reason}".format,
    notices.ReferenceSkipped: "! {0.file}   {0.reason}. Skipped.".format,
    notices.VoiceGone: _voice_gone,
    notices.VoiceRead: _voice,
    notices.TranscriptEmpty: "~ {0.file}   is empty: as good as missing".format,
    notices.Transcribing: "  transcribing {0.file} ...".format,
    notices.TranscriptSaved: '  saved {0.path}, please check it: "{0.text}"'.format,
    notices.TranscriptUnsaved: (
        "~ {0.path}   cannot be saved ({0.reason}): heard {0.text!r}"
    ).format,
    notices.ClipCodesUnsaved: (
        "~ {0.folder}   cannot be written ({0.reason}): "
        "references are encoded again at the next start"
    ).format,
    notices.KeptCodesDamaged: (
        "~ {0.file}   what was kept of it in {0.folder} is damaged: made anew"
    ).format,
    notices.WhisperDownload: (
        "downloading Whisper's {0.path.name}, {0.size_mb:.0f} MB, to {0.path.parent}"
    ).format,
    notices.LexiconUnread: "{0.path} cannot be read ({0.reason}): words are said as spelt".format,
    notices.LexiconProblem: "{0.path}:{0.problem}; left out".format,
    notices.MoreLexiconProblems: "{0.path}: {0.n} more lines are no entries".format,
    # speech
    notices.TextRemark: "{0.source} {0.remark}".format,
    notices.ForeignScript: (
        "the model speaks English: of {0.script} letters it makes sounds, and no words"
    ).format,
    notices.DirectionDropped: (
        "stage directions, as {0.direction}, are not read; directions: keep gives them to the "
        "model, speak reads them as words"
    ).format,
    notices.NothingToSay: 'nothing to say in "{0.text}"; left out'.format,
    notices.TurnSplit: (
        "this may last {0.expected_s:.0f} s and a turn {0.longest_s:g} s "
        "(context.max_turn_s): split into {0.n_turns} turns"
    ).format,
    notices.TurnsDropped: _dropped,
    notices.EmptyTake: "seed {0.seed} gave no sound".format,
    notices.TakeStopped: "stopped: {0.reason}. It is not part of the dialogue".format,
    notices.TakeTooShort: "{0.reason}. It is not part of the dialogue".format,
    notices.SaidAgain: "it is said again with the next seed".format,
    notices.CheckFailed: lambda failed: check_failed(failed, ""),
    notices.NothingHeard: "takes go unchecked: {0.error}".format,
    notices.VoicesUncompared: "takes are heard, but their voices not compared: {0.error}".format,
    notices.TakeOffered: _offered,
    notices.TakesOffered: lambda offer: (
        f"{offer.n_good} of them can be picked" if offer.n_good else "none of them can be picked"
    ),
    notices.TakePicked: 'picked {0.place}, which is in the dialogue now: "{0.text}"'.format,
    notices.TurnReplaced: "take {0.new} is in the dialogue in place of {0.old}".format,
    notices.SceneJoined: "the scene was joined again: {0.path}".format,
    notices.RandomVoice: _random_voice,
    # sound and files
    notices.SoundOpened: "audio: {0.device}".format,
    notices.NoSound: "{0.error}; going on without sound".format,
    notices.SoundLost: "{0.error}; going on without sound".format,
    notices.GapsHeard: lambda heard: gaps(heard, "audio.start smooth waits first"),
    notices.WatermarkOff: "watermark: off (watermark.method)".format,
    notices.WatermarkOn: "watermark: {0.words}, on saved files".format,
    notices.NoWatermark: "{0.error}. Files are saved without a watermark".format,
    notices.TakeCutOff: (
        "{0.path}: a take that was cut off when the program died, {0.seconds:.1f} s"
    ).format,
    notices.TakesFolderGone: (
        "{0.folder} is gone, with the takes in it: made anew for those to come"
    ).format,
    notices.TakeUnsaved: _take_unsaved,
    notices.RecordUnsaved: "{0.path} is saved, but not what is told of it: {0.error}".format,
    notices.SceneUnsaved: "{0.error}".format,
}


def words(notice: Notice, wording: Wording = GENERAL) -> str:
    """A notice in one line."""
    return one_line(wording[type(notice)](notice))


def lines_to(notify: Callable[[str], None], wording: Wording = GENERAL) -> Listener:
    """A listener that hands on what it hears in words."""

    def tell(notice: Notice) -> None:
        notify(words(notice, wording))

    return tell

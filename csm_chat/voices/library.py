"""The voices of the references folder, kept up with it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

from csm_chat import notices
from csm_chat.errors import AudioError, TranscriptError
from csm_chat.notices import Listener, Notice
from csm_chat.types import Codec, Codes, Pcm, Segment, Voice
from csm_chat.voices.clip_codes import CodeCache, Note, excerpt
from csm_chat.voices.file_names import Source
from csm_chat.voices.references import (
    SpeakerIds,
    Stamps,
    Transcript,
    folder_stamps,
    list_sources,
    read_transcript,
    stamp,
    transcript_path,
    write_transcript,
)

WHOLE_S = 30.0  # a clip this long is used whole when cutting it would leave its transcript behind


_Clip: TypeAlias = tuple[int, str]  # speaker, mood


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    source: Source
    digest: str
    transcript: Transcript | None  # as it lies beside the clip
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """The kept part of a clip, and its words."""

    codes: Codes
    note: Note
    cached: bool
    text: str
    beside: Transcript | None  # as it lies beside the clip now


class Transcribe(Protocol):
    """Hears what is said in a clip; holds its model until `close`."""

    def __call__(self, pcm: Pcm) -> str: ...
    def close(self) -> None: ...


class VoiceLibrary:
    """Voices by speaker, out of clips and transcripts; a notice to `tell` for each thing done.

    A clip longer than `max_reference_s` is cut at a pause, and its words have to be cut with it:

    1. No transcript: `transcribe` hears the kept part. The file written says so in its first line,
       `# the first 14.26 s of reference6.wav`, and is the user's to correct from then on.
    2. A transcript of the whole clip: it is left alone. `transcribe` hears the kept part, and the
       cache remembers what it heard.
    3. The same, but nothing can transcribe: up to 30 s the clip is used whole, else it is skipped.

    One thread, the codec's.
    """

    def __init__(
        self,
        folder: Path,
        codec: Codec,
        cache: Path,
        transcribe: Transcribe,
        tell: Listener,
        names: Mapping[int, str],
        max_reference_s: float,
    ) -> None:
        """`names` win over file names."""
        self._folder = folder
        self._codes = CodeCache(cache, codec, tell)
        self._transcribe = transcribe
        self._tell = tell
        self._names = names
        self._max_s = max_reference_s
        self._ids = SpeakerIds()
        self._loaded: dict[_Clip, _Loaded] = {}
        self._voices: dict[int, Voice] = {}
        self._refused: dict[int, str] = {}
        self._told: set[Notice] = set()
        self._started = False
        self._seen: Stamps = {}
        self._polled: Stamps = {}

    def load(self, speakers: Collection[int] | None = None) -> tuple[Voice, ...]:
        """All usable voices by speaker. What has not changed since the last call is kept.

        With `speakers`, no clip is read but theirs and those that were read before.
        """
        self._seen = folder_stamps(self._folder)
        claims, refused = self._ids.assign(self._sources())
        if speakers is not None:
            wanted = {*speakers, *self._voices}
            claims = {speaker: source for speaker, source in claims.items() if speaker in wanted}
        self._refused.clear()
        for reason in refused:
            self._tell_once(notices.ReferenceRefused(reason))
        clips = _clips(claims)
        for speaker, mood in sorted(self._loaded.keys() - clips.keys()):
            gone = self._loaded.pop((speaker, mood))
            self._tell(notices.VoiceGone(gone.source.path.name, speaker, mood))
        for clip, source in sorted(clips.items()):
            self._refresh(clip, source)
        self._transcribe.close()
        self._started = speakers is None
        self._voices = {n: self._voice(n) for n, mood in sorted(self._loaded) if not mood}
        return tuple(self._voices.values())

    def reserve(self, speaker: int, name: str) -> None:
        """Let a speaker without a clip be that number: a clip of that name will be theirs."""
        self._ids.reserve(speaker, name)

    def refused(self, speaker: int) -> str:
        """Which clip is not the speaker's voice, and why; empty if there is none."""
        return self._refused.get(speaker, "")

    def changed(self) -> bool:
        """Whether the folder differs from what was loaded, and did at the last call too.

        A file that is still being copied changes between two calls. Only names, sizes and times
        are looked at.
        """
        now = folder_stamps(self._folder)
        settled = now == self._polled
        self._polled = now
        return settled and now != self._seen

    def _sources(self) -> list[Source]:
        try:
            sources, refused = list_sources(self._folder)
        except FileNotFoundError:
            self._tell_once(notices.ReferencesMissing(self._folder))
            return []
        except OSError as error:
            self._tell_once(notices.ReferencesUnlisted(self._folder, str(error.strerror)))
            return []
        for reason in refused:
            self._tell_once(notices.ReferenceRefused(reason))
        if not sources:
            self._tell_once(notices.NoReferences(self._folder))
        return sources

    def _tell_once(self, notice: Notice) -> None:
        if notice not in self._told:
            self._tell(notice)
        self._told.add(notice)

    def _voice(self, speaker: int) -> Voice:
        """Of the clips that are loaded; the same one as before if they are."""
        moods = {m: each.segments for (n, m), each in self._loaded.items() if m and n == speaker}
        usual = self._loaded[speaker, ""]
        voice = Voice(speaker, self._name(speaker, usual.source), usual.segments, moods)
        before = self._voices.get(speaker)
        same = before and (before.segments, before.moods) == (voice.segments, voice.moods)
        return before if before and same and before.name == voice.name else voice

    def _name(self, speaker: int, source: Source) -> str:
        return self._names.get(speaker) or source.title

    def _refresh(self, clip: _Clip, source: Source) -> None:
        """Bring a clip up to date; one that is refused is told of and left out."""
        speaker, mood = clip
        try:
            self._read(clip, source)
        except (AudioError, TranscriptError) as error:
            self._loaded.pop(clip, None)
            reason = str(error).removeprefix(f"{source.path}: ")
            if not mood:
                self._refused[speaker] = f"{source.path.name} was refused: {reason}"
            self._tell(notices.ReferenceSkipped(source.path.name, reason))

    def _read(self, clip: _Clip, source: Source) -> None:
        digest = _digest(source.path)
        beside = read_transcript(transcript_path(source.path))
        before = self._loaded.get(clip)
        if before and (before.source, before.digest, before.transcript) == (source, digest, beside):
            return
        said = self._said(source, digest, beside)
        segments = (Segment(clip[0], said.text, said.codes),)
        self._loaded[clip] = _Loaded(source, digest, said.beside, segments)
        self._report(clip, source, said, changed=before is not None)

    def _report(self, clip: _Clip, source: Source, said: _Said, changed: bool) -> None:
        remarks = [said.beside.remark] if said.beside and said.beside.remark else []
        warnings = (*said.note.warnings, *remarks)
        if said.cached and not warnings and not self._started:
            return  # at a start with nothing new, the list of voices says it all
        speaker, mood = clip
        done, name = said.note.done, self._name(speaker, source)
        read = notices.VoiceRead(source.path.name, speaker, name, changed, done, warnings, mood)
        self._tell(read)

    def _said(self, source: Source, digest: str, beside: Transcript | None) -> _Said:
        codes, note, cached = self._codes.encode(source.path, digest, self._max_s)
        if beside and not beside.text:
            self._tell(notices.TranscriptEmpty(transcript_path(source.path).name))
            beside = None
        if not beside:
            text, beside = self._heard_and_saved(source, note)
            return _Said(codes, note, cached, text, beside)
        if _fits(beside, note):
            return _Said(codes, note, cached, beside.text, beside)
        try:
            text = self._codes.read_text(digest, self._max_s) or self._heard(source)
        except TranscriptError as error:
            if beside.first_s is not None or note.speech_s > WHOLE_S:
                raise TranscriptError(
                    f"{transcript_path(source.path).name} is not of the {note.kept_s:.1f} s kept, "
                    f"which nothing can transcribe ({error}): shorten the clip and its transcript"
                ) from error
            codes, note, cached = self._codes.encode(source.path, digest, WHOLE_S)
            note = replace(note, warnings=(*note.warnings, f"used whole ({error})"))
            return _Said(codes, note, cached, beside.text, beside)
        self._codes.write_text(digest, self._max_s, text)
        return _Said(codes, note, cached, text, beside)

    def _heard(self, source: Source) -> str:
        self._tell(notices.Transcribing(source.path.name))
        return self._transcribe(excerpt(source.path, self._max_s).pcm)

    def _heard_and_saved(self, source: Source, note: Note) -> tuple[str, Transcript | None]:
        """Transcribe a clip and write the file beside it; also what that holds, None if unsaved."""
        path = transcript_path(source.path)
        try:
            text = self._heard(source)
        except TranscriptError as error:
            lines = f'"# the first {note.kept_s:.2f} s" and below it what is said in them'
            missing = lines if note.cut else "what is said in it"
            raise TranscriptError(f"no transcript ({error}): write {missing} to {path}") from error
        transcript = Transcript(text, round(note.kept_s, 2) if note.cut else None)
        try:
            saved = write_transcript(path, transcript, source.path.name)
        except OSError as error:
            self._tell(notices.TranscriptUnsaved(path, text, str(error.strerror)))
            return text, None
        if saved:
            self._seen[path.name] = stamp(path)
            self._tell(notices.TranscriptSaved(path, text))
        return text, transcript


def _clips(claims: Mapping[int, Source]) -> dict[_Clip, Source]:
    """All clips of the speakers, those of their moods with the speaker's name."""
    clips: dict[_Clip, Source] = {}
    for speaker, source in claims.items():
        # one that gets another mood has not changed itself
        clips[speaker, ""] = replace(source, moods=())
        clips |= {(speaker, m.mood): replace(m, name=source.title) for m in source.moods}
    return clips


def _fits(transcript: Transcript, note: Note) -> bool:
    """Whether these are the words of the kept part."""
    if transcript.first_s is None:
        return not note.cut
    return note.cut and abs(transcript.first_s - note.kept_s) < 0.05


def _digest(path: Path) -> str:
    """SHA-256 of a file's content. Raises AudioError."""
    try:
        if not path.is_file():
            broken = path.is_symlink() and not path.exists()
            raise AudioError(f"{path}: is {'a link to nothing' if broken else 'not a file'}")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error

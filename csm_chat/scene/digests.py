"""What a turn depends on, as a digest: the same key is the same take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from csm_chat.casting.clips import voices_for
from csm_chat.conversation.session import Session
from csm_chat.types import Utterance, Voice

FORMAT = 2  # raised when what a key covers changes
_SAMPLED_BYTES = 1 << 16  # of the head, the middle and the end of a file of weights


def first_key(session: Session) -> str:
    """What every turn of a script depends on: model, machine's numbers, settings, voices.

    The seed is left to each turn.
    """
    backend = session.backend
    settings = asdict(session.sampling)
    del settings["seed"]
    model = [backend.name, backend.device, backend.dtype, backend.quantize, backend.codec.identity]
    about = [FORMAT, *model, _weights(backend.path), settings, asdict(session.context)]
    if session.checks and session.checks.is_on:  # another take may be the one that passes
        about.append(asdict(session.checks.settings))
    return _digest([*about, [_voice(voice, session) for voice in session.voices]])


def next_key(
    before: str, session: Session, utterance: Utterance, seed: int, *, is_picked: bool = False
) -> str:
    """That of a turn, given the key of the one before: it was heard as context."""
    who = utterance.speaker
    about: list[object] = [before, session.read(utterance.text, who), who, seed]
    own = session.manner(who).own
    if drawn := [each for each in (own.temperature, own.top_k) if each is not None]:
        about.append(drawn)
    if is_picked and session.checks and session.checks.is_on:  # it is not made again
        about.append("picked")
    if utterance.mood:
        about.append([_voice(voice, session) for voice in voices_for(session.voices, utterance)])
    return _digest(about)


def _voice(voice: Voice, session: Session) -> list[object]:
    said = [
        [
            session.read(segment.text, voice.speaker),
            hashlib.sha256(segment.codes.tobytes()).hexdigest(),
        ]
        for segment in voice.segments
    ]
    return [voice.speaker, said]


def _weights(folder: Path) -> list[list[object]]:
    """Name, size and a sample of each file of weights: all of them would be gigabytes to read."""
    return [[path.name, path.stat().st_size, _sampled(path)] for path in _files(folder)]


def _files(folder: Path) -> Iterable[Path]:
    endings = (".safetensors", ".pt", ".bin", ".json")
    return sorted(path for path in folder.iterdir() if path.suffix in endings and path.is_file())


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for start in (0, size // 2, max(0, size - _SAMPLED_BYTES)):
            file.seek(start)
            digest.update(file.read(_SAMPLED_BYTES))
    return digest.hexdigest()


def _digest(about: object) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

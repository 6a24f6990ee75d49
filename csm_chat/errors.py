"""Everything a user can cause. A message says what, where and what to do: a line, or steps.

CsmChatError                 1  something failed
├── UsageError               2  a flag or argument is wrong
├── ModelError               3  no model to speak with
│   ├── CheckpointError         files are there but do not fit
│   └── HubError                the Hugging Face hub cannot give it: gated, offline, disk full ...
├── AudioError               4  sound cannot be read or played
│   ├── DeviceError             no device, or it went away
│   └── VoiceError              a clip cannot serve as a voice
├── ConfigError              5  config.yaml
├── EntryError                  a typed line has no reading; it stays in the buffer
├── ContextError                the prompt does not fit the model
├── TranscriptError             a clip has no transcript and none can be made
│   └── NoWordsError            nothing is said in it
├── TakeError                   a take cannot be saved
├── LikenessError               what compares voices is not installed
├── WatermarkError              what marks files is not installed or does not load
└── Interrupted                 a take was stopped on request
"""

from __future__ import annotations

from collections.abc import Sequence

from csm_chat.visible import one_line

MOST_PROBLEMS = 20  # of one file, told at once


def first_of(problems: Sequence[str]) -> Sequence[str]:
    """The first lines of what is wrong, and how many more there are: nobody reads thousands."""
    n_more = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], f"and {n_more} more"] if n_more > 0 else problems


class CsmChatError(Exception):
    """Base of all errors with a message meant for the user.

    It is made of lines: a new line in one of them came from outside, and is shown in `str`.
    """

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(map(one_line, self.args))

    def __str__(self) -> str:
        return "\n".join(self.lines)


class UsageError(CsmChatError):
    exit_code = 2


class ModelError(CsmChatError):
    exit_code = 3


class CheckpointError(ModelError):
    """A checkpoint's files are missing, unreadable or of another shape than its config says."""


class HubError(ModelError):
    """The Hugging Face hub cannot give the files. The message holds numbered steps."""


class AudioError(CsmChatError):
    exit_code = 4


class DeviceError(AudioError):
    """There is no output device, or it went away."""


class VoiceError(AudioError):
    """A clip cannot serve as a voice."""


class ConfigError(CsmChatError):
    exit_code = 5


class EntryError(CsmChatError):
    """A typed line has no reading. `position` is the character it is about."""

    def __init__(self, *lines: str, position: int = 0) -> None:
        super().__init__(*lines)
        self.position = position


class ContextError(CsmChatError):
    """The prompt does not fit the model's context."""


class TranscriptError(CsmChatError):
    """A clip has no transcript beside it and none can be made."""


class NoWordsError(TranscriptError):
    """Nothing is said in a clip; other failures to transcribe one are those of every clip."""


class TakeError(CsmChatError):
    """A take cannot be saved; speech goes on. `reason` is the system's number for why, if any."""

    def __init__(self, message: str, reason: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class LikenessError(CsmChatError):
    """What compares voices is not installed."""


class WatermarkError(CsmChatError):
    """What marks saved files is not installed or does not load."""


class Interrupted(CsmChatError):
    """A take was stopped on request."""

    exit_code = 130

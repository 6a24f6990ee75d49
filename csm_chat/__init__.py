"""Dialogue to speech with Sesame's CSM.

Lines, in the shape of Sesame's own generator:

    tts = csm_chat.load_csm_1b()
    audio = tts.generate("Hello there.", speaker=0, context=[])

A conversation, with voices, playback and saved takes:

    with csm_chat.open_chat("references") as chat:
        chat.say("Hi there!||Oh, hello.")

A session, to build a program of one's own on:

    session = csm_chat.Session(csm_chat.load())
    for pcm in session.say(csm_chat.Utterance("Hello there.", speaker=0)): ...

All audio is mono at 24 kHz. Whatever a caller can cause raises a child of CsmChatError. Names
resolve at first use, so that importing costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from csm_chat.api.chat import Chat as Chat
    from csm_chat.api.chat import open_chat as open_chat
    from csm_chat.api.generator import Generator as Generator
    from csm_chat.api.load import load_csm_1b as load_csm_1b
    from csm_chat.api.load import load_csm_1b_local as load_csm_1b_local
    from csm_chat.api.segment import Segment as Segment
    from csm_chat.assemble import load as load
    from csm_chat.config.read import load_config as load_config
    from csm_chat.config.settings import Config as Config
    from csm_chat.config.settings import ContextConfig as ContextConfig
    from csm_chat.config.settings import SamplingConfig as SamplingConfig
    from csm_chat.conversation.reading import Reading as Reading
    from csm_chat.conversation.session import Session as Session
    from csm_chat.errors import AudioError as AudioError
    from csm_chat.errors import CheckpointError as CheckpointError
    from csm_chat.errors import ConfigError as ConfigError
    from csm_chat.errors import ContextError as ContextError
    from csm_chat.errors import CsmChatError as CsmChatError
    from csm_chat.errors import DeviceError as DeviceError
    from csm_chat.errors import EntryError as EntryError
    from csm_chat.errors import HubError as HubError
    from csm_chat.errors import Interrupted as Interrupted
    from csm_chat.errors import ModelError as ModelError
    from csm_chat.errors import TakeError as TakeError
    from csm_chat.errors import TranscriptError as TranscriptError
    from csm_chat.errors import UsageError as UsageError
    from csm_chat.errors import VoiceError as VoiceError
    from csm_chat.types import Sampling as Sampling
    from csm_chat.types import Turn as Turn
    from csm_chat.types import Utterance as Utterance
    from csm_chat.types import Voice as Voice

_HOMES = {
    "csm_chat.api.chat": ("Chat", "open_chat"),
    "csm_chat.api.generator": ("Generator",),
    "csm_chat.api.load": ("load_csm_1b", "load_csm_1b_local"),
    "csm_chat.api.segment": ("Segment",),
    "csm_chat.config.read": ("load_config",),
    "csm_chat.config.settings": ("Config", "ContextConfig", "SamplingConfig"),
    "csm_chat.errors": (
        *("AudioError", "CheckpointError", "ConfigError", "ContextError", "CsmChatError"),
        *("DeviceError", "EntryError", "HubError", "Interrupted", "ModelError", "TakeError"),
        *("TranscriptError", "UsageError", "VoiceError"),
    ),
    "csm_chat.assemble": ("load",),
    "csm_chat.conversation.reading": ("Reading",),
    "csm_chat.conversation.session": ("Session",),
    "csm_chat.types": ("Sampling", "Turn", "Utterance", "Voice"),
}
__all__ = [
    "AudioError",
    "Chat",
    "CheckpointError",
    "Config",
    "ConfigError",
    "ContextConfig",
    "ContextError",
    "CsmChatError",
    "DeviceError",
    "EntryError",
    "Generator",
    "HubError",
    "Interrupted",
    "ModelError",
    "Reading",
    "Sampling",
    "SamplingConfig",
    "Segment",
    "Session",
    "TakeError",
    "TranscriptError",
    "Turn",
    "UsageError",
    "Utterance",
    "Voice",
    "VoiceError",
    "load",
    "load_config",
    "load_csm_1b",
    "load_csm_1b_local",
    "open_chat",
]


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'csm_chat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

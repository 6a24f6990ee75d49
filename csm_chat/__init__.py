"""Dialogue to speech with CSM. Names resolve at first use, so that importing costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from csm_chat.config import Config as Config
    from csm_chat.errors import CsmChatError as CsmChatError
    from csm_chat.loading import load as load
    from csm_chat.speech.session import Session as Session
    from csm_chat.types import Segment as Segment
    from csm_chat.types import Utterance as Utterance
    from csm_chat.types import Voice as Voice

_HOMES = {
    "Config": "csm_chat.config",
    "CsmChatError": "csm_chat.errors",
    "Segment": "csm_chat.types",
    "Session": "csm_chat.speech.session",
    "Utterance": "csm_chat.types",
    "Voice": "csm_chat.types",
    "load": "csm_chat.loading",
}
__all__ = ["Config", "CsmChatError", "Segment", "Session", "Utterance", "Voice", "load"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'csm_chat' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

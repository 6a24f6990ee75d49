"""The parts of a conversation, put together as the config says: for the prompt and the commands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.errors import ContextError, DeviceError, WatermarkError
from csm_chat.notices import (
    Listener,
    ModelReady,
    NoRoomToSpeak,
    NoSound,
    NoWatermark,
    Reporting,
    SoundOpened,
    WatermarkOff,
    WatermarkOn,
)

if TYPE_CHECKING:
    from csm_chat.audio.player import Player
    from csm_chat.audio.watermark.marking import Watermark
    from csm_chat.config.settings import Config
    from csm_chat.conversation.session import Session
    from csm_chat.types import Backend, Codec
    from csm_chat.voices.library import VoiceLibrary

WARM_UP_FRAMES = 5


def open_session(
    config: Config,
    reports: Reporting,
) -> Session:
    """A loaded model and an empty conversation, without voices. Raises ModelError."""
    from csm_chat.assemble import load
    from csm_chat.conversation.session import Session

    backend = load(
        config.model,
        backend=config.backend,
        device=config.device,
        dtype=config.dtype,
        quantize=config.quantize,
        graphs=config.graphs,
        listener=reports.tell,
        progress=reports.progress,
        cancelled=reports.is_cancelled,
    )
    return Session(
        backend,
        sampling=config.sampling,
        context=config.context,
        normalize=config.normalize,
        chunk_frames=config.audio.chunk_frames,
        listener=reports.tell,
    )


def open_player(config: Config, tell: Listener) -> Player:
    """A player on the configured device; silent, and said so, where there is none."""
    from csm_chat.audio.player import Player

    player = Player(config.audio.device, config.audio.latency_s, tell)
    try:
        player.open()
    except DeviceError as error:
        tell(NoSound(str(error)))
    else:
        tell(SoundOpened(player.status().device))
    return player


def open_library(config: Config, codec: Codec, tell: Listener) -> VoiceLibrary:
    """The references folder, its voices not loaded yet."""
    from csm_chat.voices.library import VoiceLibrary
    from csm_chat.voices.transcribe import Transcriber

    return VoiceLibrary(
        folder(config.references),
        codec,
        cache_folder(),
        Transcriber(config.whisper.model, tell=tell),
        tell,
        config.voices,
        config.context.max_reference_s,
    )


def open_watermark(config: Config, tell: Listener) -> Watermark | None:
    """What marks saved files; None, and said so, where nothing does. Raises ConfigError."""
    method, key_file = config.watermark.method, config.watermark.key_file
    if method == "off":
        tell(WatermarkOff())
        return None
    from csm_chat.audio.watermark.marking import open_watermark as load_watermark

    try:
        watermark = load_watermark(method, folder(key_file) if key_file else None, os.environ)
    except WatermarkError as error:
        tell(NoWatermark(str(error)))
        return None
    tell(WatermarkOn(watermark.words))
    return watermark


def warm_up(session: Session, tell: Listener) -> float | None:
    """Measured compute time over audio time; None when there was too little to measure."""
    backend = session.backend
    rtf = None
    try:
        rtf = session.warm_up(WARM_UP_FRAMES).running_rtf
    except ContextError as error:
        tell(NoRoomToSpeak(str(error)))
    tell(ModelReady(backend.name, backend.device, numbers(backend), rtf))
    return rtf


def numbers(backend: Backend) -> str:
    """What the model computes with, in words."""
    if backend.quantize == "none":
        return backend.dtype
    return f"{backend.quantize} weights"


def about(session: Session) -> Mapping[str, object]:
    """What is the same for each take of a moment."""
    backend = session.backend
    return {
        "model": backend.name,
        "device": backend.device,
        "dtype": backend.dtype,
        "quantize": backend.quantize,
        "version": version("csm_chat"),
        "sampling": asdict(session.sampling),
    }


def folder(name: str) -> Path:
    return Path(name).expanduser()


def cache_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("csm_chat")

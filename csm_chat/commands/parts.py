"""The parts of a conversation, put together as the config says: for the prompt and the commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.errors import ContextError, DeviceError, WatermarkError

if TYPE_CHECKING:
    from csm_chat.audio.player import Player
    from csm_chat.audio.watermark.marking import Watermark
    from csm_chat.config.settings import Config
    from csm_chat.conversation.session import Session
    from csm_chat.types import Backend, Codec
    from csm_chat.voices.library import VoiceLibrary

Notify = Callable[[str], None]  # gets whole lines

WARM_UP_FRAMES = 5


def open_session(
    config: Config,
    notify: Notify,
    progress: Notify,
    cancelled: Callable[[], bool] = lambda: False,
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
        notify=notify,
        progress=progress,
        cancelled=cancelled,
    )
    return Session(
        backend,
        sampling=config.sampling,
        context=config.context,
        normalize=config.normalize,
        chunk_frames=config.audio.chunk_frames,
        notify=notify,
    )


def open_player(config: Config, notify: Notify) -> Player:
    """A player on the configured device; silent, and said so, where there is none."""
    from csm_chat.audio.player import Player

    player = Player(config.audio.device, config.audio.latency_s, notify)
    try:
        player.open()
    except DeviceError as error:
        notify(f"{error}. Every take is still saved; $AUDIO$ tries again")
    else:
        notify(f"audio: {player.status().device}")
    return player


def open_library(config: Config, codec: Codec, notify: Notify) -> VoiceLibrary:
    """The references folder, its voices not loaded yet."""
    from csm_chat.voices.library import VoiceLibrary
    from csm_chat.voices.transcribe import Transcriber

    return VoiceLibrary(
        folder(config.references),
        codec,
        cache_folder(),
        Transcriber(config.whisper.model, notify=notify),
        notify,
        config.voices,
        config.context.max_reference_s,
    )


def open_watermark(config: Config, notify: Notify) -> Watermark | None:
    """What marks saved files; None, and said so, where nothing does. Raises ConfigError."""
    method, key_file = config.watermark.method, config.watermark.key_file
    if method == "off":
        notify("watermark: off (watermark.method)")
        return None
    from csm_chat.audio.watermark.marking import open_watermark as load_watermark

    try:
        watermark = load_watermark(method, folder(key_file) if key_file else None, os.environ)
    except WatermarkError as error:
        notify(f"{error}. Files are saved without a watermark")
        return None
    notify(f"watermark: {watermark.words}, on saved files")
    return watermark


def warm_up(session: Session, notify: Notify) -> float | None:
    """Measured compute time over audio time; None when there was too little to measure."""
    from csm_chat.repl.toolbar import pace

    backend = session.backend
    rtf = None
    try:
        rtf = session.warm_up(WARM_UP_FRAMES).running_rtf
    except ContextError as error:
        notify(str(error))
    speed = f": {pace(rtf)}" if rtf else ""
    notify(f"model: {backend.name} on {backend.device}, {numbers(backend)}{speed}")
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

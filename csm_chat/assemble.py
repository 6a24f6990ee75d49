"""Puts the program together, as the config says: for the prompt, the commands and the API.

Knows no front end.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.errors import ConfigError, ContextError, DeviceError, UsageError, WatermarkError
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
from csm_chat.places import cache_folder, expanded
from csm_chat.runtime import let_threads_sleep
from csm_chat.wording import lines_to

if TYPE_CHECKING:
    from csm_chat.audio.player import Player
    from csm_chat.audio.watermark.marking import Watermark
    from csm_chat.checking.checks import Checks
    from csm_chat.config.settings import AudioConfig, Config
    from csm_chat.conversation.ports import FindAdapter, Loaded
    from csm_chat.conversation.session import Session
    from csm_chat.normalise.lexicon import Lexicon
    from csm_chat.shape.manners import Manners
    from csm_chat.types import Backend, Codec
    from csm_chat.voices.library import VoiceLibrary

log = logging.getLogger(__name__)

WARM_UP_FRAMES = 5


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Looking for garbage among what torch makes while it is imported takes a twelfth of that."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_collecting_nothing()
def load(
    model: str | Path = "auto",
    *,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "auto",
    graphs: bool = True,
    packed: str | Path | None = None,
    notify: Callable[[str], None] = log.debug,
    progress: Callable[[str], None] = log.debug,
    cancelled: Callable[[], bool] = lambda: False,
    listener: Listener | None = None,
) -> Backend:
    """Load a model to speak with, downloading it if it is named and not here.

    `model` is a folder, a Hugging Face repository, "builtin", or "auto": CSM-1B if it is in the
    Hugging Face cache, else the built-in voice. `backend` is auto, torch or mlx; `device` auto,
    cpu, cuda, mps or metal; `dtype` auto, float32, bfloat16 or float16; `quantize` auto, none, int8
    or int4, these on a cpu or metal. With `graphs` a GPU is given a frame's steps recorded. Weights
    in few bits are kept below `packed`, in the user's cache if that is None.
    `notify` gets whole lines, `progress` a few words on the step under way. A download stops when
    `cancelled` says so. A `listener` instead of `notify` gets notices.
    Raises ModelError, UsageError.
    """
    let_threads_sleep()
    from csm_chat.checkpoint.find import find_checkpoint
    from csm_chat.codec.load import check_codec, load_codec
    from csm_chat.conversation.tokenizer import load_tokenizer
    from csm_chat.engine.choice import check_weights, choose_backend, load_engine, resolve
    from csm_chat.engine.options import LoadOptions
    from csm_chat.types import Backend

    tell = listener or lines_to(notify)
    checkpoint = find_checkpoint(
        str(model), tell, lambda state: progress(f"downloading {state.bar} {state}"), cancelled
    )
    folder = checkpoint.weights
    check_codec(checkpoint.codec, check_weights(folder).codebooks)
    backend = choose_backend(backend, device, tell)
    progress(backend)
    cache = Path(packed) if packed else cache_folder() / "quantised"
    options = LoadOptions(backend, device, dtype, quantize, graphs, cache)
    options = resolve(options, folder, tell)
    words = options.quantize if options.is_packed else options.dtype
    progress(f"{checkpoint.name} on {options.device}, {words}")
    engine = load_engine(folder, options, tell)
    progress("the codec")
    codec = load_codec(checkpoint.codec, engine.codebooks, options.codec_device)
    tokenizer = load_tokenizer(checkpoint.tokenizer)
    of_engine = options.device, options.dtype, folder, options.quantize
    return Backend(engine, codec, tokenizer, checkpoint.name, *of_engine)


def open_conversation(config: Config, reports: Reporting) -> Loaded:
    """All there is to a conversation: sound, model, voices, takes, and one measured warm-up.

    Raises ModelError, ConfigError.
    """
    from csm_chat.audio.play_buffer import prebuffer_s
    from csm_chat.audio.takes import Takes
    from csm_chat.conversation.ports import Loaded

    tell = reports.tell
    with ExitStack() as on_failure:
        player = open_player(config.audio, tell)
        on_failure.callback(player.close)
        session = open_session(config, reports)
        watermark = open_watermark(config, tell)
        reports.progress("the voices")
        library = open_library(config, session.backend.codec, tell)
        session.voices = library.load()
        reports.progress("warming up")
        rtf = warm_up(session, tell)
        takes = Takes(folder(config.takes, "takes"), tell, lambda: about(session), watermark)
        takes.tell_cut_off()
        checks = open_checks(config, session.backend.codec, tell)
        on_failure.pop_all()
    find = adapter_finder(config)
    return Loaded(session, library, takes, player, prebuffer_s, rtf, find, checks)


def open_session(
    config: Config,
    reports: Reporting,
) -> Session:
    """A loaded model and an empty conversation, without voices. Raises ModelError, ConfigError."""
    from csm_chat.conversation.reading import Reading
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
    session = Session(
        backend,
        sampling=config.sampling,
        context=config.context,
        reading=Reading(config.normalize, open_lexicon(config, reports.tell), config.directions),
        chunk_frames=config.audio.chunk_frames,
        listener=reports.tell,
    )
    session.manners = open_manners(config, reports.tell)
    if config.adapter is not None:
        session.backend.engine.adapt(adapter_finder(config)(config.adapter))
    return session


def adapter_finder(config: Config) -> FindAdapter:
    """Where the adapters that a setting may name are looked for."""
    from csm_chat.voices.adapters import find_adapter

    return lambda name: find_adapter(name, folder(config.adapters, "adapters"))


def open_player(audio: AudioConfig, tell: Listener) -> Player:
    """A player on the configured device; silent, and said so, where there is none."""
    from csm_chat.audio.player import Player

    player = Player(audio.device, audio.latency_s, tell)
    try:
        player.open()
    except DeviceError as error:
        tell(NoSound(str(error)))
    else:
        tell(SoundOpened(player.status().device))
    return player


def open_audible_player(audio: AudioConfig, tell: Listener) -> Player:
    """A player for what is of no use unheard. Raises DeviceError."""
    from csm_chat.audio.player import Player

    player = Player(audio.device, audio.latency_s, tell)
    try:
        player.open()
    except DeviceError:
        player.close()
        raise
    return player


def open_library(config: Config, codec: Codec, tell: Listener) -> VoiceLibrary:
    """The references folder, its voices not loaded yet."""
    from csm_chat.voices.library import VoiceLibrary
    from csm_chat.voices.transcribe import Transcriber

    return VoiceLibrary(
        folder(config.references, "references"),
        codec,
        cache_folder(),
        Transcriber(config.whisper.model, tell=tell),
        tell,
        config.named,
        config.context.max_reference_s,
    )


def open_checks(config: Config, codec: Codec, tell: Listener) -> Checks:
    """What hears takes; nothing of it is loaded before one is to be heard."""
    from csm_chat.checking.checks import Checks
    from csm_chat.voices.transcribe import Transcriber

    return Checks(config.check, Transcriber(config.whisper.model, tell=tell), codec, tell)


def open_lexicon(config: Config, tell: Listener) -> Lexicon:
    """Words that are said in another way; empty where no file says so. Raises ConfigError."""
    from csm_chat.config.settings import LEXICON
    from csm_chat.normalise.lexicon import EMPTY
    from csm_chat.voices.lexicon import read_lexicon

    if config.lexicon is None:
        return EMPTY
    beside = folder(config.references, "references").parent
    path = beside / folder(config.lexicon, "lexicon")
    return read_lexicon(path, tell, is_asked_for=config.lexicon != LEXICON)


def open_manners(config: Config, tell: Listener) -> Manners:
    """How each speaker is to speak, with the lexicon of each that has one. Raises ConfigError."""
    from csm_chat.shape.manners import manners_of
    from csm_chat.voices.lexicon import read_lexicon

    beside = folder(config.references, "references").parent
    lexicons = {
        speaker: read_lexicon(beside / folder(own.lexicon, place), tell, is_asked_for=True)
        for speaker, own in config.speakers.items()
        if own.lexicon and (place := f"speakers.{speaker}.lexicon")
    }
    return manners_of(config, lexicons)


def open_watermark(config: Config, tell: Listener) -> Watermark | None:
    """What marks saved files; None, and said so, where nothing does. Raises ConfigError."""
    method, key_file = config.watermark.method, config.watermark.key_file
    if method == "off":
        tell(WatermarkOff())
        return None
    from csm_chat.audio.watermark.marking import open_watermark as load_watermark

    try:
        watermark = load_watermark(
            method, folder(key_file, "watermark.key_file") if key_file else None, os.environ
        )
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
        "adapter": adapter.name if (adapter := backend.engine.adapter) else None,
        "version": version("csm_chat"),
        "sampling": asdict(session.sampling),
    }


def folder(name: str, key: str) -> Path:
    """The folder or file that a setting names. Raises ConfigError, which names the key."""
    try:
        return expanded(name, key)
    except UsageError as error:
        raise ConfigError(str(error)) from error

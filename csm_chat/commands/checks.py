"""What `doctor` looks at: a function a subject, each gives its findings. Asks no network."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from csm_chat.errors import AudioError, CsmChatError, DeviceError, ModelError, TranscriptError
from csm_chat.places import expanded, whisper_folder

if TYPE_CHECKING:
    from csm_chat.checkpoint.find import Checkpoint
    from csm_chat.config.settings import Config

State = Literal["ok", "warn", "FAIL"]

PACKAGES = (
    *("csm_chat", "torch", "torchaudio", "moshi", "transformers", "huggingface-hub", "tokenizers"),
    *("openai-whisper", "sounddevice", "soundfile", "soxr", "numpy", "prompt-toolkit"),
)
OLDEST, NEWEST = (3, 10), (3, 13)
MIN_FREE_BYTES = 1 << 30  # hours of takes
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[^@\s]+)?")
WHISPER_FILES = {"large": "large-v3", "turbo": "large-v3-turbo"}  # others are called as they are


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: State
    found: str
    fix: str = ""


Look: TypeAlias = Callable[["Config", "Path | None"], Iterator[Check]]


def python(config: Config, config_file: Path | None) -> Iterator[Check]:
    here = sys.version_info[:2]
    words = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if OLDEST <= here <= NEWEST:
        yield Check("python", "ok", words)
    else:
        yield Check(
            "python", "warn", words, "3.10 to 3.13 are tested: uv run --python 3.12 csm-chat"
        )


def packages(config: Config, config_file: Path | None) -> Iterator[Check]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        fix = "uv sync, or pip install --force-reinstall csm_chat"
        yield Check("packages", "FAIL", f"missing: {', '.join(missing)}", fix)
    yield Check("packages", "ok", ", ".join(found))


def settings(config: Config, config_file: Path | None) -> Iterator[Check]:
    from csm_chat.config.read import find_config, load_config

    try:
        path = find_config(config_file)
        load_config(path)
    except CsmChatError:
        return  # told as the reason why the defaults are looked at
    yield Check("config", "ok", str(path) if path else "none: all settings have their defaults")


def device(config: Config, config_file: Path | None) -> Iterator[Check]:
    from csm_chat.engine.choice import choose_backend, choose_device, device_facts

    try:
        backend = choose_backend(config.backend, config.device)
        chosen = choose_device(config.device, backend)
    except CsmChatError as error:
        yield Check("device", "FAIL", str(error), "--device auto")
        return
    yield Check("device", "ok", f"{chosen}: {device_facts(chosen, backend)}, {backend}")


def mlx(config: Config, config_file: Path | None) -> Iterator[Check]:
    from csm_chat.engine.choice import choose_device, device_facts, has_mlx, is_apple_silicon

    if has_mlx():
        device = choose_device("auto", "mlx")
        yield Check("mlx", "ok", f"{version('mlx')} on {device}: {device_facts(device, 'mlx')}")
    elif is_apple_silicon():
        fix = "pip install mlx, which is quicker here than torch"
        yield Check("mlx", "warn", "not installed", fix)


def model(config: Config, config_file: Path | None) -> Iterator[Check]:
    from csm_chat.checkpoint.find import AUTO, BUILTIN
    from csm_chat.checkpoint.hub.messages import MODEL_REPO, size

    try:
        checkpoint = _cached(config.model)
    except ModelError as error:
        named = REPOSITORY.fullmatch(config.model)
        fix = "--model names a folder or a repository"
        fix = f"csm-chat download {config.model}" if named else fix
        yield Check("model", "FAIL", str(error).splitlines()[0].rstrip(":"), fix)
        return
    folder = checkpoint.weights
    n_bytes = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    revision = f", revision {folder.name[:12]}" if folder.parent.name == "snapshots" else ""
    is_instead = config.model == AUTO and checkpoint.name == BUILTIN
    fix = f"csm-chat download {MODEL_REPO}, for CSM-1B" if is_instead else ""
    yield Check("model", "ok", f"{checkpoint.name}{revision}, {size(n_bytes)} in {folder}", fix)


def _cached(model: str) -> Checkpoint:
    """A checkpoint that is on this disk, whole. Raises ModelError."""
    from csm_chat.checkpoint.files import find_weights
    from csm_chat.checkpoint.find import cached_checkpoint, find_checkpoint
    from csm_chat.checkpoint.hub.client import Repo
    from csm_chat.notices import log_only

    if not REPOSITORY.fullmatch(model) or Path(model).is_dir():
        checkpoint = find_checkpoint(model, log_only)
        find_weights(checkpoint.weights)
        return checkpoint
    found = cached_checkpoint(Repo(*model.split("@", 1)))
    if found is None:
        raise ModelError(f"{model} is not, or not wholly, in the Hugging Face cache")
    return found


def token(config: Config, config_file: Path | None) -> Iterator[Check]:
    from csm_chat.checkpoint.hub.cache import has_token

    if has_token():
        yield Check("hf token", "ok", "there is one")
    else:
        fix = "hf auth login, which gated repositories (sesame/csm-1b) need to be downloaded"
        yield Check("hf token", "warn", "none", fix)


def sound(config: Config, config_file: Path | None) -> Iterator[Check]:
    from csm_chat.audio.device import open_output
    from csm_chat.types import SAMPLE_RATE

    if config.audio.device == "off":
        yield Check("sound", "warn", "audio.device is off", "--audio default")
        return
    try:
        stream = open_output(config.audio.device, config.audio.latency_s)
    except DeviceError as error:
        yield Check("sound", "warn", str(error), "takes are saved all the same")
        yield from _silent_places()
        return
    rate = "" if stream.rate == SAMPLE_RATE else " (resampled)"
    yield Check("sound", "ok", f"{stream.name} at {stream.rate} Hz{rate}")
    stream.close()


def ssh(config: Config, config_file: Path | None) -> Iterator[Check]:
    if "SSH_CONNECTION" in os.environ:
        fix = "csm-chat say -o - ... | ssh HOST play -, or set PULSE_SERVER"
        yield Check("place", "warn", "over SSH sound is played here, not where you sit", fix)


def _silent_places() -> Iterator[Check]:
    if "microsoft" in platform.release().lower():
        fix = "sudo apt install libasound2-plugins, and point ALSA at pulse"
        yield Check("place", "warn", "WSL plays through its PulseAudio socket", fix)
    elif Path("/.dockerenv").exists():
        fix = "share the PulseAudio or PipeWire socket with it"
        yield Check("place", "warn", "a container has no sound card of its own", fix)
    elif sys.platform == "linux" and not Path("/proc/asound/cards").exists():
        fix = "load the driver of the card, or start PipeWire or PulseAudio"
        yield Check("place", "warn", "ALSA has no card", fix)


def references(config: Config, config_file: Path | None) -> Iterator[Check]:
    from csm_chat.assemble import folder
    from csm_chat.voices.references import claimed

    path = folder(config.references, "references")
    try:
        claims, refused = claimed(path)
    except OSError as error:
        fix = "make it and put clips there, or name another by --references"
        yield Check("voices", "warn", f"{path}: cannot be listed ({error.strerror})", fix)
        return
    unusable = [line.lstrip("! ") for line in refused]
    silent: list[str] = []
    for source in claims.values():
        try:
            if not _has_words(source.path, config.context.max_reference_s):
                silent.append(source.path.name)
        except (AudioError, TranscriptError) as error:
            unusable.append(str(error).removeprefix(f"{source.path.parent}/"))
    n_usable = len(claims) - (len(unusable) - len(refused))
    if n_usable:
        yield Check("voices", "ok", f"{n_usable} in {path}")
    else:
        fix = "put reference.wav there; without it voices are random"
        yield Check("voices", "warn", f"none in {path}", fix)
    if unusable:
        yield Check("voices", "warn", "; ".join(unusable), "csm-chat voices tells more")
    if silent:
        fix = "write what is said into a .txt beside it, or let Whisper do it"
        yield Check("transcripts", "warn", f"none for {', '.join(silent)}", fix)


def _has_words(clip: Path, max_s: float) -> bool:
    """Raises AudioError for a clip that cannot serve, TranscriptError for such a text."""
    from csm_chat.voices.clip_codes import excerpt
    from csm_chat.voices.references import read_transcript, transcript_path

    excerpt(clip, max_s)
    transcript = read_transcript(transcript_path(clip))
    return bool(transcript and transcript.text)


def whisper(config: Config, config_file: Path | None) -> Iterator[Check]:
    # by file names: importing whisper takes longer than all other checks
    name = config.whisper.model
    cache = whisper_folder()
    places = (expanded(name, "whisper.model"), cache / f"{WHISPER_FILES.get(name, name)}.pt")
    path = next((path for path in places if path.is_file()), None)
    if path:
        yield Check("whisper", "ok", f"{name}: {path}")
    else:
        fix = "it is downloaded when a clip without a transcript needs it"
        yield Check("whisper", "warn", f"{name} is not in {cache}", fix)


def watermark(config: Config, config_file: Path | None) -> Iterator[Check]:
    method = config.watermark.method
    if method == "off":
        yield Check("watermark", "warn", "off: saved files do not say that they are synthetic")
    elif find_spec(method) is None:
        fix = (
            "pip install resemble-perth" if method == "perth" else "pip install --no-deps " + method
        )
        yield Check("watermark", "FAIL", f"{method} is not installed", fix)
    else:
        yield Check("watermark", "ok", f"{method} on saved files")


def takes(config: Config, config_file: Path | None) -> Iterator[Check]:
    from csm_chat.assemble import folder

    path = folder(config.takes, "takes").absolute()
    there = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(there).free
    words = f"{path}, {free / 1e9:.0f} GB free"
    if not there.is_dir() or not os.access(there, os.W_OK):
        yield Check("takes", "FAIL", f"{there} cannot be written to", "--takes DIR names another")
    elif free < MIN_FREE_BYTES:
        yield Check("takes", "warn", words, "free some space, or --takes DIR on another disk")
    else:
        yield Check("takes", "ok", words)


CHECKS: tuple[Look, ...] = (
    *(python, packages, settings, device, mlx, model, token, sound, ssh),
    *(references, whisper, watermark, takes),
)

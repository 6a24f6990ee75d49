"""Settings: one frozen `Config` out of config.yaml, with flags laid over it.

Knows YAML, and no setting's use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csm_chat.config.schema import Key, Value, describe, nearest, option, shown
from csm_chat.errors import ConfigError

if TYPE_CHECKING:
    from yaml import MappingNode, Node

MAX_SPEAKER = 999
# variables that are no settings: what must not be shown is read where it is used
SECRETS = ("CSM_CHAT_WATERMARK_KEY",)

# What each preset sets; a key set beside the preset, or over it, keeps its own value. "balanced"
# holds the defaults. Two frames a chunk cost no waiting: with less, asap does not begin to play.
PRESETS: dict[str, dict[str, Value]] = {
    "speed": {
        "quantize": "int4",
        "graphs": True,
        "audio.start": "asap",
        "audio.chunk_frames": 2,
    },
    "balanced": {
        "quantize": "auto",
        "graphs": True,
        "audio.start": "auto",
        "audio.chunk_frames": 1,
    },
    "quality": {
        "quantize": "none",
        "graphs": True,
        "audio.start": "smooth",
        "audio.chunk_frames": 1,
    },
}


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    temperature: float = option(0.9, "how freely codes are drawn; 0 is greedy", low=0.0, high=2.0)
    top_k: int = option(50, "draw from this many likeliest codes; 0 is off", low=0)
    top_p: float = option(
        1.0, "draw from the likeliest codes that make up this share; 1 is off", low=0.0, high=1.0
    )
    min_p: float = option(
        0.0, "leave out codes below this share of the likeliest one; 0 is off", low=0.0, high=1.0
    )
    min_tokens_to_keep: int = option(
        1, "this many of the likeliest codes are never left out by top_p and min_p", low=1
    )
    depth_temperature: float | None = option(
        None, "temperature of codebooks 1 and up; null follows temperature", low=0.0, high=2.0
    )
    depth_top_k: int | None = option(None, "top_k of codebooks 1 and up; null follows top_k", low=0)
    depth_top_p: float | None = option(
        None, "top_p of codebooks 1 and up; null follows top_p", low=0.0, high=1.0
    )
    depth_min_p: float | None = option(
        None, "min_p of codebooks 1 and up; null follows min_p", low=0.0, high=1.0
    )
    seed: int | None = option(
        None,
        "seed of the first take; random draws one a take",
        low=0,
        high=2**32 - 1,
        null="random",
    )


@dataclass(frozen=True, slots=True)
class ContextConfig:
    max_turns: int = option(16, "turns of history the model hears; 0 is none", low=0)
    max_turn_s: float = option(25.0, "seconds a turn may last", low=1.0, high=90.0)
    max_reference_s: float = option(15.0, "seconds kept of a reference clip", low=1.0, high=90.0)


@dataclass(frozen=True, slots=True)
class AudioConfig:
    device: str = option("default", "part of a device's name, its index, default, or off")
    latency_s: float = option(0.2, "seconds of sound the device holds", low=0.01, high=5.0)
    start: str = option(
        "auto",
        "when a take starts to play: as measured, at once, free of gaps, or once it is whole",
        choices=("auto", "asap", "smooth", "render"),
    )
    chunk_frames: int = option(1, "frames of 80 ms decoded and handed on at a time", low=1, high=12)


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    model: str = option("base", "openai-whisper model that transcribes clips: a name or a file")


@dataclass(frozen=True, slots=True)
class WatermarkConfig:
    method: str = option(
        "perth",
        "the inaudible mark in saved files that says they are synthetic",
        choices=("perth", "silentcipher", "off"),
    )
    key_file: str | None = option(
        None, "file with your silentcipher key, five numbers 0 - 255; null is CSM's public key"
    )


@dataclass(frozen=True, slots=True)
class Config:
    model: str = option("auto", "auto, builtin, a Hugging Face repository, or a folder")
    backend: str = option(
        "auto", "what the model is computed with", choices=("auto", "torch", "mlx")
    )
    device: str = option(
        "auto", "where the model runs", choices=("auto", "cpu", "cuda", "mps", "metal")
    )
    dtype: str = option(
        "auto", "the model's numbers", choices=("auto", "float32", "bfloat16", "float16")
    )
    quantize: str = option(
        "auto",
        "bits of the weights on a cpu or metal; auto measures, and leaves small models as they are",
        choices=("auto", "none", "int8", "int4"),
    )
    graphs: bool = option(True, "on a GPU: record a frame's steps and launch them as one")
    preset: str = option(
        "balanced",
        "what to favour; sets " + ", ".join(PRESETS["balanced"]) + " where they are not set",
        choices=tuple(PRESETS),
    )
    speaker: int = option(0, "number of who speaks first", low=0, high=MAX_SPEAKER)
    offsets: str = option(
        "strict",
        "digits that end a part: strict wants closing punctuation before them, classic any text",
        choices=("strict", "classic"),
    )
    normalize: bool = option(True, "read numbers, dates and symbols to the model as words")
    references: str = option("references", "folder of voice clips")
    takes: str = option("takes", "folder that takes are saved under")
    history: bool = option(True, "keep typed lines for the next session")
    voices: dict[int, str] = field(
        default_factory=dict, metadata={"help": "names by speaker number"}
    )
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    whisper: WhisperConfig = field(default_factory=WhisperConfig)
    watermark: WatermarkConfig = field(default_factory=WatermarkConfig)


@cache
def keys() -> tuple[Key, ...]:
    """Every setting, in the order of the dataclasses."""
    return tuple(describe(Config))


def find_config(explicit: Path | None) -> Path | None:
    """The file to read: `explicit`, else ./config.yaml, else the user's own, else none."""
    from platformdirs import user_config_path

    if explicit is not None:
        if not _is_there(explicit):
            raise ConfigError(f"{explicit} does not exist: give --config a file, or leave it out")
        return explicit
    places = (Path("config.yaml"), user_config_path("csm_chat") / "config.yaml")
    return next(filter(_is_there, places), None)


def _is_there(path: Path) -> bool:
    """A file that cannot be looked at is there: reading it tells why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def load_config(path: Path | None) -> Config:
    """A YAML file's settings over the defaults. Raises ConfigError, a line for each thing wrong."""
    if path is None:
        return Config()
    return _laid_over(Config(), _read(path).values)


def lines_of(path: Path) -> dict[str, int]:
    """In which line a YAML file sets each of its keys. Raises ConfigError."""
    reading = _read(path)
    return {name: reading.lines[name] for name in reading.values}


def _read(path: Path) -> _Reading:
    root = _compose(path)
    reading = _Reading(path)
    if root is not None:
        reading.mapping(root)
    if reading.problems:
        raise ConfigError("\n".join(reading.problems))
    return reading


def from_environment(config: Config, environ: Mapping[str, str]) -> Config:
    """`config` with what CSM_CHAT_* variables set: CSM_CHAT_MODEL, CSM_CHAT_SAMPLING_TOP_K ..."""
    known = {variable(key): key for key in keys()}
    values: dict[str, Value] = {}
    for name in sorted(environ):
        if not name.startswith("CSM_CHAT_") or name in SECRETS:
            continue
        key = known.get(name)
        if key is None or key.kind is dict:
            guess = nearest(name, [each for each, key in known.items() if key.kind is not dict])
            hint = f" Did you mean {guess}?" if guess else ""
            raise ConfigError(f"{name}  unknown environment variable.{hint}")
        try:
            values[key.name] = key.read(environ[name])
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
    return _laid_over(config, values)


def variable(key: Key) -> str:
    """The environment variable that sets a key."""
    return f"CSM_CHAT_{key.name.replace('.', '_').upper()}"


def override(config: Config, key: str, value: str) -> Config:
    """`config` with one setting from text. `key` may be the last part of a dotted name."""
    found = named(key)
    if found.kind is dict:
        raise ConfigError(f"{found.name}: one name at a time, as {found.name}.0")
    return _laid_over(config, {found.name: found.read(value)})


def named(key: str) -> Key:
    """The setting of that name, or whose dotted name ends so. Raises ConfigError."""
    name = key.strip().lower()
    found = _exact(name)
    if found is not None:
        return found
    tails = [each for each in keys() if each.tail == name]
    if len(tails) != 1:
        raise _unknown(name)
    return tails[0]


def _laid_over(config: Config, values: Mapping[str, Value]) -> Config:
    changes: dict[str, Any] = {}
    preset = PRESETS[str(values["preset"])] if "preset" in values else {}
    for name, value in {**preset, **values}.items():
        section, _, tail = name.rpartition(".")
        if not section:
            changes[name] = value
        elif section == "voices":
            names = changes.get(section, config.voices)
            changes[section] = {**names, int(tail): value}
        else:
            changes[section] = replace(
                changes.get(section, getattr(config, section)), **{tail: value}
            )
    return replace(config, **changes)


@cache
def _sections() -> tuple[str, ...]:
    """What holds further keys."""
    dotted = dict.fromkeys(key.name.partition(".")[0] for key in keys() if "." in key.name)
    return ("voices", *dotted)


def _exact(name: str) -> Key | None:
    section, _, tail = name.partition(".")
    if section != "voices" or not tail:
        return next((key for key in keys() if key.name == name), None)
    if not re.fullmatch("[0-9]{1,3}", tail):
        raise ConfigError(f"voices: {shown(tail)} is not a speaker number (0 - {MAX_SPEAKER})")
    return Key(f"voices.{int(tail)}", str, optional=False, default="no name", help="a name")


def _unknown(name: str) -> ConfigError:
    words = name if name.isprintable() and len(name) <= 40 else shown(name)
    guess = nearest(name, [*_sections(), *(key.name for key in keys())])
    return ConfigError(f"{words}  unknown key." + (f" Did you mean {guess}?" if guess else ""))


def _compose(path: Path) -> MappingNode | None:
    """The file's YAML, None if it has none. Raises ConfigError if it is no mapping."""
    import yaml

    text = _text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # the last three: PyYAML lets them out for "\\UFFFFFFFF", a huge %YAML number, deep nesting
        raise ConfigError(f"{path}{_syntax(text, error)}") from error
    if root is None or _is_null(root):
        return None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:{root.start_mark.line + 1}  has to hold lines of key: value")
    return root


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}  cannot be read: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}  is not UTF-8: save the file as UTF-8") from error


def _syntax(text: str, error: Exception) -> str:
    """Line and words of what PyYAML raised."""
    import yaml
    from yaml.reader import ReaderError

    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f":{line}  is not YAML: character #x{error.character:x} is not allowed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"  is not YAML: {error}"
    mark = error.problem_mark or error.context_mark
    assert mark is not None, error
    words = ", ".join(filter(None, (error.context, error.problem)))
    advice = ": indent with spaces" if "'\\t'" in words else ""
    return f":{mark.line + 1}  is not YAML: {words}{advice}"


def _is_null(node: Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


class _Reading:
    """Values of one file, and all that is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self.values: dict[str, Value] = {}
        self.lines: dict[str, int] = {}  # where a name was first given
        self._path = path

    def mapping(self, node: MappingNode, prefix: str = "") -> None:
        for key, value in node.value:
            line = key.start_mark.line + 1
            try:
                self._entry(prefix, key, value)
            except ConfigError as error:
                self.problems.append(f"{self._path}:{line}  {error}")

    def _entry(self, prefix: str, key: Node, value: Node) -> None:
        from yaml import ScalarNode

        if not isinstance(key, ScalarNode):
            raise ConfigError("a key has to be a word, not a list or mapping")
        name = f"{prefix}{key.value}"
        if name in _sections():
            self._once(name, key)
            self._section(name, value)
            return
        known = _exact(name)
        if known is None:
            raise _unknown(name)
        self._once(known.name, key)
        self.values[known.name] = self._value(known, value)

    def _once(self, name: str, key: Node) -> None:
        if name in self.lines:
            raise ConfigError(f"{name}: given twice, first in line {self.lines[name]}")
        self.lines[name] = key.start_mark.line + 1

    def _section(self, name: str, node: Node) -> None:
        from yaml import MappingNode, ScalarNode

        if isinstance(node, MappingNode):
            self.mapping(node, f"{name}.")
        elif not _is_null(node):  # a section whose keys are all commented out is null
            what = shown(node.value) if isinstance(node, ScalarNode) else "a list"
            raise ConfigError(f"{name}: {what} is not a section: put its keys below it, indented")

    def _value(self, key: Key, node: Node) -> Value:
        from yaml import MappingNode, ScalarNode

        if not isinstance(node, ScalarNode):
            raise key.refuse("a mapping" if isinstance(node, MappingNode) else "a list")
        # the text itself: YAML 1.1 reads a bare off as false, and 3 is a device too
        return key.read("" if _is_null(node) else node.value)

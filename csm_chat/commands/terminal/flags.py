"""Flags that set a key of config.yaml, for every command alike, and the config they lead to."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from csm_chat.config.settings import Config


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag whose text becomes the value of a setting."""

    names: tuple[str, ...]  # the last one is named in messages
    key: str  # of config.yaml
    help: str
    metavar: str | None = None
    also: tuple[str, ...] = ()  # what programs of this kind call it; read, and not listed
    per_unit: int = 1  # of the flag's own unit make one of the key's
    value: str | None = None  # what it sets, if it takes no text


MODEL = Flag(
    ("-m", "--model"),
    "model",
    "auto, builtin, a Hugging Face repository or a folder",
    also=("-w", "--weight", "--model-path"),
)
BACKEND = Flag(("--backend",), "backend", "what to compute with: auto, torch or mlx")
DEVICE = Flag(("--device",), "device", "auto, cpu, cuda, mps or metal")
DTYPE = Flag(("--dtype",), "dtype", "auto, float32, bfloat16 or float16")
QUANTIZE = Flag(
    ("--quantize",), "quantize", "weights on a cpu and on metal: auto, none, int8 or int4"
)
ADAPTER = Flag(
    ("-a", "--adapter"), "adapter", "a fine-tuned voice: its name, or a folder", also=("--lora",)
)
SPEAKER = Flag(("-s", "--speaker"), "speaker", "number of who speaks first")
PRESET = Flag(("--preset",), "preset", "what to favour: speed, balanced or quality")
SEED = Flag(("--seed",), "sampling.seed", "first seed, or random")
REFERENCES = Flag(("--references",), "references", "folder of voice clips", "DIR")
TAKES = Flag(("--takes",), "takes", "folder that takes are saved under", "DIR")
AUDIO = Flag(("--audio",), "audio.device", "part of a device's name, its number, or off", "DEVICE")
NO_NORMALIZE = Flag(
    ("--no-normalize",), "normalize", "give the model numbers and symbols as typed", value="false"
)

SPEED = Flag(("--speed",), "speed", "how quick speech is, 0.5 to 2; its pitch is kept")
GAIN = Flag(("--gain",), "gain", "decibels louder or softer", "DB")
GAP = Flag(("--gap",), "gap", "seconds between parts; below 0 they overlap", "S")

MAX_LENGTH = Flag(
    ("-l", "--max-audio-length"),
    "context.max_turn_s",
    "longest a turn may be, in ms; longer text is said in several",
    "MS",
    also=("--max-audio-length-ms",),
    per_unit=1000,
)
TEMPERATURE = Flag(
    ("-t", "--temperature"),
    "sampling.temperature",
    "how freely codes are drawn; 0 is greedy",
    "T",
    also=("--temp",),
)
TOP_K = Flag(
    ("-k", "--top-k"), "sampling.top_k", "codes to draw from; 0 is off", "K", also=("--topk",)
)
TOP_P = Flag(("-p", "--top-p"), "sampling.top_p", "share of probability; 1 is off", "P")
MIN_P = Flag(("--min-p",), "sampling.min_p", "least share of the likeliest; 0 is off", "P")
MIN_TOKENS = Flag(
    ("-kt", "--min-tokens-to-keep"),
    "sampling.min_tokens_to_keep",
    "codes that top-p and min-p never leave out",
    "N",
)
WHISPER = Flag(("--whisper",), "whisper.model", "openai-whisper model: a name or a file", "MODEL")
CHECK = Flag(
    ("--check",),
    "check.mode",
    "have Whisper hear each take, and make those again that fail (check in config.yaml)",
    value="words",
)

# what speaks, and on what
COMPUTE = (MODEL, ADAPTER, BACKEND, DEVICE, DTYPE, QUANTIZE)
# the prompt's own
FLAGS = (
    *COMPUTE,
    PRESET,
    SPEAKER,
    SEED,
    REFERENCES,
    TAKES,
    AUDIO,
    NO_NORMALIZE,
    CHECK,
)
SAMPLING = (MAX_LENGTH, TEMPERATURE, TOP_K, TOP_P, MIN_P, MIN_TOKENS, SEED)
SHAPE = (SPEED, GAIN, GAP)
KNOWN = tuple(dict.fromkeys((*FLAGS, *SAMPLING, *SHAPE, WHISPER)))


def add_settings(parser: ArgumentParser, *flags: Flag) -> None:
    """Add flags that set keys, and --set and --config, which set the rest."""
    for flag in flags:
        _add(parser, flag)
        if flag.also:
            parser.add_argument(*flag.also, dest=flag.key, help=SUPPRESS)
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any key of config.yaml"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="instead of ./config.yaml")


def _add(parser: ArgumentParser, flag: Flag) -> None:
    if flag.value is not None:
        parser.add_argument(
            *flag.names, dest=flag.key, action="store_const", const=flag.value, help=flag.help
        )
        return
    metavar = flag.metavar or flag.key.rpartition(".")[2].upper()
    parser.add_argument(*flag.names, dest=flag.key, metavar=metavar, help=flag.help)


def config_from(args: Namespace) -> Config:
    """config.yaml, under CSM_CHAT_* variables, under the flags. Raises ConfigError, UsageError."""
    from csm_chat.config.override import from_environment, override
    from csm_chat.config.read import find_config, load_config

    config = from_environment(load_config(find_config(args.config)), os.environ)
    for given in given_settings(args):
        try:
            config = override(config, given.key, given.value)
        except ConfigError as error:
            raise UsageError(f"{given.flag}: {error}") from error
    return config


@dataclass(frozen=True, slots=True)
class Given:
    """A setting as it was given on the command line."""

    flag: str
    key: str  # possibly the last part of a dotted name only
    value: str


def given_settings(args: Namespace) -> list[Given]:
    """Settings in the order they are laid over each other: what a preset sets is set first."""
    return sorted(_settings(args), key=lambda given: given.key != "preset")


def names_references(args: Namespace, config: Config) -> bool:
    """Whether somebody chose the folder of clips, and would want to know that it is not there."""
    from csm_chat.config.settings import Config

    given = any(each.key == REFERENCES.key for each in given_settings(args))
    return given or config.references != Config().references


def _settings(args: Namespace) -> Iterator[Given]:
    for flag in KNOWN:
        value = getattr(args, flag.key, None)
        if value is not None:
            yield Given(flag.names[-1], flag.key, _in_unit_of_key(value, flag.per_unit))
    for setting in args.set:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write it as --set KEY=VALUE")
        yield Given(f"--set {setting}", key.strip(), value.strip())


def _in_unit_of_key(value: str, per_unit: int) -> str:
    """What is no number is left for the key to refuse."""
    if per_unit == 1:
        return value
    try:
        return f"{float(value) / per_unit:g}"
    except ValueError:
        return value

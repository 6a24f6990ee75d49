"""`csm-chat config`: the settings that hold here, and where each comes from."""

from __future__ import annotations

import json
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csm_chat.commands.terminal import flags
from csm_chat.errors import CsmChatError, UsageError
from csm_chat.places import expanded
from csm_chat.printing import put, put_path

if TYPE_CHECKING:
    from csm_chat.config.schema import Key
    from csm_chat.config.settings import Config

DEFAULT = "default"
FILE = "config.yaml"
# what YAML, and whoever reads it, takes for text without quotes
PLAIN = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./~@-]*( [A-Za-z0-9_./~@-]+)*")


def add_arguments(parser: ArgumentParser) -> None:
    flags.add_settings(parser, *flags.KNOWN)
    parser.add_argument(
        "--write",
        nargs="?",
        const=FILE,
        metavar="PATH",
        help=f"save it, with a word on each key, as PATH (./{FILE})",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def run(args: Namespace, config: Config) -> int:
    origins = _origins(args)
    if args.write is None:
        put(*_shown(_lines(config, origins, explained=False)))
        return 0
    path = expanded(args.write, "--write")
    shown = _shown(_lines(config, origins, explained=True))
    _write(path, "".join(f"{line}\n" for line in shown), args.force)
    put_path(path)
    return 0


def _origins(args: Namespace) -> dict[str, str]:
    """Where each key was set last; a key that nobody set is left out."""
    from csm_chat.config.override import named, variable
    from csm_chat.config.read import find_config, lines_of
    from csm_chat.config.settings import PRESETS, keys

    path = find_config(args.config)
    layers = [
        {name: f"{path}:{line}" for name, line in (lines_of(path) if path else {}).items()},
        {key.name: variable(key) for key in keys() if variable(key) in os.environ},
        {named(given.key).name: given.flag for given in flags.given_settings(args)},
    ]
    origins: dict[str, str] = {}
    for layer in layers:
        if "preset" in layer:
            for name in PRESETS["balanced"]:
                origins[name] = f"preset, {layer['preset']}"
        origins |= layer
    return origins


def _lines(
    config: Config, origins: dict[str, str], explained: bool
) -> Iterator[tuple[int, str, str]]:
    """Depth, setting and remark of each line of a YAML file."""
    from csm_chat.config.settings import PRESETS, keys

    section = ""
    for key in keys():
        if key.kind is dict:
            yield from _section(config, key, origins, explained)
            continue
        inner = key.name.rpartition(".")[0]
        if inner != section:
            section = inner
            yield 0, f"{section}:", ""
        origin = origins.get(key.name, DEFAULT)
        setting = f"{key.tail}: {_scalar(key, _value(config, key))}"
        left_to_preset = key.name in PRESETS["balanced"] and (
            origin == DEFAULT or origin.startswith("preset,")
        )
        if explained and left_to_preset:
            setting = f"# {setting}"
        yield bool(inner), setting, _explained(key) if explained else origin


def _section(
    config: Config, key: Key, origins: dict[str, str], explained: bool
) -> Iterator[tuple[int, str, str]]:
    """What is set by speaker."""
    from csm_chat.config.settings import speaker_keys

    held: dict[Any, Any] = getattr(config, key.name)
    if not held:
        yield 0, f"{key.name}: {{}}", key.help if explained else DEFAULT
        return
    yield 0, f"{key.name}:", key.help if explained else ""
    for speaker, value in sorted(held.items()):
        place = f"{key.name}.{speaker}"
        shown = _quoted(str(speaker))
        if isinstance(value, str):
            origin = origins.get(place, DEFAULT)
            yield 1, f"{shown}: {_quoted(value)}", "" if explained else origin
            continue
        yield 1, f"{shown}:", ""
        for own in speaker_keys():
            origin = origins.get(f"{place}.{own.name}", DEFAULT)
            if (of_it := getattr(value, own.name)) is not None:
                yield 2, f"{own.name}: {_scalar(own, of_it)}", "" if explained else origin


def _value(config: Config, key: Key) -> object:
    value: object = config
    for part in key.name.split("."):
        value = getattr(value, part)
    return value


def _scalar(key: Key, value: object) -> str:
    if value is None:
        return key.null
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _explained(key: Key) -> str:
    facts = ", ".join(filter(None, (key.limits, f"default {key.default_words}")))
    return f"{key.help} ({facts})"


def _shown(lines: Iterator[tuple[int, str, str]]) -> list[str]:
    shown = [("  " * depth + setting, remark) for depth, setting, remark in lines]
    room = max(len(setting) for setting, _ in shown if len(setting) < 40)
    return [f"{s:{room}}  # {remark}".rstrip(" #") for s, remark in shown]


def _write(path: Path, text: str, force: bool) -> None:
    """Raises UsageError, CsmChatError."""
    from csm_chat.voices.references import replace_file

    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file in it")
    if path.exists() and not force:
        raise UsageError(f"{path}: exists already; give another name, or --force to replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise CsmChatError(f"{path}: cannot be saved ({error.strerror})") from error

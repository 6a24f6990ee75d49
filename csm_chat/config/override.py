"""Settings laid over others: from CSM_CHAT_* variables, from flags, from what is typed.

Does not read files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from operator import attrgetter
from typing import Any

from csm_chat.config.schema import Key, Value, nearest, shown
from csm_chat.config.settings import (
    MAX_SPEAKER,
    PRESETS,
    Config,
    SpeakerConfig,
    keys,
    speaker_key,
    speaker_keys,
)
from csm_chat.errors import ConfigError

SPEAKERS = "speakers"  # the section with one below it for each speaker
# variables that are no settings: what must not be shown is read where it is used
SECRETS = ("CSM_CHAT_WATERMARK_KEY",)


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
    return laid_over(config, values)


def variable(key: Key) -> str:
    """The environment variable that sets a key."""
    return f"CSM_CHAT_{key.name.replace('.', '_').upper()}"


def override(config: Config, key: str, value: str) -> Config:
    """`config` with one setting from text. `key` may be the last part of a dotted name."""
    found = named(key)
    if found.kind is dict:
        what, tail = ("setting", ".speed") if found.name == SPEAKERS else ("name", "")
        raise ConfigError(f"{found.name}: one {what} at a time, as {found.name}.0{tail}")
    return laid_over(config, {found.name: found.read(value)})


def override_live(config: Config, key: str, value: str) -> Config:
    """`override` while the program runs. Raises ConfigError if it changes what is read at start."""
    new = override(config, key, value)
    fixed = [each for each in keys() if not each.live and _value(each, new) != _value(each, config)]
    if (own := named(key)).name.startswith(f"{SPEAKERS}.") and not own.live:
        fixed.append(own)
    if fixed:
        raise ConfigError(
            f"{fixed[0].name} is read at the start: set it in config.yaml or by a flag"
        )
    return new


def _value(key: Key, config: Config) -> object:
    return attrgetter(key.name)(config)


def named(key: str) -> Key:
    """The setting of that name, or whose dotted name ends so. Raises ConfigError."""
    name = key.strip().lower()
    found = exact(name)
    if found is not None:
        return found
    tails = [each for each in keys() if each.tail == name]
    if len(tails) == 1:
        return tails[0]
    speaker, _, tail = name.rpartition(".")
    if speaker and speaker not in sections() and tail in (each.name for each in speaker_keys()):
        return of_speaker(speaker, tail)
    raise unknown(name)


def laid_over(config: Config, values: Mapping[str, Value]) -> Config:
    changes: dict[str, Any] = {}
    preset = PRESETS[str(values["preset"])] if "preset" in values else {}
    for name, value in {**preset, **values}.items():
        section, _, tail = name.rpartition(".")
        if not section:
            changes[name] = value
        elif section == "voices":
            names = changes.get(section, config.voices)
            changes[section] = {**names, int(tail): value}
        elif section.startswith(f"{SPEAKERS}."):
            speakers = changes.get(SPEAKERS, config.speakers)
            speaker = section.partition(".")[2]
            own = replace(speakers.get(speaker, SpeakerConfig()), **{tail: value})
            changes[SPEAKERS] = {**speakers, speaker: own}
        else:
            changes[section] = replace(
                changes.get(section, getattr(config, section)), **{tail: value}
            )
    return replace(config, **changes)


@cache
def sections() -> tuple[str, ...]:
    """What holds further keys."""
    dotted = dict.fromkeys(key.name.partition(".")[0] for key in keys() if "." in key.name)
    return ("voices", SPEAKERS, *dotted)


def of_speaker(speaker: str, tail: str) -> Key:
    """A setting of one speaker. Raises ConfigError for a name or setting that cannot be."""
    place = f"{SPEAKERS}.{speaker_key(speaker)}"
    if not speaker_key(speaker):
        raise ConfigError(f"{SPEAKERS}: needs a speaker's name or number (0 - {MAX_SPEAKER})")
    found = next((key for key in speaker_keys() if key.name == tail), None)
    if found is None:
        guess = nearest(tail, [key.name for key in speaker_keys()])
        hint = f" Did you mean {place}.{guess}?" if guess else ""
        raise ConfigError(f"{place}.{tail}  unknown key.{hint}")
    return replace(found, name=f"{place}.{tail}")


def exact(name: str) -> Key | None:
    section, _, tail = name.partition(".")
    if section == SPEAKERS and "." in tail:
        return of_speaker(*tail.rsplit(".", 1))
    if section != "voices" or not tail:
        return next((key for key in keys() if key.name == name), None)
    if not re.fullmatch("[0-9]{1,3}", tail):
        raise ConfigError(f"voices: {shown(tail)} is not a speaker number (0 - {MAX_SPEAKER})")
    return Key(f"voices.{int(tail)}", str, optional=False, default="no name", help="a name")


def unknown(name: str) -> ConfigError:
    words = name if name.isprintable() and len(name) <= 40 else shown(name)
    guess = nearest(name, [*sections(), *(key.name for key in keys())])
    return ConfigError(f"{words}  unknown key." + (f" Did you mean {guess}?" if guess else ""))

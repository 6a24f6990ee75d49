"""Every setting: its name, default, limits, and whether it may change while the prompt runs.

Does not read the file, the environment or flags (`read`, `override`), and uses no setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache

from csm_chat.config.schema import Key, Value, describe, option
from csm_chat.types import Sampling

MAX_SPEAKER = 999
LEXICON = "lexicon.txt"  # by default: nobody misses it
_DRAWN = Sampling()  # how codes are drawn when nothing is set; the defaults below are its own

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
    temperature: float = option(
        _DRAWN.temperature, "how freely codes are drawn; 0 is greedy", low=0.0, high=2.0, live=True
    )
    top_k: int = option(
        _DRAWN.top_k, "draw from this many likeliest codes; 0 is off", low=0, live=True
    )
    top_p: float = option(
        _DRAWN.top_p,
        "draw from the likeliest codes that make up this share; 1 is off",
        low=0.0,
        high=1.0,
        live=True,
    )
    min_p: float = option(
        _DRAWN.min_p,
        "leave out codes below this share of the likeliest one; 0 is off",
        low=0.0,
        high=1.0,
        live=True,
    )
    min_tokens_to_keep: int = option(
        _DRAWN.min_tokens_to_keep,
        "this many of the likeliest codes are never left out by top_p and min_p",
        low=1,
        live=True,
    )
    depth_temperature: float | None = option(
        _DRAWN.depth_temperature,
        "temperature of codebooks 1 and up; null follows temperature",
        low=0.0,
        high=2.0,
        live=True,
    )
    depth_top_k: int | None = option(
        _DRAWN.depth_top_k, "top_k of codebooks 1 and up; null follows top_k", low=0, live=True
    )
    depth_top_p: float | None = option(
        _DRAWN.depth_top_p,
        "top_p of codebooks 1 and up; null follows top_p",
        low=0.0,
        high=1.0,
        live=True,
    )
    depth_min_p: float | None = option(
        _DRAWN.depth_min_p,
        "min_p of codebooks 1 and up; null follows min_p",
        low=0.0,
        high=1.0,
        live=True,
    )
    seed: int | None = option(
        None,
        "seed of the first take; random draws one a take",
        low=0,
        high=2**32 - 1,
        null="random",
        live=True,
    )


@dataclass(frozen=True, slots=True)
class SpeakerConfig:
    """What is set of one speaker; None is as for all."""

    name: str | None = option(None, "what a speaker known by a number is called")
    temperature: float | None = option(
        None, "how freely codes are drawn for this speaker", low=0.0, high=2.0, live=True
    )
    top_k: int | None = option(
        None, "draw from this many likeliest codes for this speaker", low=0, live=True
    )
    gain: float | None = option(None, "decibels louder or softer", low=-40.0, high=20.0, live=True)
    speed: float | None = option(
        None, "how quick, pitch kept; 1 is as spoken", low=0.5, high=2.0, live=True
    )
    lexicon: str | None = option(
        None, "file of words that this speaker says in another way, beside the references folder"
    )

    def over(self, other: SpeakerConfig) -> SpeakerConfig:
        """These settings, and another's where there are none."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return SpeakerConfig(
            **{name: getattr(other, name) if it is None else it for name, it in own.items()}
        )


@dataclass(frozen=True, slots=True)
class ContextConfig:
    max_turns: int = option(16, "turns of history the model hears; 0 is none", low=0, live=True)
    max_turn_s: float = option(25.0, "seconds a turn may last", low=1.0, high=90.0, live=True)
    max_reference_s: float = option(15.0, "seconds kept of a reference clip", low=1.0, high=90.0)


@dataclass(frozen=True, slots=True)
class AudioConfig:
    device: str = option(
        "default", "part of a device's name, its index, default, or off", live=True
    )
    latency_s: float = option(0.2, "seconds of sound the device holds", low=0.01, high=5.0)
    start: str = option(
        "auto",
        "when a take starts to play: as measured, at once, free of gaps, or once it is whole",
        choices=("auto", "asap", "smooth", "render"),
        live=True,
    )
    chunk_frames: int = option(
        1, "frames of 80 ms decoded and handed on at a time", low=1, high=12, live=True
    )


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    model: str = option("base", "openai-whisper model that transcribes clips: a name or a file")


@dataclass(frozen=True, slots=True)
class CheckConfig:
    mode: str = option(
        "off",
        "hear each take and compare its words, its voice, its level and its ends",
        choices=("off", "words"),
        live=True,
    )
    retries: int = option(
        2,
        "how often a take that fails is made again, where it is not played",
        low=0,
        high=8,
        live=True,
    )


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
    adapter: str | None = option(
        None,
        "a voice that was fine-tuned: its name in the adapters folder, or a folder; null is none",
        null="none",
        live=True,
    )
    graphs: bool = option(True, "on a GPU: record a frame's steps and launch them as one")
    preset: str = option(
        "balanced",
        "what to favour; sets " + ", ".join(PRESETS["balanced"]) + " where they are not set",
        choices=tuple(PRESETS),
        live=True,
    )
    speaker: int = option(0, "number of who speaks first", low=0, high=MAX_SPEAKER, live=True)
    offsets: str = option(
        "strict",
        "digits that end a part: strict wants closing punctuation before them, classic any text",
        choices=("strict", "classic"),
        live=True,
    )
    normalize: bool = option(
        True, "read numbers, dates and symbols to the model as words", live=True
    )
    directions: str = option(
        "drop",
        "stage directions, as *laughs*, (laughs), [sighs]: not read, kept as typed, read as words",
        choices=("drop", "keep", "speak"),
        live=True,
    )
    lexicon: str | None = option(
        LEXICON,
        "file of words that are said in another way, beside the references folder; null is none",
    )
    speed: float = option(
        1.0, "how quick speech is, pitch kept; 1 is as spoken", low=0.5, high=2.0, live=True
    )
    gain: float = option(
        0.0, "decibels louder or softer, of playback and files", low=-40.0, high=20.0, live=True
    )
    gap: float | None = option(
        None,
        "seconds between parts; below 0 the next speaker begins over the end of the one before; "
        "auto is 0 at the prompt, 0.35 in a scene",
        low=-5.0,
        high=60.0,
        null="auto",
        live=True,
    )
    references: str = option("references", "folder of voice clips")
    adapters: str = option("adapters", "folder of voices that were fine-tuned")
    takes: str = option("takes", "folder that takes are saved under")
    history: bool = option(True, "keep typed lines for the next session")
    voices: dict[int, str] = field(
        default_factory=dict, metadata={"help": "names by speaker number"}
    )
    speakers: dict[str, SpeakerConfig] = field(
        default_factory=dict,
        metadata={"help": "settings by speaker name or number", "live": True},
    )
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    whisper: WhisperConfig = field(default_factory=WhisperConfig)
    check: CheckConfig = field(default_factory=CheckConfig)
    watermark: WatermarkConfig = field(default_factory=WatermarkConfig)

    @property
    def named(self) -> Mapping[int, str]:
        """Names by speaker number, wherever they are set."""
        numbered = ((key, its.name) for key, its in self.speakers.items() if key.isdecimal())
        return self.voices | {int(key): name for key, name in numbered if name}


@cache
def keys() -> tuple[Key, ...]:
    """Every setting, in the order of the dataclasses."""
    return tuple(describe(Config))


def speaker_key(name: str) -> str:
    """How settings of a speaker are kept: by the name in any case, or the number."""
    text = " ".join(name.split()).casefold()
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_SPEAKER))
    return str(int(text)) if is_number else text


@cache
def speaker_keys() -> tuple[Key, ...]:
    """What may be set of a speaker, without the speaker."""
    return tuple(describe(SpeakerConfig))

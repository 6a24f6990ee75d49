"""Settings: one frozen `Config` out of config.yaml, with flags laid over it. Knows YAML, knows no setting's use."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    temperature: float = 0.9  # 0 - 2; 0 is greedy
    top_k: int = 50  # codes; 0 is off
    top_p: float = 1.0  # 0 - 1; 1 is off
    min_p: float = 0.0  # 0 - 1; 0 is off
    depth_temperature: float | None = None  # as temperature, for codebooks 1 and up; null follows it
    depth_top_k: int | None = None
    depth_top_p: float | None = None
    depth_min_p: float | None = None
    seed: int | None = None  # first seed; null draws one a take


@dataclass(frozen=True, slots=True)
class ContextConfig:
    max_turns: int = 16  # turns of history; 0 is none
    max_turn_s: float = 25.0  # seconds a single turn may last
    max_reference_s: float = 15.0  # seconds kept of a reference clip


@dataclass(frozen=True, slots=True)
class AudioConfig:
    device: str = "default"  # part of a name, an index, "default", or "off"
    latency_s: float = 0.2  # seconds the device holds
    start: str = "auto"  # auto | asap | smooth | render


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    model: str = "base"  # name of an openai-whisper model, or a path


@dataclass(frozen=True, slots=True)
class Config:
    model: str = "auto"  # auto | Hugging Face repository | folder
    device: str = "auto"  # auto | cpu | cuda | mps
    dtype: str = "auto"  # auto | float32 | bfloat16 | float16
    speaker: int = 0  # who speaks first
    offsets: str = "strict"  # strict | classic
    references: str = "references"  # folder of voice clips
    takes: str = "takes"  # folder that takes are saved under
    history: bool = True  # remember typed lines between sessions
    voices: dict[int, str] = field(default_factory=dict)  # names by speaker number
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    whisper: WhisperConfig = field(default_factory=WhisperConfig)

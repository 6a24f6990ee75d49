"""What a measuring process answers. Times are seconds, sizes bytes."""

from __future__ import annotations

from dataclasses import dataclass

from csm_chat.engine.choice import name_in_torch


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure, in the words of config.yaml."""

    model: str  # a folder, a repository, or auto
    backend: str
    device: str
    dtype: str
    quantize: str
    graphs: bool
    packed: str | None = None  # folder for packed weights; None: the user's cache


@dataclass(frozen=True, slots=True)
class Ready:
    """A loaded model."""

    name: str
    folder: str
    device: str
    numbers: str  # what the weights are: float16, int4 ...
    context_rows: int
    n_threads: int
    library: str  # and its version

    @property
    def torch_device(self) -> str:
        """The device by torch's name."""
        return name_in_torch(self.device)


@dataclass(frozen=True, slots=True)
class TimedTake:
    """A prompt computed and some frames of the answer."""

    n_rows: int  # that were computed before the first frame
    first_s: float  # until that frame
    again_s: float  # the same with all rows but the last computed already
    frame_s: tuple[float, ...]  # of each frame after the first
    decode_s: tuple[float, ...]  # of each frame's samples

    @property
    def row_s(self) -> float:
        """What a row of the prompt takes."""
        return max(0.0, self.first_s - self.again_s) / max(1, self.n_rows - 1)


@dataclass(frozen=True, slots=True)
class Split:
    """Where a frame's time goes; medians."""

    frame_s: float
    backbone_s: float
    depth_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What a frame reads, and how fast this process reads memory."""

    frame_bytes: int
    bytes_a_s: float

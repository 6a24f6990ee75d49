"""How a model is to be loaded, as one value. Chooses nothing: `choice.resolve` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What was asked for, "auto" included, until `choice.resolve` says what it means here."""

    backend: str = AUTO  # torch or mlx
    device: str = AUTO  # with torch cuda, mps or cpu; with mlx metal or cpu
    dtype: str = AUTO  # float32, bfloat16 or float16
    quantize: str = AUTO  # none, int8 or int4
    graphs: bool = True  # a GPU is given a frame's steps recorded: CUDA graphs, MLX's compile
    cache: Path | None = None  # folder below which packed weights are kept; None: nowhere

    @property
    def is_packed(self) -> bool:
        return self.quantize != "none"

    @property
    def is_resolved(self) -> bool:
        return AUTO not in (self.backend, self.device, self.dtype, self.quantize)

    @property
    def codec_device(self) -> str:
        """Where the codec computes, which is torch's: beside MLX a cpu is quick enough for it."""
        return "cpu" if self.backend == "mlx" else self.device

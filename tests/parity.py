"""The parity folders, small edits of them, and the engines that run on them. Knows no test."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

from csm_chat.engine import choice
from csm_chat.engine.options import LoadOptions
from csm_chat.types import Codes, Engine, Prompt

PARITY = Path(__file__).parent / "data" / "parity"
FOLDERS = ("tiny-a", "tiny-a-hf", "tiny-a-mlx", "tiny-b")

# mlx is there wherever pip has it: on Linux and on Apple silicon, see test_mlx.py
BACKENDS = ("torch", "mlx") if find_spec("mlx") else ("torch",)
on_each_backend = pytest.mark.usefixtures("each_backend")
backend = "torch"  # what `load_engine` loads with; `each_backend` changes it

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What the reference answers on a folder."""

    prompt: Prompt
    greedy_codes: Codes
    first_frame_logits: npt.NDArray[np.float32]
    last_frame_logits: npt.NDArray[np.float32]


def load_engine(folder: Path, dtype: str = "float32") -> Engine:
    """By the backend that is this test's, on a cpu."""
    return choice.load_engine(folder, on_cpu(dtype, backend=backend))


def on_cpu(
    dtype: str = "float32",
    quantize: str = "none",
    backend: str = "torch",
    cache: Path | None = None,
) -> LoadOptions:
    return LoadOptions(backend, "cpu", dtype, quantize, cache=cache)


def load_torch(folder: Path) -> Engine:
    """By torch, in float32."""
    return choice.load_engine(folder, on_cpu())


def expected(name: str) -> Expected:
    with np.load(PARITY / name / "expected.npz") as arrays:
        prompt = Prompt(arrays["tokens"], arrays["mask"])
        return Expected(
            prompt,
            arrays["greedy_codes"],
            arrays["first_frame_logits"],
            arrays["last_frame_logits"],
        )


def weights_file(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


def tensors(name: str) -> Tensors:
    return load_file(weights_file(PARITY / name))


def config(name: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((PARITY / name / "config.json").read_text("utf-8"))
    return fields


def write_config(folder: Path, fields: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")


def copy(name: str, folder: Path, **edits: torch.Tensor | None) -> Path:
    """A copy of a parity folder in `folder`, with tensors replaced, or left out where None."""
    folder.mkdir(exist_ok=True)
    shutil.copy(PARITY / name / "config.json", folder)
    kept = {key: t for key, t in (tensors(name) | edits).items() if t is not None}
    save_file(kept, folder / weights_file(PARITY / name).name)
    return folder


def text_rows(ids: list[int], codebooks: int) -> Prompt:
    tokens = np.zeros((len(ids), codebooks + 1), np.int32)
    tokens[:, -1] = ids
    mask = np.zeros_like(tokens, np.bool_)
    mask[:, -1] = True
    return Prompt(tokens, mask)


def audio_rows(codes: Codes) -> Prompt:
    tokens = np.pad(codes, ((0, 0), (0, 1))).astype(np.int32)
    mask = np.ones_like(tokens, np.bool_)
    mask[:, -1] = False
    return Prompt(tokens, mask)


def joined(*prompts: Prompt) -> Prompt:
    return Prompt(
        np.concatenate([p.tokens for p in prompts]), np.concatenate([p.mask for p in prompts])
    )

"""Where a torch engine's time goes: seconds in the backbone and in the depth decoder.

By hooks that are there only while it is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from csm_chat.engine.torch.engine import TorchEngine


@dataclass(slots=True)
class Stages:
    """Seconds so far. Both stay 0 where a graph runs in the modules' place."""

    backbone_s: float = 0.0
    depth_s: float = 0.0


@contextmanager
def counting(engine: TorchEngine) -> Iterator[Stages]:
    """Count in what is yielded. Its heads are not part of the depth decoder here."""
    stages = Stages()
    with ExitStack() as hooks:
        for module, name in zip(engine.stages(), ("backbone_s", "depth_s"), strict=True):
            hooks.enter_context(_counted(module, stages, name))
        yield stages


@contextmanager
def _counted(module: nn.Module, stages: Stages, name: str) -> Iterator[None]:
    starts: list[float] = []

    def start(*_: object) -> None:
        starts.append(_now())

    def stop(*_: object) -> None:
        setattr(stages, name, getattr(stages, name) + _now() - starts.pop())

    before = module.register_forward_pre_hook(start)
    after = module.register_forward_hook(stop)
    try:
        yield
    finally:
        before.remove()
        after.remove()


def _now() -> float:
    """The time, once a GPU has done what it was given."""
    if torch.cuda.is_available():
        if not torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
    return time.perf_counter()

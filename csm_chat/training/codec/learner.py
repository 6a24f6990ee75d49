"""What learns beside a codec, to judge it: a network with its optimiser. Knows no codec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Learner:
    """A network that judges; a run keeps it as an extra."""

    def __init__(self, name: str, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """`name` is the network's in checkpoints."""
        self._name, self._network, self._optimiser = name, network, optimiser

    def _learn(self, loss: Tensor) -> Tensor:
        """Take a step; returns the loss, detached. What the codec's own step left is dropped."""
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        self._optimiser.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        return {
            self._name: self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._network.load_state_dict(state_dict[self._name])
        self._optimiser.load_state_dict(state_dict["optimiser"])


def layers_apart(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> list[Tensor]:
    """How far each layer's output is from the other's, in parts of that; theirs get no gradient."""
    return [
        (a - b.detach()).float().abs().mean() / b.detach().float().abs().mean().clamp(min=1e-3)
        for a, b in zip(ours, theirs, strict=True)
    ]

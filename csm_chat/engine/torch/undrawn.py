"""Models of torch's without the random weights that theirs begin with. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWS = (nn.init.uniform_, nn.init.kaiming_uniform_, nn.init.normal_)


@contextmanager
def undrawn() -> Iterator[None]:
    """What is built within has shapes and dtypes, no memory and no values (device "meta").

    Drawing weights there would import torch's compiler and sympy, for 3 s.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Tensor | Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            return kwargs["tensor"]
        return func(*args, **kwargs)

"""A frame's steps as CUDA graphs: some hundred kernels, launched by one call.

Each graph reads and writes the same memory every time: the state before a frame, its noise, its
codes, and the number of its row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from csm_chat.checkpoint.sizes import CsmSizes
from csm_chat.engine.torch.cache import Cache
from csm_chat.engine.torch.frames import FrameSteps
from csm_chat.engine.torch.sampling import Sampler
from csm_chat.types import Codes

_LEAST_VISIBLE = 256  # rows that a graph looks at
_WARM_UPS = 2  # runs before a capture: libraries take their workspace then
_MOST_SAMPLERS = 4  # settings whose graphs are kept


class Graph(Protocol):
    def replay(self) -> None: ...


Capture: TypeAlias = "Callable[[Callable[[], None]], Graph]"


def capture(step: Callable[[], None]) -> Graph:
    """Record what `step` does on the current CUDA device. It is run, so its memory is written."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


class FrameGraphs:
    """`FrameSteps`, recorded once for each sampling, and for the rows that are looked at."""

    def __init__(
        self, steps: FrameSteps, sizes: CsmSizes, backbone: Cache, capture: Capture = capture
    ) -> None:
        self._steps, self._backbone, self._capture = steps, backbone, capture
        self._windows = _windows(sizes.context_rows)
        device, dtype = backbone.keys.device, backbone.keys.dtype
        takes = backbone.n_takes
        self._hidden = torch.zeros(takes, sizes.backbone.width, device=device, dtype=dtype)
        self._codes = torch.zeros(takes, sizes.codebooks, device=device, dtype=torch.int64)
        self._noise = torch.zeros(takes, sizes.codebooks, sizes.entries, device=device)
        self._row = torch.zeros(1, device=device, dtype=torch.int64)
        self._draws: dict[tuple[Sampler, Sampler], Graph] = {}
        self._feeds: dict[int, Graph] = {}

    @torch.inference_mode()
    def begin(self, hidden: Tensor, draw_first: Sampler, draw_next: Sampler, n_rows: int) -> None:
        """Make ready for takes: `hidden`, (1, width), is their state after `n_rows` rows.

        What was not recorded yet is. Raises RuntimeError where the device does not allow it.
        """
        self._key = (draw_first, draw_next)
        self._row.fill_(n_rows)  # recording writes there: no row of the cache's own
        if self._key not in self._draws:
            while len(self._draws) >= _MOST_SAMPLERS:
                del self._draws[next(iter(self._draws))]
            self._draws[self._key] = self._capture(self._draw)
        for visible in self._windows:
            if visible > n_rows and visible not in self._feeds:
                self._feeds[visible] = self._capture(partial(self._feed, visible))
        self._hidden.copy_(hidden)

    @torch.inference_mode()
    def draw(self, noise: Tensor) -> Callable[[], Codes]:
        """Have a frame of each take drawn; what is returned waits for them and hands them over.

        `noise` is (takes, codebooks, n).
        """
        self._noise[..., : noise.shape[-1]].copy_(noise, non_blocking=True)
        self._draws[self._key].replay()
        if self._codes.device.type != "cuda":
            codes = self._codes.clone()
            return lambda: codes.to(torch.int32).numpy()
        host = torch.empty(self._codes.shape, dtype=torch.int64, pin_memory=True)
        host.copy_(self._codes, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's
        copied.record()  # type: ignore[no-untyped-call]

        def handed_over() -> Codes:
            copied.synchronize()
            return host.to(torch.int32).numpy()

        return handed_over

    @torch.inference_mode()
    def feed(self, row: int) -> None:
        """Have the frames drawn last computed as the caches' `row`."""
        self._row.fill_(row)
        self._feeds[next(visible for visible in self._windows if visible > row)].replay()

    def _draw(self) -> None:
        draw_first, draw_next = self._key
        codes = self._steps.draw(self._hidden, draw_first, draw_next, self._noise, _go_on)
        self._codes.copy_(codes)

    def _feed(self, visible: int) -> None:
        span = self._backbone.moving_span(self._row, visible)
        self._hidden.copy_(self._steps.feed(self._codes, span, _go_on))


def _windows(context_rows: int) -> list[int]:
    """Rows that a graph looks at: twice as many as the one before, the last one all."""
    windows = [_LEAST_VISIBLE]
    while windows[-1] < context_rows:
        windows.append(2 * windows[-1])
    return [min(visible, context_rows) for visible in windows]


def _go_on() -> None:
    """A graph is not left half way."""

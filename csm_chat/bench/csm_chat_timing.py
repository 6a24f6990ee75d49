"""csm_chat's engine and codec, timed from outside: what a `Remote` serves."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csm_chat.assemble import load
from csm_chat.bench import machine
from csm_chat.bench.answers import Reading, Ready, Split, TimedTake, Wanted
from csm_chat.bench.dialogue import conversation, first, line
from csm_chat.checkpoint.sizes import read_sizes
from csm_chat.conversation.prompt import join
from csm_chat.errors import CsmChatError
from csm_chat.types import Backend, Prompt, Sampling

if TYPE_CHECKING:
    from csm_chat.engine.torch.stages import Stages

Notify = Callable[[str], None]

_WARM_UP = 3  # frames
_MAX_TAKES = 100  # in a row that end before they have begun
_BESIDE_BYTES = 1.0e9  # what the libraries, the codec and the caches of a large model take


class Ours:
    """A loaded model. The thread that makes it measures it."""

    def __init__(self, notify: Notify, wanted: Wanted) -> None:
        """Load and compute a few frames. Raises ModelError, UsageError; CsmChatError if too big."""
        if wanted.packed:
            _check_memory(wanted)
        backend = load(**asdict(wanted), notify=notify)
        self._engine, self._codec = backend.engine, backend.codec
        self._ready = _ready(backend)
        self._seeds = count()
        self.take(1, _WARM_UP)

    def ready(self) -> Ready:
        return self._ready

    def peak_bytes(self) -> int:
        return machine.peak_bytes()

    def take(self, n_rows: int, n_frames: int) -> TimedTake:
        """Frames behind the first `n_rows` of a conversation, each decoded as it comes.

        Rows that the call before had in common are not computed again.
        """
        prompt = first(self._conversation(self._engine.context_rows), n_rows)
        first_s = self._until_frame(prompt)
        n_new = self._engine.prefilled_rows
        again_s = self._until_frame(prompt)
        decode_s: list[float] = []
        frame_s: list[float] = []
        for _ in range(_MAX_TAKES):
            times = self._timed(prompt, n_frames - len(frame_s) + 1, decode_s)
            next(times, None)
            frame_s += times
            if len(frame_s) == n_frames:
                return TimedTake(n_new, first_s, again_s, tuple(frame_s), tuple(decode_s))
        raise self._too_short()

    def takes(self, n_rows: int, n_frames: int, n_takes: int) -> float:
        """Seconds a frame of takes that are generated side by side."""
        prompt = first(self._conversation(self._engine.context_rows), n_rows)
        self._side_by_side(
            prompt, 1, n_takes
        )  # computes the rows, and records where there is a GPU
        for _ in range(_MAX_TAKES):
            before_s, n_before = self._side_by_side(prompt, 1, n_takes)
            all_s, n_all = self._side_by_side(prompt, 1 + n_frames, n_takes)
            if n_all > n_before:
                return (all_s - before_s) / (n_all - n_before)
        raise self._too_short()

    def _side_by_side(self, prompt: Prompt, n_frames: int, n_takes: int) -> tuple[float, int]:
        """Seconds and frames of all."""
        seeds = [next(self._seeds) for _ in range(n_takes)]
        start = time.perf_counter()
        said = self._engine.takes(prompt, Sampling(max_frames=n_frames), seeds)
        return time.perf_counter() - start, sum(map(len, said))

    def _until_frame(self, prompt: Prompt) -> float:
        """Seconds of computing a prompt and the first frame."""
        start = time.perf_counter()
        with closing(self._engine.frames(prompt, Sampling(max_frames=1))) as frames:
            next(frames, None)
            return time.perf_counter() - start

    def _timed(self, prompt: Prompt, n_frames: int, decode_s: list[float]) -> Iterator[float]:
        """Seconds of each frame of a take, which may end early; those of decoding are noted."""
        sampling = Sampling(seed=next(self._seeds), max_frames=n_frames)
        frames = self._engine.frames(prompt, sampling)
        with closing(frames), self._codec.decoding() as decode:
            while True:
                start = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    return
                frame_end = time.perf_counter()
                decode(frame[None])
                decode_s.append(time.perf_counter() - frame_end)
                yield frame_end - start

    def first_sample(self, n_rows: int) -> float:
        """Seconds from a new line to its first sample, in a conversation of `n_rows` so far.

        What was said so far has been computed, as it is while nobody waits.
        """
        said = self._conversation(n_rows) if n_rows else None
        for _ in range(_MAX_TAKES):
            seed = next(self._seeds)
            asked = line(self._engine.codebooks, np.random.default_rng(seed))
            prompt = asked if said is None else join([said, asked])
            if said is not None:
                self._engine.prefill(said, lambda: True)
            start = time.perf_counter()
            for _ in self._timed(prompt, 1, []):
                return time.perf_counter() - start
        raise self._too_short()

    def split(self, n_rows: int, n_frames: int) -> Split | None:
        """Where the time of a frame goes; None where this backend does not tell."""
        from csm_chat.engine.torch.engine import TorchEngine
        from csm_chat.engine.torch.stages import counting

        if not isinstance(self._engine, TorchEngine):
            return None
        prompt = first(self._conversation(self._engine.context_rows), n_rows)
        rows: list[tuple[float, float, float]] = []
        with counting(self._engine) as stages:
            for _ in range(_MAX_TAKES):
                rows += _stage_times(self._timed(prompt, n_frames + 1, []), stages)
                if len(rows) >= n_frames:
                    break
        if not rows or not stages.backbone_s or not stages.depth_s:
            return None
        return Split(*(statistics.median(column) for column in zip(*rows, strict=True)))

    def reading(self, n_rows: int) -> Reading:
        """What a frame reads, and how fast this process does."""
        from csm_chat.bench.limit import bytes_read_a_s, frame_bytes

        sizes = read_sizes(Path(self._ready.folder))
        n_bytes = frame_bytes(sizes, self._ready.numbers, n_rows)
        return Reading(n_bytes, bytes_read_a_s(self._ready.torch_device))

    def _too_short(self) -> CsmChatError:
        return CsmChatError(
            f"{self._ready.name}: its takes end at once, so no frame can be timed; "
            "measure another model, or --random"
        )

    def _conversation(self, n_rows: int) -> Prompt:
        return conversation(n_rows, self._engine.codebooks, self._engine.n_codes)


def _stage_times(times: Iterator[float], stages: Stages) -> Iterator[tuple[float, float, float]]:
    """Seconds of each frame but the first, of its backbone step, of its depth steps."""
    next(times, None)
    before = stages.backbone_s, stages.depth_s
    for whole_s in times:
        now = stages.backbone_s, stages.depth_s
        yield whole_s, now[0] - before[0], now[1] - before[1]
        before = now


def _ready(backend: Backend) -> Ready:
    import torch

    framework = "mlx" if backend.device == "metal" else "torch"
    return Ready(
        name=backend.name,
        folder=str(backend.path),
        device=backend.device,
        numbers=backend.dtype if backend.quantize == "none" else backend.quantize,
        context_rows=backend.engine.context_rows,
        n_threads=torch.get_num_threads(),
        library=f"{framework} {version(framework)}",
    )


def _check_memory(wanted: Wanted) -> None:
    """Raises CsmChatError where a model of random weights would not fit, in what it may take."""
    from csm_chat.bench.limit import weight_bytes
    from csm_chat.engine.choice import choose_device

    if choose_device(wanted.device) != "cpu":
        return
    numbers = "int8" if wanted.quantize == "auto" and wanted.dtype == "auto" else wanted.quantize
    if numbers in ("none", "auto"):
        numbers = "float32" if wanted.dtype == "auto" else wanted.dtype
    n_bytes = weight_bytes(read_sizes(Path(wanted.model)), numbers) + _BESIDE_BYTES
    advice = "close other programs, or try --quantize int4"
    machine.check_memory(n_bytes, f"CSM-1B in {numbers}", advice)

"""Which figures are taken, in which order.

Where there is a peer, both are timed in turns: what else the machine does slows both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from csm_chat.bench.answers import Reading, Ready, Split, TimedTake, Wanted
from csm_chat.bench.machine import GB
from csm_chat.bench.process import Remote
from csm_chat.bench.report import Figure, Point, Report, limit_figures
from csm_chat.errors import UsageError
from csm_chat.types import FRAME_MS

Notify = Callable[[str], None]

CONTEXTS = (100, 250, 500, 1000, 1500, 2000)  # rows
N_ROUNDS = 3
_POINT_FRAMES = 8
_SPLIT_FRAMES = 8
_SPARE_ROWS = 16  # for the line of a first sample


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    n_rows: int = 300  # of context, for the figures of a frame
    n_frames: int = 24
    n_said_rows: int = 1000  # of the conversation before the tenth turn
    n_takes: int | None = None  # side by side; None: that is not measured

    def check(self, context_rows: int) -> None:
        """Raise UsageError if the model has no room for it."""
        needed = max(self.n_rows + self.n_frames + 2, self.n_said_rows + _SPARE_ROWS)
        if needed > context_rows:
            raise UsageError(
                f"--rows {self.n_rows}, --frames {self.n_frames} and --said {self.n_said_rows} "
                f"take {needed} rows, the model has {context_rows}"
            )


def measure(
    wanted: Wanted, plan: Plan, is_against_peer: bool, notify: Notify, progress: Notify
) -> Report:
    """Load and time. Raises ModelError, UsageError, CsmChatError."""
    with ExitStack() as processes:
        progress("loading")
        start = time.perf_counter()
        ours = processes.enter_context(_ours(wanted, notify))
        load_s = time.perf_counter() - start
        ready: Ready = ours.call("ready")
        plan.check(ready.context_rows)
        peer, theirs = None, None
        if is_against_peer:
            progress("loading transformers")
            peer = processes.enter_context(_peer(ready, notify))
            theirs = peer.call("ready")
        figures = [Figure("load_s", "start to ready", load_s)]
        figures += _Measuring(ours, peer, plan, progress).figures()
        points = tuple(_points(ours, ready.context_rows, progress))
        peaks = [side.call("peak_bytes") / GB for side in (ours, peer) if side]
        figures.append(Figure("peak_gb", "peak memory of the process", *peaks))
        progress("the pace of the memory")
        reading: Reading = ours.call("reading", plan.n_rows)
    figures += limit_figures(reading, figures)
    return Report(ready, theirs, tuple(figures), points)


def _ours(wanted: Wanted, notify: Notify) -> Remote:
    from csm_chat.bench.csm_chat_timing import Ours

    return Remote(Ours, wanted, notify=notify)


def _peer(ready: Ready, notify: Notify) -> Remote:
    from csm_chat.bench.transformers_timing import Transformers

    return Remote(Transformers, ready.folder, ready.torch_device, notify=notify)


class _Measuring:
    """Rounds of one model, and of its peer if there is one."""

    def __init__(self, ours: Remote, peer: Remote | None, plan: Plan, progress: Notify) -> None:
        self._sides = [ours] if peer is None else [ours, peer]
        self._plan = plan
        self._progress = progress

    def figures(self) -> Iterator[Figure]:
        plan = self._plan
        lines: list[list[float]] = []
        takes: list[list[TimedTake]] = []
        for i in range(N_ROUNDS):
            self._progress(f"a line, and frames at {plan.n_rows} rows, {i + 1} of {N_ROUNDS}")
            # the line leaves nothing that the take's prompt could share
            lines.append(self._each("first_sample", 0))
            takes.append(self._each("take", plan.n_rows, max(1, plan.n_frames // N_ROUNDS)))
        said = []
        for i in range(N_ROUNDS):
            self._progress(f"a line after {plan.n_said_rows} rows, {i + 1} of {N_ROUNDS}")
            said.append(self._each("first_sample", plan.n_said_rows))
        yield Figure("first_sample_s", "first sample of a first line", *_medians(lines))
        what = f"first sample of a tenth, {plan.n_said_rows} rows said"
        yield Figure("first_sample_tenth_s", what, *_medians(said))
        yield from self._of_takes(list(zip(*takes, strict=True)))
        if plan.n_takes:
            yield from self._side_by_side(plan.n_takes)

    def _side_by_side(self, n_takes: int) -> Iterator[Figure]:
        rounds: list[list[float]] = []
        for i in range(N_ROUNDS):
            self._progress(f"{n_takes} takes side by side, {i + 1} of {N_ROUNDS}")
            asked = self._plan.n_rows, max(1, self._plan.n_frames // N_ROUNDS)
            rounds.append([self._sides[0].call("takes", *asked, n) for n in (1, n_takes)])
        one_s, many_s = _medians(rounds)
        what = f"{n_takes} takes side by side"
        yield Figure("takes_frame_ms", f"{what}, a frame of one", many_s * 1e3)
        gain = one_s / many_s if many_s > 0 else None  # they are differences
        yield Figure("takes_gain", f"{what}: throughput over one's", gain)

    def _of_takes(self, takes: list[tuple[TimedTake, ...]]) -> Iterator[Figure]:
        """`takes` of each side."""
        row_ms = [median(take.row_s for take in of_side) * 1e3 for of_side in takes]
        yield Figure("prefill_row_ms", f"prompt of {self._plan.n_rows} rows, a row", *row_ms)
        frame_ms = [median(_all(of_side, "frame_s")) * 1e3 for of_side in takes]
        yield Figure("frame_ms", f"frame at {self._plan.n_rows} rows", *frame_ms)
        self._progress("the parts of a frame")
        yield from self._split()
        mimi_ms = [median(_all(of_side, "decode_s")) * 1e3 for of_side in takes]
        yield Figure("mimi_ms", "Mimi, a frame", *mimi_ms)
        rtf = [(a + b) / FRAME_MS for a, b in zip(frame_ms, mimi_ms, strict=True)]
        yield Figure("rtf", "frame and Mimi over 80 ms (RTF)", *rtf)

    def _split(self) -> Iterator[Figure]:
        split: Split | None = self._sides[0].call("split", self._plan.n_rows, _SPLIT_FRAMES)
        if split is None:
            return
        rest_s = split.frame_s - split.backbone_s - split.depth_s
        for name, seconds in (
            ("backbone", split.backbone_s),
            ("depth", split.depth_s),
            ("rest", rest_s),
        ):
            yield Figure(f"{name}_ms", f"  of it {name}", seconds * 1e3)

    def _each(self, method: str, *args: object) -> list[Any]:
        return [side.call(method, *args) for side in self._sides]


def _medians(rounds: list[list[float]]) -> list[float]:
    """Of each column."""
    return [median(of_side) for of_side in zip(*rounds, strict=True)]


def _all(takes: tuple[TimedTake, ...], name: str) -> list[float]:
    return [seconds for take in takes for seconds in getattr(take, name)]


def _points(ours: Remote, context_rows: int, progress: Notify) -> Iterator[Point]:
    """What a frame and a row of a prompt cost as the context grows.

    The first one's frames are timed again at the end, so that a slower minute is not taken for
    growth.
    """
    rows = [n for n in CONTEXTS if n + _POINT_FRAMES + 2 <= context_rows]
    takes: list[TimedTake] = []
    for n_rows in rows:
        progress(f"frames at {n_rows} rows of context")
        takes.append(ours.call("take", n_rows, _POINT_FRAMES))
    if rows:
        again: TimedTake = ours.call("take", rows[0], _POINT_FRAMES)
        takes[0] = replace(takes[0], frame_s=takes[0].frame_s + again.frame_s)
    for n_rows, take in zip(rows, takes, strict=True):
        yield Point(n_rows, median(take.frame_s) * 1e3, take.row_s * 1e3)

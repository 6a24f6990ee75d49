"""Figures as a table, and as fields for programs. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from csm_chat.bench import machine
from csm_chat.bench.answers import Reading, Ready

_TIMES = ("_s", "_ms", "rtf", "peak_gb")  # of these theirs over ours says how much better ours is


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table."""

    key: str  # its unit comes last
    what: str
    ours: float | None
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        if not self.ours or self.peer is None or not self.key.endswith(_TIMES):
            return None
        return self.peer / self.ours

    def fields(self) -> dict[str, float | None]:
        return {"ours": self.ours, "peer": self.peer, "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class Point:
    """What a frame costs at so many rows of context, and a row of a prompt just before it."""

    rows: int
    frame_ms: float
    prefill_row_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured."""

    ready: Ready
    peer: Ready | None
    figures: tuple[Figure, ...]
    points: tuple[Point, ...]

    def lines(self, is_random: bool) -> list[str]:
        """What was measured, and where: what stands above the table."""
        ready = self.ready
        name = f"{ready.name}, random weights," if is_random else ready.name
        threads = f"{ready.n_threads} thread{'s' * (ready.n_threads > 1)}"
        return [
            f"{name} in {ready.numbers} on {ready.device}, {threads}, {ready.library}",
            f"{machine.processor()}, {machine.system()}, {datetime.now():%Y-%m-%d}",
        ]

    def heads(self) -> tuple[str, ...]:
        if self.peer is None:
            return "", "measured"
        return "", "csm_chat", f"{self.peer.library}, {self.peer.numbers}", "times as good"

    def rows(self) -> list[tuple[str, ...]]:
        return [self._cells(figure) for figure in (*self.figures, *self._growth())]

    def fields(self, is_random: bool) -> dict[str, object]:
        """For programs. Figures by key; what was not measured is None."""
        return {
            "date": f"{datetime.now():%Y-%m-%d}",
            "machine": {"processor": machine.processor(), "system": machine.system()},
            "model": {**asdict(self.ready), "is_random": is_random},
            "peer": asdict(self.peer) if self.peer else None,
            "figures": {f.key: f.fields() for f in (*self.figures, *self._growth())},
            "points": [asdict(point) for point in self.points],
        }

    def _growth(self) -> list[Figure]:
        """The longest context beside the shortest."""
        if len(self.points) < 2:
            return []
        least, most = self.points[0], self.points[-1]
        pair = f"at {most.rows} rows over at {least.rows}"
        rows = least.prefill_row_ms, most.prefill_row_ms  # differences, which noise may make 0
        return [
            Figure("frame_growth", f"frame {pair}", most.frame_ms / least.frame_ms),
            Figure("prefill_growth", f"prompt row {pair}", rows[1] / rows[0] if rows[0] else None),
        ]

    def _cells(self, figure: Figure) -> tuple[str, ...]:
        cells = figure.what, _number(figure.key, figure.ours)
        if self.peer is None:
            return cells
        ratio = "-" if figure.ratio is None else f"{figure.ratio:.2f}"
        return (*cells, _number(figure.key, figure.peer), ratio)


def limit_figures(reading: Reading, figures: Sequence[Figure]) -> list[Figure]:
    """What a frame would take if it only read its weights, and how near it comes."""
    (frame_ms,) = (figure.ours for figure in figures if figure.key == "frame_ms")
    least_ms = reading.frame_bytes / reading.bytes_a_s * 1e3
    assert frame_ms, figures
    return [
        Figure("frame_read_gb", "read of memory for a frame", reading.frame_bytes / machine.GB),
        Figure("memory_gb_a_s", "memory read in a second", reading.bytes_a_s / machine.GB),
        Figure("limit_ms", "least time of a frame by that", least_ms),
        Figure("limit_share", "share of the limit", least_ms / frame_ms),
    ]


def _number(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    if key.endswith("share"):
        return f"{value:.1%}"
    for ending, unit in (("_ms", "ms"), ("_gb_a_s", "GB"), ("_s", "s"), ("_gb", "GB")):
        if key.endswith(ending):
            return f"{value:.3g} {unit}"
    return f"{value:.2f}"

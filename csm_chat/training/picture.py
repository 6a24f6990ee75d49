"""Loss curves of a training log as an SVG drawing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

_WIDTH, _HEIGHT, _MARGIN = 760, 420, 50
_COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#7b4b94", "#00798c", "#8d5524", "#555555")
_MAX_POINTS = 600  # a curve; more than a pixel's worth is only bytes

_Curve: TypeAlias = "list[tuple[int, float]]"  # (step, value)


def draw_curves(log: Path, picture: Path) -> None:
    """Draw every figure named "loss" or "...loss" over the steps, values on a log axis."""
    curves = _read(log)
    if curves:
        picture.write_text(_svg(curves), encoding="utf-8")


def _read(log: Path) -> dict[str, _Curve]:
    curves: dict[str, _Curve] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        figures = json.loads(line)
        for name, value in figures.items():
            if name.endswith("loss") and value > 0:
                curves.setdefault(name, []).append((figures["step"], value))
    return curves


def _svg(curves: dict[str, _Curve]) -> str:
    values = [value for curve in curves.values() for _, value in curve]
    low, high = math.log10(min(values)), math.log10(max(values))
    high = max(high, low + 0.01)
    last = max(step for curve in curves.values() for step, _ in curve)

    def place(step: int, value: float) -> tuple[float, float]:
        share = (math.log10(value) - low) / (high - low)
        across = step / max(1, last)
        return (
            _MARGIN + across * (_WIDTH - 2 * _MARGIN),
            _HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_axis(low, high, last),
    ]
    for number, (name, curve) in enumerate(sorted(curves.items())):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in _thin(curve))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts.append(
            f'<text x="{_WIDTH - 220}" y="{20 + 14 * number}" fill="{colour}">'
            f"{name} {curve[-1][1]:.4g}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _axis(low: float, high: float, last: int) -> list[str]:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN)
        x = _MARGIN + share * (_WIDTH - 2 * _MARGIN)
        value = 10 ** (low + share * (high - low))
        parts.append(
            f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y}" y2="{y}" stroke="#dddddd"/>'
            f'<text x="4" y="{y + 4}">{value:.3g}</text>'
            f'<text x="{x - 12}" y="{_HEIGHT - _MARGIN + 16}">{round(share * last)}</text>'
        )
    return parts


def _thin(curve: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    every = max(1, len(curve) // _MAX_POINTS)
    return [*curve[::every], curve[-1]]

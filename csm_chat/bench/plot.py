"""Cost against context length as a picture: SVG, or PNG by Pillow. Measures nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from csm_chat.bench.report import Point
from csm_chat.errors import CsmChatError, UsageError

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_WIDTH, _PANEL, _TITLE, _BELOW = 720, 230, 46, 34  # px
_LEFT, _RIGHT, _HEAD = 64, 24, 26
_TEXT_PX, _DOT_PX = 13, 3.5
_PNG_SCALE = 2  # for screens of two pixels a px; shapes are drawn twice as fine again and shrunk
_INK, _GRID, _PAPER = "#1f2328", "#d0d7de", "#ffffff"
_COLOURS = ("#0072b2", "#d55e00")  # told apart by the colour-blind, too
_STEPS = (0.2, 0.5, 1, 2)  # of a power of ten

Anchor: TypeAlias = Literal["start", "middle", "end"]
_PIL_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


@dataclass(frozen=True, slots=True)
class Line:
    places: tuple[tuple[float, float], ...]
    colour: str
    width: float


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    colour: str


@dataclass(frozen=True, slots=True)
class Words:
    x: float
    y: float  # of the line they stand on
    text: str
    anchor: Anchor = "start"


Shape: TypeAlias = "Line | Dot | Words"


def check(path: Path) -> None:
    """Raise UsageError if no picture can be written there."""
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(f"--plot {path}: give a name that ends in {' or '.join(_WRITERS)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--plot {path}: name a file in a folder that is there")


def write(path: Path, points: Sequence[Point], title: str) -> None:
    """Draw the points. Raises CsmChatError: there are too few, or nothing can be written."""
    if len(points) < 2:
        raise CsmChatError(f"--plot {path}: the model's context is too short to draw its cost")
    try:
        _WRITERS[path.suffix.lower()](path, list(_shapes(points, title)))
    except OSError as error:
        reason = error.strerror or str(error)
        raise CsmChatError(f"--plot {path}: cannot be written ({reason}); name another") from error


def _shapes(points: Sequence[Point], title: str) -> Iterator[Shape]:
    yield Words(_LEFT, 26, title)
    rows = [point.rows for point in points]
    panels = (
        ("a frame, ms", [point.frame_ms for point in points]),
        ("a row of the prompt, ms", [point.prefill_row_ms for point in points]),
    )
    for i, (name, values) in enumerate(panels):
        yield from _panel(_TITLE + i * _PANEL, name, rows, values, _COLOURS[i])
    yield Words((_LEFT + _WIDTH - _RIGHT) / 2, _height() - 6, "rows of context", "middle")


def _panel(
    top: float, name: str, rows: Sequence[int], values: Sequence[float], colour: str
) -> Iterator[Shape]:
    highest, step = _scale(max(values))
    bottom, left, right = top + _PANEL - 40, _LEFT, _WIDTH - _RIGHT

    def place(n_rows: float, value: float) -> tuple[float, float]:
        x = left + n_rows / max(rows) * (right - left)
        return x, bottom - value / highest * (bottom - top - _HEAD)

    yield Words(left, top + 14, name)
    for i in range(round(highest / step) + 1):
        y = place(0, i * step)[1]
        yield Line(((left, y), (right, y)), _GRID, 1)
        yield Words(left - 8, y + 4, f"{i * step:.3g}", "end")
    for n_rows in rows:
        yield Words(place(n_rows, 0)[0], bottom + 18, str(n_rows), "middle")
    places = tuple(place(*each) for each in zip(rows, values, strict=True))
    yield Line(places, colour, 2)
    yield from (Dot(x, y, colour) for x, y in places)


def _scale(value: float) -> tuple[float, float]:
    """The end of an axis from 0 that holds a value, and the step of its two to five lines."""
    if value <= 0:
        return 1.0, 1.0
    power = 10.0 ** math.floor(math.log10(value))
    step = next(power * n for n in _STEPS if power * n * 5 >= value)
    return math.ceil(value / step) * step, step


def _height() -> float:
    return _TITLE + 2 * _PANEL + _BELOW - 20


def _write_svg(path: Path, shapes: Sequence[Shape]) -> None:
    size = {"width": str(_WIDTH), "height": f"{_height():g}"}
    view = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_WIDTH} {_height():g}"}
    root = Element("svg", {**view, **size, "font-family": "sans-serif", "font-size": str(_TEXT_PX)})
    SubElement(root, "rect", {**size, "fill": _PAPER})
    for shape in shapes:
        _add(root, shape)
    indent(root, " ")
    drawn: str = tostring(root, encoding="unicode")
    path.write_text(f"{drawn}\n", encoding="utf-8")


def _add(root: Element, shape: Shape) -> None:
    if isinstance(shape, Words):
        at = {"x": f"{shape.x:.1f}", "y": f"{shape.y:.1f}", "fill": _INK}
        SubElement(root, "text", {**at, "text-anchor": shape.anchor}).text = shape.text
    elif isinstance(shape, Line):
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.places)
        pen = {"stroke": shape.colour, "stroke-width": f"{shape.width:g}", "fill": "none"}
        SubElement(root, "polyline", {"points": places, **pen})
    else:
        at = {"cx": f"{shape.x:.1f}", "cy": f"{shape.y:.1f}", "r": str(_DOT_PX)}
        SubElement(root, "circle", {**at, "fill": shape.colour})


def _write_png(path: Path, shapes: Sequence[Shape]) -> None:
    from PIL import Image, ImageDraw, ImageFont

    size = _WIDTH * _PNG_SCALE, round(_height() * _PNG_SCALE)
    fine = Image.new("RGB", (size[0] * 2, size[1] * 2), _PAPER)  # Pillow's lines have hard edges
    pen = ImageDraw.Draw(fine)
    for shape in shapes:
        if not isinstance(shape, Words):
            _draw(pen, shape, 2.0 * _PNG_SCALE)
    image = fine.resize(size, Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(_TEXT_PX * _PNG_SCALE)
    for shape in shapes:
        if isinstance(shape, Words):
            place = shape.x * _PNG_SCALE, shape.y * _PNG_SCALE
            pen.text(place, shape.text, _INK, font, _PIL_ANCHORS[shape.anchor])
    image.save(path, "PNG")


def _draw(pen: ImageDraw, shape: Line | Dot, scale: float) -> None:
    if isinstance(shape, Line):
        places = [(x * scale, y * scale) for x, y in shape.places]
        pen.line(places, shape.colour, round(shape.width * scale), "curve")
    else:
        pen.circle((shape.x * scale, shape.y * scale), _DOT_PX * scale, shape.colour)


_WRITERS: dict[str, Callable[[Path, Sequence[Shape]], None]] = {
    ".png": _write_png,
    ".svg": _write_svg,
}

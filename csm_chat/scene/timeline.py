"""A picture of a scene: a lane a speaker, what it looks like, what is said, when. SVG, no more.

Knows no file.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from csm_chat.scene.mix import Placed, Scene, envelope
from csm_chat.types import SAMPLE_RATE

PX_PER_S = 80.0  # as long as the picture is no wider than this:
MAX_WIDTH_PX = 16_000.0
MIN_WIDTH_PX = 480.0
LABEL_PX, MARGIN_PX = 120.0, 16.0
TITLE_PX, AXIS_PX = 34.0, 30.0
LANE_PX, WAVE_PX, LINE_PX = 98.0, 48.0, 15.0
CHAR_PX, MAX_LINES = 6.4, 2  # of the words below a block; a character's width is about that
PEAK_PX = 2.0  # a peak of the waveform for so many
MIN_TEXT_PX = 24.0  # a block narrower than that has no room for words
TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
MIN_TICK_PX = 70.0
_NOT_XML = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
# told apart by the colour-blind, too, and readable on white as on black (after Okabe and Ito)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56a0d8", "#8a6fc7", "#7a7a7a")
# plain colours first: not every program that shows SVG knows media queries or variables
STYLE = """
.paper { fill: #ffffff }
.lane { fill: #f3f5f8 }
.grid { stroke: #d0d7de; stroke-width: 1 }
text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.name { font-size: 13px; font-weight: 600 }
.said { font-size: 12px }
.time { font-size: 11px; fill: #656d76 }
.block { fill-opacity: 0.14; stroke-opacity: 0.45; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 }
  .lane { fill: #161b22 }
  .grid { stroke: #30363d }
  text { fill: #e6edf3 }
  .time { fill: #8d96a0 }
}
"""


@dataclass(frozen=True, slots=True)
class _Scale:
    px_per_s: float
    width_px: float
    n_lanes: int

    @classmethod
    def of(cls, scene: Scene) -> _Scale:
        seconds = max(scene.n_samples / SAMPLE_RATE, 0.001)
        beside_px = LABEL_PX + 2 * MARGIN_PX
        px_per_s = min(PX_PER_S, (MAX_WIDTH_PX - beside_px) / seconds)
        px_per_s = max(px_per_s, (MIN_WIDTH_PX - beside_px) / seconds)
        return cls(px_per_s, beside_px + px_per_s * seconds, len(scene.speakers))

    def x(self, sample: int) -> float:
        return MARGIN_PX + LABEL_PX + sample / SAMPLE_RATE * self.px_per_s

    def lane(self, index: int) -> float:
        """The top of a lane."""
        return TITLE_PX + index * LANE_PX

    @property
    def bottom(self) -> float:
        return self.lane(self.n_lanes)

    @property
    def height_px(self) -> float:
        return self.bottom + AXIS_PX


def svg(scene: Scene, title: str) -> bytes:
    """The picture as UTF-8: some kilobytes a minute; wide, up to 16 000 px."""
    scale = _Scale.of(scene)
    size = {"width": _px(scale.width_px), "height": _px(scale.height_px)}
    box = f"0 0 {_px(scale.width_px)} {_px(scale.height_px)}"
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": box, **size})
    SubElement(root, "title").text = xml_text(title)
    SubElement(root, "style").text = STYLE
    SubElement(root, "rect", {"class": "paper", **size})
    _text(root, MARGIN_PX, 22, "title", title)
    _lanes(root, scene, scale)
    _axis(root, scene, scale)
    lanes = {speaker: index for index, speaker in enumerate(scene.speakers)}
    samples_each = max(1, round(PEAK_PX * SAMPLE_RATE / scale.px_per_s))
    for number, (each, peaks) in enumerate(envelope(scene, samples_each), 1):
        _block(root, scale, number, each, peaks, lanes[each.piece.speaker])
    indent(root, " ")
    drawn: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawn}\n'.encode()


def _lanes(root: Element, scene: Scene, scale: _Scale) -> None:
    names = {each.piece.speaker: each.piece.name for each in scene.placed}
    left, right = MARGIN_PX + LABEL_PX, scale.width_px - MARGIN_PX
    for index, speaker in enumerate(scene.speakers):
        top = scale.lane(index)
        box = {"x": _px(left), "y": _px(top + 2), "width": _px(right - left)}
        SubElement(root, "rect", {"class": "lane", **box, "height": _px(LANE_PX - 4)})
        name = SubElement(root, "svg", _view(MARGIN_PX, top, LABEL_PX - 8, LANE_PX))
        SubElement(name, "title").text = xml_text(names[speaker])
        label = _text(name, 0, 6 + WAVE_PX / 2 + 4, "name", names[speaker])
        label.set("style", f"fill: {_colour(index)}")


def _axis(root: Element, scene: Scene, scale: _Scale) -> None:
    for at_s, label in _ticks(scene.n_samples / SAMPLE_RATE, scale.px_per_s):
        x = _px(MARGIN_PX + LABEL_PX + at_s * scale.px_per_s)
        line = {"x1": x, "x2": x, "y1": _px(TITLE_PX), "y2": _px(scale.bottom + 4)}
        SubElement(root, "line", {"class": "grid", **line})
        text = _text(root, float(x), scale.bottom + 18, "time", label)
        text.set("text-anchor", "middle")


def _ticks(total_s: float, px_per_s: float) -> Iterator[tuple[float, str]]:
    step_s = next((s for s in TICKS_S if s * px_per_s >= MIN_TICK_PX), TICKS_S[-1])
    for index in range(int(total_s / step_s + 1e-6) + 1):
        at_s = index * step_s
        minutes, seconds = divmod(round(at_s, 1), 60)
        yield (
            at_s,
            f"{minutes:.0f}:{seconds:04.1f}" if step_s < 1 else f"{minutes:.0f}:{seconds:02.0f}",
        )


def _block(
    root: Element, scale: _Scale, number: int, each: Placed, peaks: list[float], lane: int
) -> None:
    """A turn: its box, its waveform, its words as far as they have room."""
    x, top = scale.x(each.start), scale.lane(lane) + 6
    width = max(1.0, scale.x(each.end) - x)
    group = SubElement(root, "g")
    SubElement(group, "title").text = xml_text(_described(number, each))
    colour = _colour(lane)
    box = {"x": _px(x), "y": _px(top), "width": _px(width), "height": _px(WAVE_PX), "rx": "4"}
    SubElement(group, "rect", {"class": "block", **box, "fill": colour, "stroke": colour})
    if peaks:
        SubElement(group, "path", {"d": _wave(x, width, top + WAVE_PX / 2, peaks), "fill": colour})
    if width >= MIN_TEXT_PX:
        words = SubElement(group, "svg", _view(x, top + WAVE_PX, width, LANE_PX - WAVE_PX - 8))
        for line, said in enumerate(_lines(each.piece.text, width), 1):
            _text(words, 2, 1 + line * LINE_PX, "said", said)


def _lines(text: str, width: float) -> list[str]:
    """As much of the text as has room below a block of that width."""
    n_chars = max(1, int(width / CHAR_PX))
    return textwrap.wrap(text, n_chars, max_lines=MAX_LINES, placeholder="\u2026")


def _wave(x: float, width: float, middle: float, peaks: list[float]) -> str:
    """The outline of a waveform, above the middle and back below it."""
    loudest = max(*peaks, 1e-6)
    reach = (WAVE_PX / 2 - 3) * min(1.0, loudest**0.5) / loudest  # soft speech is still to be seen
    step = width / len(peaks)
    points = [(x + (i + 0.5) * step, max(0.4, peak * reach)) for i, peak in enumerate(peaks)]
    above = [f"{_px(at)} {_px(middle - high)}" for at, high in points]
    below = [f"{_px(at)} {_px(middle + high)}" for at, high in reversed(points)]
    return (
        f"M{_px(x)} {_px(middle)}L{'L'.join([*above, f'{_px(x + width)} {_px(middle)}', *below])}Z"
    )


def _described(number: int, each: Placed) -> str:
    start_s, end_s = each.start / SAMPLE_RATE, each.end / SAMPLE_RATE
    return f"{number}  {each.piece.name}  {start_s:.3f} - {end_s:.3f} s\n{each.piece.text}"


def _text(parent: Element, x: float, y: float, kind: str, words: str) -> Element:
    text = SubElement(parent, "text", {"x": _px(x), "y": _px(y), "class": kind})
    text.text = xml_text(words)
    return text


def _view(x: float, y: float, width: float, height: float) -> dict[str, str]:
    """A picture within the picture: it shows nothing outside of its bounds."""
    bounds = {"x": _px(x), "y": _px(y), "width": _px(width), "height": _px(height)}
    return {**bounds, "overflow": "hidden"}


def _colour(lane: int) -> str:
    return COLOURS[lane % len(COLOURS)]


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def xml_text(text: str) -> str:
    """Without what XML cannot hold; the library escapes the rest."""
    return _NOT_XML.sub("", text)

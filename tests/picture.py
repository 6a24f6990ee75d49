"""A picture of the prompt at work: `python -m tests.picture OUT.svg`."""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

from pyte.screens import Char

from tests.program import CTRL_C, CTRL_D, Typist

ROOT = Path(__file__).parents[1]
SCENE = "Hi there!||Oh, hello.||How are you?0"
TYPED = "I am fine.||So am I, thank you."
FLAGS = ("--audio", "off", "--seed", "7", "--set", "voices.0=Ana", "--set", "voices.1=Ben")

CELL_X, CELL_Y, MARGIN = 8.4, 18, 14  # pixels
BACKGROUND, FOREGROUND = "#1e1f29", "#e6e6e6"
COLOURS = {
    "default": FOREGROUND, "black": "#3b3d4d", "red": "#ff6e67", "green": "#5af78e",
    "brown": "#f4f99d", "blue": "#7aa8ff", "magenta": "#ff92d0", "cyan": "#9aedfe",
    "white": "#f1f1f0", "brightblack": "#8a8da3",
}  # fmt: skip

Row = Sequence[Char]


def picture(rows: Iterable[Row]) -> str:
    """Rows of a terminal as SVG; of blank ones in a row, one."""
    kept = [
        row
        for is_blank, run in itertools.groupby(rows, lambda row: not _text(row).strip())
        for row in itertools.islice(run, 1 if is_blank else None)
    ]
    width, height = 100 * CELL_X + 2 * MARGIN, len(kept) * CELL_Y + 2 * MARGIN
    svg = Xml.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}"
    )
    Xml.SubElement(svg, "rect", width="100%", height="100%", rx="8", fill=BACKGROUND)
    style = {"font-family": "ui-monospace, Menlo, Consolas, monospace", "font-size": "14"}
    group = Xml.SubElement(svg, "g", style)
    for number, row in enumerate(kept):
        _draw(group, row, MARGIN + number * CELL_Y)
    Xml.indent(svg, " ")
    return Xml.tostring(svg, encoding="unicode") + "\n"


def _draw(group: Xml.Element, row: Row, top: float) -> None:
    for start, chars in _runs(row):
        ink, paper = _colour(chars[0].fg, FOREGROUND), _colour(chars[0].bg, BACKGROUND)
        if chars[0].reverse:
            ink, paper = paper, ink
        x, width = MARGIN + start * CELL_X, len(chars) * CELL_X
        if paper != BACKGROUND:
            box = {"x": f"{x:g}", "y": f"{top:g}", "width": f"{width:g}", "height": f"{CELL_Y}"}
            Xml.SubElement(group, "rect", box, fill=paper)
        text = _text(chars).rstrip()
        if text:
            place = {"x": f"{x:g}", "y": f"{top + 0.75 * CELL_Y:g}", "fill": ink}
            place |= {"textLength": f"{len(text) * CELL_X:g}", "xml:space": "preserve"}
            place |= {"font-weight": "bold"} if chars[0].bold else {}
            Xml.SubElement(group, "text", place).text = text


def _runs(row: Row) -> Iterator[tuple[int, Row]]:
    """Neighbours that look alike, and the column they begin in."""
    start = 0
    for _, run in itertools.groupby(row, lambda char: (char.fg, char.bg, char.bold, char.reverse)):
        chars = [*run]
        yield start, chars
        start += len(chars)


def _text(row: Row) -> str:
    return "".join(char.data for char in row)


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    return COLOURS.get(name, f"#{name}" if len(name) == 6 else FOREGROUND)


def shown(folder: Path) -> list[Row]:
    """What is on the terminal after a scene, while the next one is typed."""
    typist = Typist.start(*FLAGS, folder=folder)
    typist.sees("model:")
    typist.enter(SCENE)
    typist.sees("seed 9")  # of the third part
    typist.send(TYPED)
    typist.sees(TYPED)
    typist.read(0.5)
    screen = typist.screen
    rows = [[screen.buffer[y][x] for x in range(screen.columns)] for y in range(screen.lines)]
    typist.send(CTRL_C)
    typist.send(CTRL_D)
    typist.leaves()
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the prompt at work.")
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(ROOT / "references", Path(name) / "references")
        svg = picture(shown(Path(name)))
    options.out.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()

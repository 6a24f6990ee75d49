"""Who imports whom, read from the sources: `python -m tests.imports` draws it anew in docs/.

Folders of the package are boxes. An arrow stands for at least one import, at the top of a module
or inside a function. What an arrow says by way of another folder is not drawn a second time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "csm_chat"
PAGE = ROOT / "docs" / "architecture.md"
DRAWING = re.compile(r"(?<=<!-- imports -->\n).*?(?=<!-- /imports -->)", re.DOTALL)
# everything knows these, or they know everything: arrows would hide the rest
EVERYWHERE = {"", "types", "errors", "visible", "config", "notices"}

Graph = dict[str, set[str]]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import of a file, those by `import_module("...")` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = (
                    [*path.relative_to(ROOT).parent.parts][: -(level - 1) or None] if level else []
                )
                origin = ".".join([*base, *([module] if module else [])])
                yield from ((node.lineno, f"{origin}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def folder_of(name: str) -> str:
    """`conversation` for `csm_chat.conversation.take`, an empty string for the package itself."""
    return name.split(".")[1]


def graph() -> Graph:
    """Each folder (or module at the top) of the package, and those it imports."""
    arrows: Graph = {}
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).with_suffix("").parts[0].replace("__init__", "")
        found = {folder_of(name) for _, name in imported(path) if name.startswith("csm_chat.")}
        arrows.setdefault(here, set()).update(found - {here})
    kept = arrows.keys() - EVERYWHERE - {"__main__"}
    return {here: arrows[here] & kept for here in sorted(kept)}


def reachable(arrows: Graph, start: str) -> set[str]:
    """All folders that an import from `start` can lead to, `start` left out unless it returns."""
    seen: set[str] = set()
    waiting = [*arrows[start]]
    while waiting:
        here = waiting.pop()
        if here not in seen:
            seen.add(here)
            waiting += arrows[here]
    return seen


def drawing() -> str:
    """The folders as a Mermaid flowchart, without arrows that others already say."""
    arrows = graph()
    lines = ["```mermaid", "flowchart TD"]
    for here, found in arrows.items():
        by_others = {far for near in found for far in reachable(arrows, near)}
        lines += [f"    {here} --> {there}" for there in sorted(found - by_others)]
    return "\n".join([*lines, "```", ""])


def main() -> None:
    """Put today's drawing into the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(DRAWING.sub(drawing(), page), encoding="utf-8")


if __name__ == "__main__":
    main()

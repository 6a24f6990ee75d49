"""What the program tells, and in whose words."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from csm_chat import notices
from csm_chat.commands.terminal.wording import COMMAND_LINE
from csm_chat.notices import Notice
from csm_chat.repl.commands import COMMANDS
from csm_chat.repl.wording import PROMPT
from csm_chat.types import Verdict
from csm_chat.wording import GENERAL, Wording, words

PACKAGE = Path(__file__).parents[1] / "csm_chat"
KINDS = [
    kind
    for kind in vars(notices).values()
    if isinstance(kind, type) and issubclass(kind, Notice) and kind is not Notice
]
VERDICT = Verdict("Hi bear.", 1, 2, 0.9, -20.0, ("words", "end"), 3)
EXAMPLES: dict[object, object] = {
    bool: True,
    int: 3,
    float: 1.5,
    float | None: 1.5,
    str: "something",
    Verdict: VERDICT,
    Verdict | None: VERDICT,
    Path: Path("folder") / "file",
    Path | None: Path("folder") / "part",
    tuple[str, ...]: ("one", "two"),
    tuple[tuple[str, str], ...]: (("mimi.safetensors", "kyutai/mimi"),),
}
FRONT_ENDS = [GENERAL, PROMPT, COMMAND_LINE]
COMMAND = re.compile(r"\$({})\b".format("|".join(command.name for command in COMMANDS)))


def example(kind: type[Notice]) -> Notice:
    types = get_type_hints(kind)
    return kind(*(EXAMPLES[types[field.name]] for field in dataclasses.fields(kind)))


@pytest.mark.parametrize("wording", FRONT_ENDS, ids=["general", "prompt", "command line"])
def test_every_kind_of_notice_has_words_at_each_front_end(wording: Wording) -> None:
    assert set(wording) == set(KINDS)
    for kind in KINDS:
        said = words(example(kind), wording)
        assert said.strip() and "object at" not in said, kind


def test_only_the_prompt_names_its_commands() -> None:
    for kind in KINDS:
        for wording in (GENERAL, COMMAND_LINE):
            assert not COMMAND.search(words(example(kind), wording)), kind


def test_no_module_below_the_prompt_names_its_commands() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "repl") or path == PACKAGE / "cli.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                wrong += [f"{path}:{node.lineno}" for _ in COMMAND.finditer(node.value)]
    assert wrong == []


def test_a_notice_is_a_value() -> None:
    for kind in KINDS:
        assert example(kind) == example(kind)
        assert hash(example(kind)) == hash(example(kind))
        assert not hasattr(example(kind), "__dict__")

"""Which tensor of an adapter's file changes which part of a model, and how.

Adapters of csm-mlx (and of this program) go by MLX' names and hold `lora_a` (in, rank) and `lora_b`
(rank, out); those of peft go by transformers' names and hold `lora_A.weight` (rank, in) and
`lora_B.weight` (out, rank). Opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from csm_chat.checkpoint.files import Shape
from csm_chat.checkpoint.sizes import CsmSizes
from csm_chat.checkpoint.weights import MLX, TABLES, TRANSFORMERS, Layout, part_names, part_shapes
from csm_chat.errors import CheckpointError

Role = Literal["up", "down", "whole"]

_WEIGHT = ".weight"
_PEFT_PREFIX = "base_model.model."
_LISTED = 3  # names that an error shows


@dataclass(frozen=True, slots=True)
class Place:
    """What a tensor of an adapter is."""

    part: str
    role: Role
    is_turned: bool  # the file holds it transposed

    def shape(self, found: Shape) -> Shape:
        """The tensor's shape as this program holds it."""
        return found[::-1] if self.is_turned else found


@dataclass(frozen=True, slots=True)
class Naming:
    """How one tool writes adapters."""

    layout: Layout
    prefix: str
    down: str  # what follows a module's name
    up: str
    table_rows: str  # of a table: (entries, rank) or turned
    table_columns: str
    is_turned: bool  # down and up are transposed
    wrapped: tuple[str, ...]  # between a module's name and that of a weight it keeps


CSM_MLX = Naming(
    MLX, "", ".lora_a", ".lora_b", ".lora_a", ".lora_b", True, (".linear", ".embedding", "")
)
PEFT = Naming(
    TRANSFORMERS,
    _PEFT_PREFIX,
    ".lora_A.weight",
    ".lora_B.weight",
    ".lora_embedding_A",
    ".lora_embedding_B",
    False,
    (".base_layer", ".modules_to_save", ""),
)


def places(sizes: CsmSizes, naming: Naming) -> dict[str, Place]:
    """Every tensor's name that an adapter of that tool may hold, and what it is."""
    named: dict[str, Place] = {}
    for part, name in part_names(sizes, naming.layout).items():
        module = naming.prefix + name.removesuffix(_WEIGHT)
        if part in TABLES:
            # csm-mlx: (entries, rank), (rank, width); peft has both turned
            named[module + naming.table_rows] = Place(part, "up", not naming.is_turned)
            named[module + naming.table_columns] = Place(part, "down", not naming.is_turned)
        else:
            named[module + naming.up] = Place(part, "up", naming.is_turned)
            named[module + naming.down] = Place(part, "down", naming.is_turned)
        ending = _WEIGHT if name.endswith(_WEIGHT) else ""
        for wrapped in naming.wrapped:
            named[module + wrapped + ending] = Place(part, "whole", False)
    return named


def module_of(name: str, naming: Naming) -> str:
    """The module that a tensor belongs to, as a config's patterns name it."""
    return re.sub(r"\.lora_.*$", "", name.removeprefix(naming.prefix))


def check(
    sizes: CsmSizes, known: Mapping[str, Place], found: Mapping[str, Shape], where: str
) -> None:
    """Raises CheckpointError where a name fits no tensor, a half is missing or sizes differ."""
    strange = sorted(found.keys() - known.keys())
    if strange:
        more = f" and {len(strange) - _LISTED} more" if len(strange) > _LISTED else ""
        raise CheckpointError(
            f"{where}: {', '.join(strange[:_LISTED])}{more} of it fit no tensor of a CSM; "
            "take an adapter that was made for one"
        )
    shapes = part_shapes(sizes)
    halves: dict[str, dict[Role, Shape]] = {}
    for name, shape in found.items():
        place = known[name]
        halves.setdefault(place.part, {})[place.role] = place.shape(shape)
    for part, each in halves.items():
        if problem := _problem(shapes[part], each):
            raise CheckpointError(
                f"{where}: {part} {problem}; was it made for a model of other sizes?"
            )


def _problem(expected: Shape, halves: Mapping[Role, Shape]) -> str:
    """What is wrong with what a file holds for a part; empty if nothing is."""
    whole = halves.get("whole", expected)
    if whole != expected:
        return f"is {list(whole)}, in this model {list(expected)}"
    if "up" not in halves and "down" not in halves:
        return ""
    if "up" not in halves or "down" not in halves:
        return f"has lora_{'b' if 'down' in halves else 'a'} missing"
    up, down = halves["up"], halves["down"]
    if len(up) != 2 or len(down) != 2 or up[1] != down[0]:
        return f"has halves {list(up)} and {list(down)}, which are of no product"
    found = (up[0], down[1])
    return "" if found == expected else f"is changed as {list(found)}, here it is {list(expected)}"

"""From the sources of a checkpoint to a model on packed weights, part by part.

No full-precision copy of the model is ever held: parts are read, packed and put away one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from csm_chat.checkpoint.adapters.adapter import Adapter
from csm_chat.checkpoint.sizes import CsmSizes, StackSizes
from csm_chat.checkpoint.weights import TABLES, Source
from csm_chat.engine.quantising import bits_of
from csm_chat.engine.torch.model import Csm
from csm_chat.engine.torch.quantised.files import Part, Tensors
from csm_chat.engine.torch.quantised.graph import PackedLayer
from csm_chat.engine.torch.quantised.model import (
    Heads,
    Product,
    QuantisedCsm,
    QuantisedStack,
    Table,
)
from csm_chat.engine.torch.quantised.packing import Change, Packed, pack, pack_table, stacked

_TABLE_ROWS = 16_384  # read at a time
_SCALE_BYTES = 4 / 128  # a weight's, of a scale in float32

Read = Callable[[Source, int, int], Tensor]  # rows of a source from, to; in the model's order


def parts_of(sources: Sequence[Source]) -> dict[str, frozenset[str]]:
    """The parts that are packed, read and put in place one at a time, and their tensors' names."""
    names: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        names[_part(source.part)] |= _names(source)
    return {part: frozenset(of_part) for part, of_part in names.items()}


def _part(name: str) -> str:
    """`backbone.layers.3` for `backbone.layers.3.q`; what is no layer is a part of its own."""
    return ".".join(name.split(".")[:3])


def _names(source: Source) -> set[str]:
    if len(source.shape) == 1:
        return {source.part}
    n_heads = source.shape[0] if len(source.shape) == 3 else 0
    names = [f"{source.part}.{i}" for i in range(n_heads)] or [source.part]
    return {f"{name}.{what}" for name in names for what in ("codes", "scales")}


def packer(sources: Sequence[Source], read: Read, mode: str) -> Part:
    """What packs a part of a checkpoint."""
    by_part: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        by_part[_part(source.part)].append(source)

    def make(part: str) -> Tensors:
        return dict(each for source in by_part[part] for each in _packed(source, read, mode))

    return make


def adapted(part: Part, adapter: Adapter, sources: Sequence[Source], mode: str) -> Part:
    """The parts with what an adapter changes in them.

    What it has whole is packed anew; what it adds stays beside the packed matrix, as `<part>.up`
    and `<part>.down`.
    """
    touched: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        if source.part in adapter.parts:
            touched[_part(source.part)].append(source)

    def read(source: Source, start: int, end: int) -> Tensor:
        return torch.from_numpy(adapter.whole[source.part][start:end])

    def changed(name: str) -> Tensors:
        tensors = {**part(name)}
        for source in touched[name]:
            if source.part in adapter.whole:
                tensors |= dict(_packed(source, read, mode))
            if (change := adapter.low_rank.get(source.part)) is not None:
                tensors[f"{source.part}.up"] = torch.from_numpy(change.up)
                tensors[f"{source.part}.down"] = torch.from_numpy(change.down)
        return tensors

    return changed


def _packed(source: Source, read: Read, mode: str) -> Iterator[tuple[str, Tensor]]:
    n, *rest = source.shape
    if not rest:
        yield source.part, read(source, 0, n).float()
    elif source.part in TABLES:
        starts = range(0, n, _TABLE_ROWS)
        pieces = [pack_table(read(source, start, start + _TABLE_ROWS)) for start in starts]
        codes, scales = (torch.cat(tensors) for tensors in zip(*pieces, strict=True))
        yield from _named(source.part, codes, scales)
    elif len(rest) == 2:
        for i in range(n):
            head = pack(read(source, i, i + 1)[0].T, bits_of(source.part, mode))
            yield from _named(f"{source.part}.{i}", head.codes, head.scales)
    else:
        matrix = pack(read(source, 0, n), bits_of(source.part, mode))
        yield from _named(source.part, matrix.codes, matrix.scales)


def _named(name: str, codes: Tensor, scales: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.codes", codes
    yield f"{name}.scales", scales


def bytes_a_weight(part: str, mode: str) -> float:
    """What a weight of a part takes, its share of a scale in it."""
    if part.endswith("norm"):
        return 4.0
    if part in TABLES:
        return 1.0
    return bits_of(part, mode) / 8 + _SCALE_BYTES


def quantised_model(sizes: CsmSizes, part: Part, mode: str) -> Csm:
    """A model whose matrices are packed. Each part is read once, and let go before the next."""
    width = sizes.backbone.width
    modules: dict[str, torch.nn.Module] = {}
    # layer by layer a stop request gets through a prompt; a depth step is short
    modules["backbone"] = _stack("backbone", sizes.backbone, sizes.context_rows, part, mode, 1)
    n_depth = sizes.depth.layers
    projection = _matrix(part("projection"), "projection", width, bits_of("projection", mode))
    modules["depth"] = _stack(
        "depth", sizes.depth, sizes.codebooks, part, mode, n_depth, projection
    )
    modules["projection"] = torch.nn.Identity()  # the depth session's first product
    modules["depth_heads"] = _heads(sizes, part, mode)
    head = _matrix(part("codebook0_head"), "codebook0_head", width, bits_of("codebook0_head", mode))
    modules["codebook0_head"] = Product(head)
    for name in TABLES:
        tensors = part(name)
        modules[name] = Table(*_pair(tensors, name), _change(tensors, name))
    return QuantisedCsm(sizes.audio_vocab, modules).eval()


def _heads(sizes: CsmSizes, part: Part, mode: str) -> Heads:
    tensors, name, bits = part("depth_heads"), "depth_heads", bits_of("depth_heads", mode)
    names = [f"{name}.{i}" for i in range(sizes.codebooks - 1)]
    return Heads([Product(_matrix(tensors, each, sizes.depth.width, bits)) for each in names])


def _stack(
    name: str,
    sizes: StackSizes,
    rows: int,
    part: Part,
    mode: str,
    layers_a_session: int,
    projection: Packed | None = None,
) -> QuantisedStack:
    norm = part(f"{name}.norm")[f"{name}.norm"]
    layers = (_layer(part, f"{name}.layers.{i}", sizes, mode) for i in range(sizes.layers))
    return QuantisedStack(sizes, rows, layers, norm, layers_a_session, projection)


def _layer(part: Part, name: str, sizes: StackSizes, mode: str) -> PackedLayer:
    tensors = part(name)

    def matrix(which: str, n_in: int) -> Packed:
        return _matrix(tensors, f"{name}.{which}", n_in, bits_of(which, mode))

    return PackedLayer(
        attn_norm=tensors[f"{name}.attn_norm"],
        qkv=stacked([matrix(which, sizes.width) for which in "qkv"]),
        out=matrix("out", sizes.heads * sizes.head_width),
        mlp_norm=tensors[f"{name}.mlp_norm"],
        gate=matrix("gate", sizes.width),
        up=matrix("up", sizes.width),
        down=matrix("down", sizes.mlp_width),
    )


def _matrix(tensors: Tensors, name: str, n_in: int, bits: int) -> Packed:
    return Packed(bits, n_in, *_pair(tensors, name), _change(tensors, name))


def _change(tensors: Tensors, name: str) -> Change | None:
    if f"{name}.up" not in tensors:
        return None
    return Change(tensors[f"{name}.up"], tensors[f"{name}.down"])


def _pair(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return tensors[f"{name}.codes"], tensors[f"{name}.scales"]

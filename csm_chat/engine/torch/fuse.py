"""A checkpoint with an adapter in its weights, in any layout. Changes no file of the original."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from csm_chat.checkpoint.adapters.adapter import Adapter
from csm_chat.checkpoint.adapters.files import read_adapter
from csm_chat.checkpoint.codec_files import BUNDLED_PREFIX
from csm_chat.checkpoint.files import INDEX, safetensors_shapes
from csm_chat.checkpoint.sizes import read_sizes
from csm_chat.checkpoint.weights import (
    LAYOUTS,
    Source,
    halves_first,
    pairs_first,
    part_names,
    rope_heads,
)
from csm_chat.engine.torch.load import open_tensors, sources_of

_SHARD_BYTES = 1 << 30  # of a file: what is held at a time
# beside the weights: sizes, tokenizer, a codec in files of its own, what there is to read
_OTHERS = (
    "*.json",
    "tokenizer.model",
    "mimi.safetensors",
    "tokenizer-*.safetensors",
    "codec.safetensors",
    "*.md",
    "LICENSE*",
    "NOTICE*",
)


@dataclass(frozen=True, slots=True)
class _Named:
    """A tensor of the new files and how it is made."""

    name: str
    home: Path
    make: Callable[[], Tensor]


def fuse(
    folder: Path, adapter: Path, out: Path, layout: str, progress: Callable[[int], None]
) -> None:
    """Write the checkpoint in `folder` with the adapter in it to `out`, whole or not at all.

    `out` is a new or empty folder, `layout` one of `LAYOUTS`. What the adapter changes becomes
    float32, so that it is rounded as late as with the adapter; the rest keeps its format.
    `progress` gets the bytes done so far. Raises CheckpointError, OSError.
    """
    sizes = read_sizes(folder)
    sources, homes = sources_of(folder, sizes)
    change = read_adapter(adapter, sizes)
    names = part_names(sizes, LAYOUTS[layout])
    pairs = rope_heads(sizes) if LAYOUTS[layout].interleaved else {}
    files = _Files()
    tensors = [
        _Named(
            names[source.part],
            homes[source.name],
            _maker(files, homes[source.name], source, change, pairs.get(source.part, 0)),
        )
        for source in sources
    ]
    tensors += _codec(sorted(set(homes.values())), files)
    unfinished = out.with_name(f".{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    unfinished.mkdir(parents=True)
    try:
        for pattern in _OTHERS:
            for path in folder.glob(pattern):
                if path not in homes.values() and not path.name.endswith(INDEX):
                    shutil.copy(path, unfinished)
        in_order = sorted(tensors, key=lambda each: (each.home, each.name))
        _write(in_order, unfinished, files, progress)
        if out.is_dir():
            out.rmdir()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _Files:
    """The files that tensors are read from: one open at a time, for its pages count as memory."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._read: Callable[[str], Tensor] | None = None

    def read(self, path: Path, name: str) -> Tensor:
        if self._read is None or self._path != path:
            self._path, self._read = path, open_tensors(path)
        return self._read(name)

    def close(self) -> None:
        self._read = None


def _maker(
    files: _Files, home: Path, source: Source, adapter: Adapter, heads: int
) -> Callable[[], Tensor]:
    def make() -> Tensor:
        tensor = files.read(home, source.name)
        rows = halves_first(tensor, source.interleaved_heads)
        if source.part in adapter.parts:
            changed = adapter.changed(source.part, rows.float().numpy())
            rows = torch.from_numpy(changed)
        return pairs_first(rows, heads).contiguous()

    return make


def _codec(paths: Sequence[Path], files: _Files) -> Iterator[_Named]:
    """The codec's tensors that lie among the weights, as transformers has them."""
    for path in paths:
        if path.suffix != ".safetensors":
            continue
        for name in safetensors_shapes(path):
            if name.startswith(BUNDLED_PREFIX):
                yield _Named(name, path, partial(files.read, path, name))


def _write(
    tensors: Sequence[_Named], out: Path, files: _Files, progress: Callable[[int], None]
) -> None:
    """Files of up to `_SHARD_BYTES` and their index, which comes last."""
    from safetensors.torch import save_file

    held: dict[str, Tensor] = {}
    homes: dict[str, str] = {}
    n_bytes = n_total = n_files = 0

    def put_away() -> None:
        nonlocal n_files, n_bytes
        n_files += 1
        name = f"model-{n_files:05}.safetensors"
        save_file(held, out / name, metadata={"format": "pt"})
        homes.update(dict.fromkeys(held, name))
        held.clear()
        files.close()
        n_bytes = 0

    for each in tensors:
        tensor = each.make()
        if held and n_bytes + tensor.nbytes > _SHARD_BYTES:
            put_away()
        held[each.name] = tensor
        n_bytes += tensor.nbytes
        n_total += tensor.nbytes
        progress(n_total)
    put_away()
    index = {"metadata": {"total_size": n_total}, "weight_map": dict(sorted(homes.items()))}
    (out / f"model{INDEX}").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

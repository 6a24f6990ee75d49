"""A CSM-1B of random weights, with Mimi, as files: to measure speed with.

In Sesame's own layout, in bfloat16. It speaks noise, in the time that the real one takes.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.bench.machine import GB
from csm_chat.checkpoint import weights
from csm_chat.checkpoint.codec_files import KYUTAI_FILE
from csm_chat.checkpoint.sizes import parse_sizes
from csm_chat.codec.config import moshi_config
from csm_chat.codec.sizes import sizes_of, tensor_shapes
from csm_chat.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = {"backbone_flavor": "llama-1B", "decoder_flavor": "llama-100M"}
_BYTES = 5.2e9  # with Mimi, and the packed weights that may come to lie beside it
# speech is not timed by what it reads, so no words are known
_TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": i, "content": name, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for i, name in enumerate(("<|begin_of_text|>", "<|end_of_text|>"))
    ],
    "model": {"type": "BPE", "vocab": {}, "merges": []},
}
_N_DRAWN = 2**22  # random numbers, used again and again: drawing each anew takes a minute


def is_there(folder: Path) -> bool:
    """Raises UsageError where it cannot be written, either."""
    config = folder / "config.json"  # it is written last
    if config.is_file() and json.loads(config.read_text("utf-8")) == CONFIG:
        return True
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"--random {folder}: is not empty; name an empty folder or a new one")
    return False


class Writer:
    """What a `Remote` serves, to leave no trace in the memory of the process that asks."""

    def __init__(self, notify: Callable[[str], None], folder: str) -> None:
        """Write the files. Raises UsageError."""
        notify(f"writing a CSM-1B of random weights to {folder}, 3.5 GB")
        _write(Path(folder))


def _write(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < _BYTES:
            raise UsageError(
                f"{folder}: {free / GB:.1f} GB are free, random weights and what is packed of them "
                f"take {_BYTES / GB:.1f}; name a folder elsewhere: --random DIR"
            )
        _write_csm(folder)
        _save(_mimi(), folder / KYUTAI_FILE)
        (folder / "tokenizer.json").write_text(json.dumps(_TOKENIZER), "utf-8")
        (folder / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    except OSError as error:
        raise UsageError(f"--random {folder}: cannot be written ({error.strerror})") from error


def _write_csm(folder: Path) -> None:
    """A file a layer, so that little is held at a time."""
    from csm_chat.bench.limit import shapes

    sizes = parse_sizes(CONFIG)
    names, parts = weights.part_names(sizes, weights.ORIGINAL), shapes(sizes)
    files: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        files[f"model-{'.'.join(part.split('.')[:3])}.safetensors"].append(part)
    for file, of_file in files.items():
        _save({names[part]: draw(part, parts[part]) for part in of_file}, folder / file)
    homes = {names[part]: file for file, of_file in files.items() for part in of_file}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": homes}), "utf-8")


def _mimi() -> dict[str, Tensor]:
    shapes = tensor_shapes(sizes_of(moshi_config({})))
    return {name: draw(name, shape).float() for name, shape in shapes.items()}


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights that keep the level of what passes through: ones for norms, nothing for biases.

    In bfloat16.
    """
    import torch

    dtype = torch.bfloat16
    if len(shape) < 2:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=dtype)
    n_in = shape[1] if name == "depth_heads" else math.prod(shape[1:])
    n = math.prod(shape)
    numbers = _drawn().repeat(-(-n // _N_DRAWN))[:n].view(shape)
    return numbers.mul_(n_in**-0.5).to(dtype)


@cache
def _drawn() -> Tensor:
    import torch

    return torch.randn(_N_DRAWN, generator=torch.Generator().manual_seed(0))


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:  # how the library words a full disk
        raise UsageError(f"{path}: cannot be written ({error})") from error

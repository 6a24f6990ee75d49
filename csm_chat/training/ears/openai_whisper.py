"""Whisper base as openai-whisper's own file, of the weights that packages carry for CTranslate2.

So `csm-chat transcribe` and checked takes meet real weights where nothing can be downloaded:

    python -m csm_chat.training whisper base.pt && csm-chat transcribe --whisper base.pt clip.wav
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from csm_chat.errors import UsageError
from csm_chat.printing import put_path
from csm_chat.training import kit

VERSION = 6  # of CTranslate2's files; what it has written since 2022
# a type by its number there; weights of base are float16, and settings are whole numbers
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
HEAD_WIDTH = 64  # of every size of Whisper

Array = npt.NDArray[np.generic]
# names of a layer: theirs, and ours of each equal part of it that is one tensor there
SELF_ATTENTION = {"linear_0": ("query", "key", "value"), "linear_1": ("out",)}
CROSS_ATTENTION = {"linear_0": ("query",), "linear_1": ("key", "value"), "linear_2": ("out",)}
PERCEPTRON = {"linear_0": "mlp.0", "linear_1": "mlp.2"}
NORMS = {"gamma": "weight", "beta": "bias"}


class Stored:
    """A file of CTranslate2: tensors by name, read in order."""

    def __init__(self, data: bytes) -> None:
        """Raises UsageError where it is something else."""
        self._data = data
        self._at = 0
        version = self._number("I")
        name = self._text() if version == VERSION else ""
        if name != "WhisperSpec":
            raise UsageError(f"not a Whisper of CTranslate2's format {VERSION}")
        self._number("I")  # the revision of that
        self.tensors = dict(self._tensor() for _ in range(self._number("I")))

    def _number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._data, self._at)
        self._at += struct.calcsize(f"<{kind}")
        return int(value)

    def _text(self) -> str:
        length = self._number("H")
        self._at += length
        return self._data[self._at - length : self._at - 1].decode()

    def _tensor(self) -> tuple[str, Array]:
        name = self._text()
        shape = [self._number("I") for _ in range(self._number("B"))]
        kind = self._number("B")
        n_bytes = self._number("I")
        if kind not in DTYPES:
            raise UsageError(f"{name} is of a type, {kind}, that is not read here")
        self._at += n_bytes
        values = np.frombuffer(self._data[self._at - n_bytes : self._at], DTYPES[kind])
        return name, values.reshape(shape)


def converted(stored: Mapping[str, Array]) -> dict[str, object]:
    """The content of openai-whisper's file. Raises UsageError for weights in few bits."""
    if any(name.endswith("weight_scale") for name in stored):
        raise UsageError("the weights are in 8 bits; those in float16 are read")
    weights = {name: torch.from_numpy(value.astype(np.float16)) for name, value in _renamed(stored)}
    return {"dims": _dimensions(weights), "model_state_dict": weights}


def _renamed(stored: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    for part in ("encoder", "decoder"):
        yield f"{part}.positional_embedding", stored[f"{part}/position_encodings/encodings"]
        last = "ln_post" if part == "encoder" else "ln"
        yield from _norm(stored, f"{part}/layer_norm", f"{part}.{last}")
        n_layers = len({name.split("/")[1] for name in stored if name.startswith(f"{part}/layer_")})
        for n in range(n_layers - 1):  # `layer_norm` is the one that is none
            yield from _layer(stored, f"{part}/layer_{n}", f"{part}.blocks.{n}")
    yield "decoder.token_embedding.weight", stored["decoder/embeddings/weight"]
    for name in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            yield f"encoder.{name}.{kind}", stored[f"encoder/{name}/{kind}"]


def _layer(stored: Mapping[str, Array], theirs: str, ours: str) -> Iterator[tuple[str, Array]]:
    yield from _attention(stored, f"{theirs}/self_attention", f"{ours}.attn", SELF_ATTENTION)
    if f"{theirs}/attention/linear_0/weight" in stored:
        yield from _attention(stored, f"{theirs}/attention", f"{ours}.cross_attn", CROSS_ATTENTION)
    yield from _norm(stored, f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
    for there, here in PERCEPTRON.items():
        for kind in ("weight", "bias"):
            yield f"{ours}.{here}.{kind}", stored[f"{theirs}/ffn/{there}/{kind}"]


def _attention(
    stored: Mapping[str, Array], theirs: str, ours: str, parts: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Array]]:
    yield from _norm(stored, f"{theirs}/layer_norm", f"{ours}_ln")
    for there, names in parts.items():
        for kind in ("weight", "bias"):
            split = np.split(stored[f"{theirs}/{there}/{kind}"], len(names))
            for name, values in zip(names, split, strict=True):
                if (name, kind) != ("key", "bias"):  # Whisper has none: these are zeros
                    yield f"{ours}.{name}.{kind}", values


def _norm(stored: Mapping[str, Array], theirs: str, ours: str) -> Iterator[tuple[str, Array]]:
    for there, here in NORMS.items():
        yield f"{ours}.{here}", stored[f"{theirs}/{there}"]


def _dimensions(weights: Mapping[str, Tensor]) -> dict[str, int]:
    width, n_mels, _ = weights["encoder.conv1.weight"].shape
    n_audio, _ = weights["encoder.positional_embedding"].shape
    n_text, _ = weights["decoder.positional_embedding"].shape
    n_vocab, _ = weights["decoder.token_embedding.weight"].shape
    layers = {part: len({n.split(".")[2] for n in weights if n.startswith(f"{part}.blocks.")})
              for part in ("encoder", "decoder")}  # fmt: skip
    heads = width // HEAD_WIDTH
    return {
        "n_mels": n_mels, "n_vocab": n_vocab,
        "n_audio_ctx": n_audio, "n_audio_state": width, "n_audio_head": heads,
        "n_audio_layer": layers["encoder"],
        "n_text_ctx": n_text, "n_text_state": width, "n_text_head": heads,
        "n_text_layer": layers["decoder"],
    }  # fmt: skip


def convert(source: Path, target: Path) -> None:
    """Write `target`, whole or not at all. Raises UsageError where `source` is something else."""
    content = converted(Stored(source.read_bytes()).tensors)
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, part)
    part.replace(target)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("csm_chat.training whisper", description=__doc__)
    parser.add_argument("out", type=Path, metavar="FILE.pt")
    parser.add_argument("--kit", type=Path, default=kit.KIT, metavar="DIR", help=f"({kit.KIT})")
    options = parser.parse_args(arguments)
    convert(kit.whisper_base(options.kit) / "model.bin", options.out)
    put_path(options.out)
    return 0

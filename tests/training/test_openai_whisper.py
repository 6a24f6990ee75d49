"""A Whisper of CTranslate2, written here by its rules, becomes openai-whisper's own file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from csm_chat.errors import UsageError
from csm_chat.training.ears.openai_whisper import Stored, convert, converted
from tests.whisper_checkpoint import make_whisper

N_HEADS = 2


def fused(weights: dict[str, np.ndarray], ours: str, names: tuple[str, ...], kind: str):
    width = len(weights[f"{ours}.query.weight"])
    parts = [
        weights.get(f"{ours}.{name}.{kind}", np.zeros(width, np.float16)) for name in names
    ]  # a key has no bias
    return np.concatenate(parts)


def theirs(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of an openai-whisper of one layer each, as CTranslate2 names and joins them."""
    out = {"decoder/num_heads": np.int16(N_HEADS)}
    for part, last in (("encoder", "ln_post"), ("decoder", "ln")):
        out[f"{part}/position_encodings/encodings"] = weights[f"{part}.positional_embedding"]
        norms = {f"{part}/layer_norm": f"{part}.{last}"}
        layer, block = f"{part}/layer_0", f"{part}.blocks.0"
        attentions = {"self_attention": ("attn", (("query", "key", "value"), ("out",)))}
        if part == "decoder":
            attentions["attention"] = ("cross_attn", (("query",), ("key", "value"), ("out",)))
        for name, (ours, groups) in attentions.items():
            norms[f"{layer}/{name}/layer_norm"] = f"{block}.{ours}_ln"
            for n, group in enumerate(groups):
                for kind in ("weight", "bias"):
                    joined = fused(weights, f"{block}.{ours}", group, kind)
                    out[f"{layer}/{name}/linear_{n}/{kind}"] = joined
        norms[f"{layer}/ffn/layer_norm"] = f"{block}.mlp_ln"
        for n, ours in enumerate(("mlp.0", "mlp.2")):
            for kind in ("weight", "bias"):
                out[f"{layer}/ffn/linear_{n}/{kind}"] = weights[f"{block}.{ours}.{kind}"]
        for name, ours in norms.items():
            out[f"{name}/gamma"] = weights[f"{ours}.weight"]
            out[f"{name}/beta"] = weights[f"{ours}.bias"]
    out["decoder/embeddings/weight"] = weights["decoder.token_embedding.weight"]
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            out[f"encoder/{conv}/{kind}"] = weights[f"encoder.{conv}.{kind}"]
    return out


def text(name: str) -> bytes:
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def written(tensors: dict[str, np.ndarray]) -> bytes:
    kinds = {np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}
    blocks = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(tensors))]
    for name, value in tensors.items():
        value = np.asarray(value)
        shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        data = value.tobytes()
        blocks += [text(name), shape, struct.pack("<BI", kinds[value.dtype], len(data)), data]
    aliases = [struct.pack("<I", 1), text("decoder/projection/weight")]
    return b"".join([*blocks, *aliases, text("decoder/embeddings/weight")])


def test_every_weight_comes_back_under_its_own_name(tmp_path: Path) -> None:
    made = torch.load(make_whisper(tmp_path / "made.pt"), weights_only=True)
    weights = {name: tensor.numpy() for name, tensor in made["model_state_dict"].items()}
    content = converted(Stored(written(theirs(weights))).tensors)
    back = content["model_state_dict"]
    assert isinstance(back, dict) and set(back) == set(weights)
    for name, tensor in back.items():
        assert np.array_equal(tensor.numpy(), weights[name]), name
    dims = made["dims"] | {"n_audio_head": 0, "n_text_head": 0}  # of 64 numbers, in real ones
    assert content["dims"] == dims


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack("<I", 5) + b"what else", "not a Whisper"),
        (struct.pack("<I", 6) + text("TransformerSpec"), "not a Whisper"),
        (written({"a/weight": np.int8([1]), "a/weight_scale": np.float16([1])}), "8 bits"),
    ],
)
def test_what_is_something_else_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(UsageError, match=words):
        convert(tmp_path / "model.bin", tmp_path / "base.pt")
    assert not (tmp_path / "base.pt").exists()

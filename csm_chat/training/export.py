"""Writes a complete checkpoint folder: sizes, weights, tokenizer, codec."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from csm_chat.checkpoint import weights
from csm_chat.checkpoint.codec_files import (
    SPECTRAL_CONFIG,
    SPECTRAL_WEIGHTS,
    find_mimi,
    is_spectral,
)
from csm_chat.checkpoint.sizes import CsmSizes, read_sizes, stack_fields
from csm_chat.codec.config import mimi_config
from csm_chat.codec.spectral.sizes import FIRST_HEARD
from csm_chat.codec.spectral.sizes import config_fields as config_fields_of
from csm_chat.codec.spectral.sizes import read_sizes as spectral_sizes
from csm_chat.conversation.tokenizer import load_tokenizer
from csm_chat.engine.torch.model import Csm, slots
from csm_chat.errors import CheckpointError
from csm_chat.printing import put
from csm_chat.training.csm.model import new_csm
from csm_chat.training.csm.tokenizer import SPECIALS
from csm_chat.training.loop import LAST, load_checkpoint

PREPARED = "model"  # of a run's folder: an export without its weights
CODEC_FILE = "mimi.safetensors"
# of a spectral codec, what has a column of each component
_SHARED = tuple(f"quantizer.{name}" for name in ("heard", "basis", "said_means", "gains"))
_MB = 1e6
_USAGE, _SUM = "cluster_usage", "embedding_sum"
_LEAST_USAGE = 1e-5  # moshi's own
_LATER_LAYER = re.compile(r"\brvq_rest\.vq\.layers\.(\d+)\.")
_DECODING = ("decoder.", "decoder_transformer.", "upsample.")
_METADATA = {"format": "pt"}


@dataclass(frozen=True, slots=True)
class Written:
    """What an export takes on disk."""

    folder: Path
    megabytes: Mapping[str, float]  # by file name

    def __str__(self) -> str:
        files = ", ".join(f"{name} {size:.2f}" for name, size in sorted(self.megabytes.items()))
        return f"{self.folder}: {sum(self.megabytes.values()):.2f} MB ({files})"


def prepare(
    sizes: CsmSizes, tokenizer: Path, codec: Path, folder: Path, dtype: torch.dtype
) -> None:
    """Write all but the weights: a tokenizer file's copy, a codec folder's Mimi, the sizes.

    Raises CheckpointError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    special_ids = _special_ids(folder, sizes.text_vocab)
    export_codec(codec, folder, sizes.codebooks, dtype)
    _write_json(config_fields(sizes, special_ids), folder / "config.json")


def write_weights(csm: Csm, sizes: CsmSizes, folder: Path, dtype: torch.dtype) -> Written:
    """Make a prepared folder what `csm_chat.load` reads. Scales and norms are never 8 bit."""
    save_file(original_tensors(csm, sizes, dtype), folder / "model.safetensors", _METADATA)
    files = {path.name: path.stat().st_size / _MB for path in folder.iterdir() if path.is_file()}
    return Written(folder, files)


def export_run(
    run: Path,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    codec: Path | None = None,
    sharpness: float = 1.0,
) -> Written:
    """Export what `csm_chat.training.csm.train` has in its folder `run`: averaged weights, if kept.

    Logits are multiplied by `sharpness`: a small model speaks best below the temperature that suits
    CSM-1B, which is the program's default. `codec` is a folder with the run's codec whose decoder
    has learnt more since. Raises CheckpointError when it codes otherwise.
    """
    content = load_checkpoint(run / LAST)
    prepared = run / PREPARED
    sizes = read_sizes(prepared)
    csm = new_csm(sizes, 0)
    trained = content["ema"] or content["model"]  # heads of the training among it
    csm.load_state_dict(
        {name.removeprefix("csm."): x for name, x in trained.items() if name.startswith("csm.")}
    )
    folder.mkdir(parents=True, exist_ok=True)
    for path in prepared.iterdir():
        shutil.copyfile(path, folder / path.name)
    if codec is not None:
        export_codec(codec, folder, sizes.codebooks, torch.bfloat16)
        if not _codes_alike(codec_file(prepared), codec_file(folder)):
            shutil.copyfile(codec_file(prepared), codec_file(folder))
            raise CheckpointError(
                f"{codec}: codes otherwise than the codec of {run}; give one refined from that"
            )
    with torch.no_grad():
        for heads in (csm.codebook0_head, csm.depth_heads):
            heads.weight *= sharpness
    return write_weights(csm, sizes, folder, dtype)


def _codes_alike(first: Path, second: Path) -> bool:
    """Whether two codecs differ in what decodes at most."""
    ours, theirs = load_file(first), load_file(second)
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith(_DECODING)
    )


def original_tensors(csm: Csm, sizes: CsmSizes, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights under Sesame's names, where RoPE turns neighbours: copies, on the cpu."""
    tensors = {}
    parts = slots(csm)
    heads = weights.rope_heads(sizes)
    for part, name in weights.part_names(sizes, weights.ORIGINAL).items():
        tensor = parts[part].detach()
        if part in heads:
            halves = tensor.view(heads[part], 2, -1, tensor.shape[-1])
            tensor = halves.transpose(1, 2).flatten(0, 2)
        kept = dtype if tensor.ndim > 1 or dtype.itemsize > 1 else torch.bfloat16
        tensors[name] = tensor.to("cpu", kept, copy=True).contiguous()
    return tensors


def codec_file(folder: Path) -> Path:
    """The weights of a codec that was exported there."""
    return folder / (SPECTRAL_WEIGHTS if is_spectral(folder) else CODEC_FILE)


def codec_sizes(codec: Path) -> tuple[int, int]:
    """How many codebooks a folder's codec has, of how many entries. Raises CheckpointError."""
    if is_spectral(codec):
        sizes = spectral_sizes(codec)
        return sizes.codebooks, sizes.entries
    quantizer = mimi_config(codec, {})["quantizer"]
    return quantizer["n_q"], quantizer["bins"]


def export_codec(codec: Path, folder: Path, codebooks: int, dtype: torch.dtype) -> None:
    """Write a folder's codec, its first `codebooks` alone. Raises CheckpointError."""
    if is_spectral(codec):
        _export_spectral(codec, folder, codebooks, dtype)
    else:
        _export_mimi(codec, folder, codebooks, dtype)


def _export_spectral(codec: Path, folder: Path, codebooks: int, dtype: torch.dtype) -> None:
    sizes = spectral_sizes(codec)
    if not FIRST_HEARD < codebooks <= sizes.codebooks:
        raise CheckpointError(
            f"{codec}: the codec has {sizes.codebooks} codebooks, {codebooks} are asked for; it "
            f"speaks in more than {FIRST_HEARD}"
        )
    tensors = load_file(codec / SPECTRAL_WEIGHTS)
    fewer = replace(sizes, shares=sizes.shares[: codebooks - FIRST_HEARD])
    for name in _SHARED:
        tensors[name] = tensors[name][..., : fewer.coefficients]
    written = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    save_file(written, folder / SPECTRAL_WEIGHTS, _METADATA)
    _write_json(config_fields_of(fewer), folder / SPECTRAL_CONFIG)


def _export_mimi(codec: Path, folder: Path, codebooks: int, dtype: torch.dtype) -> None:
    """Write the Mimi of a folder with mimi_config.json, its first `codebooks` alone.

    Entries are written as used once each: sums over many uses lose more digits. Raises
    CheckpointError.
    """
    config = mimi_config(codec, {})
    if not 1 < codebooks <= config["quantizer"]["n_q"]:
        raise CheckpointError(
            f"{codec}: the codec has {config['quantizer']['n_q']} codebooks, {codebooks} are asked "
            "for; a CSM speaks in 2 or more"
        )
    config["quantizer"]["n_q"] = codebooks
    found = find_mimi(codec, {})
    stored = {file: load_file(file) for file in {each.file for each in found.values()}}
    tensors = {
        name: stored[each.file][each.name].float()
        for name, each in found.items()
        if not (layer := _LATER_LAYER.search(name)) or int(layer[1]) < codebooks - 1
    }
    for name in [name for name in tensors if name.endswith(_USAGE)]:
        entries, usage = name.removesuffix(_USAGE) + _SUM, tensors[name].clamp(min=_LEAST_USAGE)
        tensors[entries] /= usage[:, None]
        tensors[name] = torch.ones_like(usage)
    written = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    save_file(written, folder / CODEC_FILE, _METADATA)
    _write_json(config, folder / "mimi_config.json")


def config_fields(sizes: CsmSizes, special_ids: Mapping[str, int]) -> dict[str, Any]:
    """config.json, in the fields of transformers' CsmConfig."""
    depth = stack_fields(sizes.depth) | {
        "model_type": "csm_depth_decoder_model",
        "num_codebooks": sizes.codebooks,
        "backbone_hidden_size": sizes.backbone.width,
        "vocab_size": sizes.audio_vocab,
        "max_position_embeddings": sizes.codebooks + 1,
    }
    bos, eos, audio, audio_eos = (special_ids[name] for name in SPECIALS)
    return stack_fields(sizes.backbone) | {
        "model_type": "csm",
        "architectures": ["CsmForConditionalGeneration"],
        "text_vocab_size": sizes.text_vocab,
        "vocab_size": sizes.audio_vocab,
        "num_codebooks": sizes.codebooks,
        "max_position_embeddings": sizes.context_rows,
        "bos_token_id": bos,
        "pad_token_id": eos,
        "audio_token_id": audio,
        "audio_eos_token_id": audio_eos,
        "codebook_pad_token_id": sizes.audio_vocab - 1,
        "codebook_eos_token_id": 0,
        "tie_codebooks_embeddings": True,
        "depth_decoder_config": depth,
    }


def _special_ids(folder: Path, text_vocab: int) -> dict[str, int]:
    load_tokenizer(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if tokenizer.get_vocab_size() > text_vocab:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} ids, the model knows "
            f"{text_vocab}; take the tokenizer it was trained with"
        )
    return {name: tokenizer.token_to_id(name) for name in SPECIALS}


def _write_json(fields: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float8": torch.float8_e4m3fn,
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="export", description="Make a trained CSM a folder that csm_chat loads."
    )
    parser.add_argument("--run", type=Path, default=Path(".train/csm"), help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--codec", type=Path, metavar="FOLDER", help="the run's, with a refined decoder"
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="bfloat16", help="of the matrices")
    parser.add_argument(
        "--sharpness", type=float, default=1.0, help="what logits are multiplied by"
    )
    options = parser.parse_args(arguments)
    dtype = _DTYPES[options.dtype]
    written = export_run(options.run, options.out, dtype, options.codec, options.sharpness)
    put(str(written))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Make complete tiny checkpoint folders: random CSM, random Mimi, tokenizer. Knows no loader.

`python -m tests.checkpoints FOLDER` makes one to try the prompt on without the real weights.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from csm_chat.bench.transformers_timing import codec_fields

if TYPE_CHECKING:
    import torch
    from moshi.models.compression import MimiModel

Layout = Literal["transformers", "sesame", "mlx"]
Array = npt.NDArray[np.float32]
Tensors = dict[str, Array]

BINS = 64  # codes Mimi has entries for
VOCAB = BINS + 3  # codes CSM can sample; the real one has three more than its Mimi, too
HEAD_DIM = 16
HIDDEN, HEADS, KV_HEADS, MLP = 64, 4, 2, 128
DEPTH_HIDDEN, DEPTH_HEADS, DEPTH_KV_HEADS, DEPTH_MLP = 32, 2, 1, 64
LAYERS = 2
MIMI_HEADS = 2

SPECIALS = ("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>")
MERGES = ("t h", "i n", "e r", "a n", "o u", "e n", "o n", "r e", "th e", "in g", "an d", "y ou")
KYUTAI_FILE = "tokenizer-e351c8d8-checkpoint125.safetensors"

# The first dimensions of both residual streams are flags that no layer writes to: they say what the
# row is, and the heads read them, which makes a random model end its takes.
SPOKEN, SILENT, TEXT = 0, 1, 2
SPOKEN_FLAG, SILENT_FLAG, TEXT_FLAG = 0.5, 0.5, 4.0
PROJECTED_FLAG = 16.0
CERTAIN = 25.0  # a logit this far from the others leaves nothing to chance


def make_checkpoint(
    folder: Path,
    layout: Layout = "transformers",
    *,
    seed: int = 0,
    codebooks: int = 8,
    eos_every: int | None = 12,
) -> Path:
    """Write a complete tiny checkpoint. The same seed gives the same model in every layout.

    Sampled at temperature 0.9 and top_k 50 a take ends by itself after about `eos_every` frames on
    average (that can be up to 50), not at the first one; None: never. Greedy takes need not end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    csm = _csm_tensors(
        np.random.default_rng(seed), codebooks, tokenizer.get_vocab_size(), eos_every
    )
    mimi_config = _mimi_config(codebooks)
    mimi = _mimi_tensors(mimi_config, seed)
    # in all layouts: it also says how many of CSM's codes have a meaning
    config = _csm_config(codebooks, tokenizer) | {"codec_config": _codec_config(mimi_config)}
    if layout == "transformers":
        csm = _transformers_csm(csm)
        csm |= {
            f"codec_model.{name}": t for name, t in _transformers_mimi(mimi, MIMI_HEADS).items()
        }
        _save(csm, folder / "model.safetensors")
    else:
        sesame = layout == "sesame"
        _save(csm if sesame else _mlx_csm(csm), folder / ("model" if sesame else "ckpt"))
        _save(mimi, folder / KYUTAI_FILE)
        _write_json(mimi_config, folder / "mimi_config.json")
    _write_json(config, folder / "config.json")
    return folder


def _save(tensors: Tensors, path: Path) -> None:
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(t) for name, t in tensors.items()}
    save_file(contiguous, path.with_suffix(".safetensors"), metadata={"format": "pt"})


def _write_json(value: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _tokenizer() -> Any:
    """A byte-level BPE: any text has ids, a few common pairs have one of their own."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pairs = [tuple(merge.split()) for merge in MERGES]
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(pair) for pair in pairs]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return tokenizer


def _csm_config(codebooks: int, tokenizer: Any) -> dict[str, Any]:
    rope = {
        "rope_theta": 500000,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    }
    depth = {
        "model_type": "csm_depth_decoder_model",
        "num_codebooks": codebooks,
        "backbone_hidden_size": HIDDEN,
        "vocab_size": VOCAB,
        "hidden_size": DEPTH_HIDDEN,
        "intermediate_size": DEPTH_MLP,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": DEPTH_HEADS,
        "num_key_value_heads": DEPTH_KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": codebooks + 1,
        "rms_norm_eps": 1e-05,
        **rope,
    }
    bos, eos, audio, audio_eos = (tokenizer.token_to_id(name) for name in SPECIALS)
    return {
        "model_type": "csm",
        "architectures": ["CsmForConditionalGeneration"],
        "text_vocab_size": tokenizer.get_vocab_size(),
        "vocab_size": VOCAB,
        "num_codebooks": codebooks,
        "hidden_size": HIDDEN,
        "intermediate_size": MLP,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-05,
        **rope,
        "bos_token_id": bos,
        "pad_token_id": eos,
        "audio_token_id": audio,
        "audio_eos_token_id": audio_eos,
        "codebook_pad_token_id": VOCAB - 1,
        "codebook_eos_token_id": 0,
        "tie_codebooks_embeddings": True,
        "depth_decoder_config": depth,
    }


def _csm_tensors(
    rng: np.random.Generator, codebooks: int, text_vocab: int, eos_every: int | None
) -> Tensors:
    """The model under Sesame's names."""
    head0 = _normal(rng, VOCAB, HIDDEN, std=HIDDEN**-0.5)
    depth_heads = _normal(rng, codebooks - 1, DEPTH_HIDDEN, VOCAB, std=DEPTH_HIDDEN**-0.5)
    projection = _normal(rng, DEPTH_HIDDEN, HIDDEN, std=HIDDEN**-0.5)
    audio = _normal(rng, codebooks, VOCAB, HIDDEN, std=0.7 * codebooks**-0.5)
    text = _normal(rng, text_vocab, HIDDEN, std=0.7)

    for table in (audio, text, head0):
        table[..., : TEXT + 1] = 0
    text[:, TEXT] = TEXT_FLAG
    audio[:, 1:, SPOKEN] = SPOKEN_FLAG * 8 / codebooks
    audio[:, 0, SILENT] = SILENT_FLAG * 8 / codebooks
    projection[: SILENT + 1] = 0
    projection[[SPOKEN, SILENT], [SPOKEN, SILENT]] = PROJECTED_FLAG * codebooks / 8
    depth_heads[:, : SILENT + 1] = 0
    depth_heads[:, SILENT, 0] = CERTAIN
    depth_heads[:, SPOKEN, 0] = -CERTAIN
    head0[0] = 0
    head0[0, TEXT] = -CERTAIN
    head0[0, SPOKEN] = -CERTAIN if eos_every is None else _eos_weight(eos_every)

    return {
        "text_embeddings.weight": text,
        "audio_embeddings.weight": audio.reshape(codebooks * VOCAB, HIDDEN),
        "projection.weight": projection,
        "codebook0_head.weight": head0,
        "audio_head": depth_heads,
        **_llama_tensors(rng, "backbone", HIDDEN, HEADS, KV_HEADS, MLP, flags=TEXT + 1),
        **_llama_tensors(
            rng, "decoder", DEPTH_HIDDEN, DEPTH_HEADS, DEPTH_KV_HEADS, DEPTH_MLP, flags=SILENT + 1
        ),
    }


def _eos_weight(eos_every: int) -> float:
    """What codebook 0's head gives code 0 for the spoken flag; other logits are standard normal."""
    others = (BINS - 1) * np.exp(0.5 / 0.9**2)
    flag_after_norm = 2.45
    return float(0.9 * np.log(others / max(eos_every - 1, 1)) / flag_after_norm)


def _llama_tensors(
    rng: np.random.Generator,
    prefix: str,
    hidden: int,
    heads: int,
    kv_heads: int,
    mlp: int,
    flags: int,
) -> Tensors:
    tensors: Tensors = {f"{prefix}.norm.scale": np.ones(hidden, np.float32)}
    shapes = {
        "attn.q_proj.weight": (heads * HEAD_DIM, hidden),
        "attn.k_proj.weight": (kv_heads * HEAD_DIM, hidden),
        "attn.v_proj.weight": (kv_heads * HEAD_DIM, hidden),
        "attn.output_proj.weight": (hidden, heads * HEAD_DIM),
        "mlp.w1.weight": (mlp, hidden),
        "mlp.w2.weight": (hidden, mlp),
        "mlp.w3.weight": (mlp, hidden),
    }
    for layer in range(LAYERS):
        for name, (rows, columns) in shapes.items():
            weight = _normal(rng, rows, columns, std=columns**-0.5)
            if name in ("attn.output_proj.weight", "mlp.w2.weight"):
                weight[:flags] = 0
            tensors[f"{prefix}.layers.{layer}.{name}"] = weight
        for name in ("sa_norm.scale", "mlp_norm.scale"):
            scale = 1 + _normal(rng, hidden, std=0.1)
            tensors[f"{prefix}.layers.{layer}.{name}"] = scale
    return tensors


def _normal(rng: np.random.Generator, *shape: int, std: float) -> Array:
    return (rng.standard_normal(shape) * std).astype(np.float32)


MLX_LAYER_NAMES = {
    "attn.": "self_attn.",
    "output_proj": "o_proj",
    "mlp.w1": "mlp.gate_proj",
    "mlp.w2": "mlp.down_proj",
    "mlp.w3": "mlp.up_proj",
    "sa_norm.scale": "input_layernorm.weight",
    "mlp_norm.scale": "post_attention_layernorm.weight",
    "norm.scale": "norm.weight",
}
TRANSFORMERS_NAMES = {
    "text_embeddings.weight": "embed_text_tokens.weight",
    "audio_embeddings.weight": "backbone_model.embed_tokens.embed_audio_tokens.weight",
    "projection.weight": "depth_decoder.model.inputs_embeds_projector.weight",
    "codebook0_head.weight": "lm_head.weight",
    "audio_head": "depth_decoder.codebooks_head.weight",
}


def _mlx_csm(tensors: Tensors) -> Tensors:
    return {_replaced(name, MLX_LAYER_NAMES): t for name, t in tensors.items()}


def _transformers_csm(tensors: Tensors) -> Tensors:
    out: Tensors = {}
    for name, tensor in _mlx_csm(tensors).items():
        if re.search(r"\.[qk]_proj\.", name):
            tensor = _half_split(tensor, HEAD_DIM)
        name = name.replace("decoder.", "depth_decoder.model.").replace(
            "backbone.", "backbone_model."
        )
        out[TRANSFORMERS_NAMES.get(name, name)] = tensor
    return out


def _replaced(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = re.sub(rf"(^|\.){re.escape(old)}", rf"\g<1>{new}", name)
    return name


def _half_split(weight: Array, head_dim: int) -> Array:
    """Reorder each head's rows from interleaved RoPE pairs to first halves, then second halves."""
    rows, columns = weight.shape
    pairs = weight.reshape(rows // head_dim, head_dim // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _mimi_config(codebooks: int) -> dict[str, Any]:
    """Mimi in moshi's keys: 24 kHz and 12.5 frames a second like the real one, only narrow."""
    from moshi.models import loaders

    width = 32
    config = copy.deepcopy(loaders._mimi_config)
    config["seanet"] |= {"dimension": width, "n_filters": 2}
    config["quantizer"] |= {"dimension": 16, "n_q": codebooks, "bins": BINS}
    # a window of 2 s
    config["transformer"] |= {"d_model": width, "num_heads": MIMI_HEADS, "num_layers": 1}
    config["transformer"] |= {"context": 50, "dim_feedforward": 64}
    for part in ("quantizer", "transformer"):
        config[part]["input_dimension"] = width
    config["quantizer"]["output_dimension"] = width
    config["transformer"]["output_dimensions"] = [width]
    return config


def _codec_config(mimi: dict[str, Any]) -> dict[str, Any]:
    """The same sizes under the names of transformers' MimiConfig."""
    return {
        **codec_fields(mimi),
        "sampling_rate": mimi["sample_rate"],
        "audio_channels": mimi["channels"],
        "num_semantic_quantizers": 1,
        "layer_scale_initial_scale": mimi["transformer"]["layer_scale"],
    }


def _mimi_tensors(config: dict[str, Any], seed: int) -> Tensors:
    """A random Mimi of moshi's own class, under moshi's names."""
    import torch
    from moshi.models import loaders

    codebooks = config["quantizer"]["n_q"]
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        mimi = loaders.get_mimi(None, config, num_codebooks=codebooks)
        for name, tensor in mimi.state_dict().items():
            _fill(name, tensor)
        _make_audible(mimi, codebooks)
        return {name: tensor.numpy() for name, tensor in mimi.state_dict().items()}


def _fill(name: str, tensor: torch.Tensor) -> None:
    """Draw weights that keep the signal's level from layer to layer, which PyTorch's own do not."""
    if name.endswith("_initialized"):
        tensor.fill_(1)
    elif name.endswith("cluster_usage"):
        tensor.uniform_(0.5, 1.5)
    elif "layer_scale" in name:
        tensor.normal_(0, 0.3)
    elif "norm" in name:
        tensor.normal_(float(name.endswith("weight")), 0.1)
    elif name.endswith("bias"):
        tensor.normal_(0, 0.02)
    elif name.endswith("embedding_sum"):
        tensor.normal_()
    elif name.endswith("convtr.weight"):
        tensor.normal_(0, (2 if tensor.shape[1] == 1 else 2 * tensor.shape[0]) ** -0.5)
    else:
        tensor.normal_(0, tensor[0].numel() ** -0.5)


def _make_audible(mimi: MimiModel, codebooks: int) -> None:
    """Scale the ends: encoding reaches many codes, decoding is about as loud as speech."""
    import torch

    noise = torch.randn(1, 1, 8 * 1920) * 0.1
    codes = torch.randint(BINS, (1, codebooks, 8))
    # unless the last weights sum to zero over time, most of the output is an offset nobody hears
    last = mimi.decoder.model[-1].conv.conv
    last.weight -= last.weight.mean(dim=-1, keepdim=True)
    last.bias.zero_()
    last.weight *= 0.08 / mimi.decode(codes).std()
    for quantizer in (mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest):
        latents = quantizer.input_proj(mimi.encode_to_latent(noise, quantize=False))
        quantizer.input_proj.weight /= latents.std()


TRANSFORMERS_MIMI_NAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"(\.convtr|\.conv)+\.(weight|bias)$", r".conv.\2"),
    (r"_transformer\.transformer\.", "_transformer."),
    (r"\.out_projs\.0\.", ".o_proj."),
    (r"\.linear([12])\.", r".mlp.fc\1."),
    (r"\.norm1\.", ".input_layernorm."),
    (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.layer_scale_1\.", ".self_attn_layer_scale."),
    (r"\.layer_scale_2\.", ".mlp_layer_scale."),
    (r"\.rvq_first\.", ".semantic_residual_vector_quantizer."),
    (r"\.rvq_rest\.", ".acoustic_residual_vector_quantizer."),
    (r"\.vq\.layers\.(\d+)\._codebook\.", r".layers.\1.codebook."),
    (r"\._initialized$", ".initialized"),
    (r"\.embedding_sum$", ".embed_sum"),
)


def _transformers_mimi(tensors: Tensors, heads: int) -> Tensors:
    out: Tensors = {}
    for name, tensor in tensors.items():
        for pattern, replacement in TRANSFORMERS_MIMI_NAMES:
            name = re.sub(pattern, replacement, name)
        if ".in_projs.0." not in name:
            out[name] = tensor
            continue
        for part, weight in zip("qkv", np.split(tensor, 3), strict=True):
            head_dim = len(weight) // heads
            weight = weight if part == "v" else _half_split(weight, head_dim)
            out[name.replace(".in_projs.0.", f".{part}_proj.")] = weight
    return out

"""Mimi's configuration, in moshi's terms, and what is wrong with one. Knows no framework."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from csm_chat.checkpoint.sizes import read_json
from csm_chat.errors import CheckpointError
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE

_STEPS_PER_FRAME = 2  # Mimi's transformers run at 25 Hz

# of moshi's configuration: what may differ from the real Mimi
_SIZES = {
    "seanet": {
        *("compress", "dilation_base", "dimension", "kernel_size", "last_kernel_size"),
        *("n_filters", "n_residual_layers", "ratios", "residual_kernel_size", "true_skip"),
    },
    "quantizer": {"bins", "dimension", "input_dimension", "n_q", "output_dimension"},
    "transformer": {
        *("context", "d_model", "dim_feedforward", "input_dimension", "layer_scale", "max_period"),
        *("num_heads", "num_layers", "output_dimensions"),
    },
}
# of them, those that are not whole numbers above 0, or have to equal another
_NO_COUNTS = {
    *("input_dimension", "layer_scale", "max_period", "n_residual_layers", "output_dimension"),
    *("output_dimensions", "ratios", "true_skip"),
}
# A wrong file is not to fill the memory: the names of all tensors are listed before they are
# compared with those of the weights.
_MOST = {"num_layers": 256, "n_q": 256, "n_residual_layers": 32}
_MOST_OF_REST = 1 << 16
_MOST_RATIOS = 16
# what wrong kinds of values raise
_NO_SIZES = (
    *(ArithmeticError, AttributeError, KeyError, TypeError, ValueError),
    *(MemoryError, RecursionError),
)


def mimi_config(folder: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """moshi's configuration: mimi_config.json, else transformers' fields, else the real one.

    Raises CheckpointError when it is not the real one in other sizes, or they make no Mimi.
    """
    path = folder / "mimi_config.json"
    codec = fields if fields.get("model_type") == "mimi" else fields.get("codec_config")
    try:
        config = read_json(path) if path.is_file() else moshi_config(codec or {})
        problem = _difference(config) or _contradiction(config)
    except _NO_SIZES as error:
        raise CheckpointError(
            f"{folder}: the codec's sizes make no Mimi ({error!r}); "
            "take config and weights from one place"
        ) from error
    if problem:
        raise CheckpointError(f"{folder}: the codec's {problem}; take another codec")
    return config


def _difference(config: Mapping[str, Any]) -> str:
    """What is neither the real Mimi's nor one of the sizes that may differ; "" if nothing is."""
    real = moshi_config({})
    for part, sizes in _SIZES.items():
        for key in sorted((config[part].keys() | real[part].keys()) - sizes):
            if (found := config[part].get(key)) != (expected := real[part].get(key)):
                return f"{part} has {key} {found!r}, Mimi has {expected!r}"
    return ""


def _contradiction(config: Mapping[str, Any]) -> str:
    """Which sizes are none, or do not go together; "" if all do."""
    return _not_a_size(config) or _misfit(config)


def _not_a_size(config: Mapping[str, Any]) -> str:
    for part, sizes in _SIZES.items():
        for key in sorted(sizes - _NO_COUNTS):
            most = _MOST.get(key, _MOST_OF_REST)
            if not _is_count(config[part][key], most):
                return (
                    f"{part} has {key} {config[part][key]!r}, not a whole number from 1 to {most}"
                )
    ratios, n_residuals = config["seanet"]["ratios"], config["seanet"]["n_residual_layers"]
    is_list = isinstance(ratios, list) and 0 < len(ratios) <= _MOST_RATIOS
    if not (is_list and all(_is_count(ratio) for ratio in ratios)):
        return f"seanet has ratios {ratios!r}, not 1 to {_MOST_RATIOS} whole numbers above 0"
    most = _MOST["n_residual_layers"]
    if n_residuals != 0 and not _is_count(n_residuals, most):
        return f"seanet has n_residual_layers {n_residuals!r}, not a whole number up to {most}"
    return ""


def _misfit(config: Mapping[str, Any]) -> str:
    seanet, quantizer, transformer = (config[part] for part in _SIZES)
    samples = config["sample_rate"] / config["frame_rate"]
    if (config["sample_rate"], samples) != (SAMPLE_RATE, FRAME_SAMPLES):
        return (
            f"frames have {samples:g} samples at {config['sample_rate']} Hz; "
            f"CSM needs {FRAME_SAMPLES} at {SAMPLE_RATE} Hz"
        )
    if FRAME_SAMPLES % prod(seanet["ratios"]):
        return f"ratios {seanet['ratios']} divide no frame of {FRAME_SAMPLES} samples"
    widths = {transformer["d_model"], transformer["input_dimension"], seanet["dimension"]}
    widths |= {quantizer["input_dimension"], quantizer["output_dimension"]}
    if widths != {*transformer["output_dimensions"]} or transformer["layer_scale"] is None:
        return (
            "transformer has to be as wide as its input and output, as its convolutions and its "
            "quantizer, and to scale its layers"
        )
    if transformer["d_model"] % (2 * transformer["num_heads"]) or not transformer["max_period"] > 0:
        return f"transformer has {transformer['num_heads']} heads, and cannot turn them"
    return ""


def _is_count(value: object, most: int = _MOST_OF_REST) -> bool:
    return type(value) is int and 1 <= value <= most


def moshi_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of transformers' MimiConfig in moshi's form; those left out are the real Mimi's."""
    width = fields.get("hidden_size", 512)
    ratios = fields.get("upsampling_ratios", [8, 6, 5, 4])
    sample_rate = fields.get("sampling_rate", SAMPLE_RATE)
    return {
        "sample_rate": sample_rate,
        "channels": fields.get("audio_channels", 1),
        "frame_rate": sample_rate / (prod(ratios) * _STEPS_PER_FRAME),
        "seanet": {
            "channels": fields.get("audio_channels", 1),
            "dimension": width,
            "causal": True,
            "n_filters": fields.get("num_filters", 64),
            "n_residual_layers": fields.get("num_residual_layers", 1),
            "activation": "ELU",
            "compress": fields.get("compress", 2),
            "dilation_base": fields.get("dilation_growth_rate", 2),
            "disable_norm_outer_blocks": 0,
            "kernel_size": fields.get("kernel_size", 7),
            "residual_kernel_size": fields.get("residual_kernel_size", 3),
            "last_kernel_size": fields.get("last_kernel_size", 3),
            "norm": "none",
            "pad_mode": fields.get("pad_mode", "constant"),
            "ratios": ratios,
            "true_skip": True,
        },
        "quantizer": {
            "dimension": fields.get("vector_quantization_hidden_dimension", 256),
            "n_q": fields.get("num_quantizers", 32),
            "bins": fields.get("codebook_size", 2048),
            "input_dimension": width,
            "output_dimension": width,
        },
        "transformer": {
            "d_model": width,
            "num_heads": fields.get("num_attention_heads", 8),
            "num_layers": fields.get("num_hidden_layers", 8),
            "causal": True,
            "layer_scale": fields.get("layer_scale_initial_scale", 0.01),
            "context": fields.get("sliding_window", 250),
            "conv_layout": True,
            "max_period": fields.get("rope_theta", 10000),
            "gating": "none",
            "norm": "layer_norm",
            "positional_embedding": "rope",
            "dim_feedforward": fields.get("intermediate_size", 2048),
            "input_dimension": width,
            "output_dimensions": [width],
        },
    }

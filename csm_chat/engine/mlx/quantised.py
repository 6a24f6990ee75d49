"""Which matrices are packed, in how many bits, and what a folder holds packed. Loads no model."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from csm_chat.checkpoint.sizes import read_json, read_sizes
from csm_chat.checkpoint.weights import Shape
from csm_chat.engine.mlx.device import choose_dtype, mlx_device
from csm_chat.engine.mlx.matrix import Form, Plain, pack
from csm_chat.engine.torch.quantised.choice import count_weights
from csm_chat.errors import CheckpointError, UsageError
from csm_chat.notices import Listener, WeightsStayPacked
from csm_chat.types import FRAME_MS

log = logging.getLogger(__name__)

_GROUP = 64  # columns that share a scale: what MLX itself packs with
_BITS = {"int8": 8, "int4": 4}
_MODES = ("none", *_BITS)
# In 8 bits in every mode, by the last word of a part, as torch has it and for its reasons.
_PRECISE = ("codebook0_head", "depth_heads", "projection", "q", "k", "v", "out")
_TABLES = ("text_embeddings", "audio_embeddings")
_FORMS_READ = {Form(group, bits) for group in (32, 64, 128) for bits in (2, 3, 4, 5, 6, 8)}

_SMALL = 100_000_000  # weights; a smaller model is quick as it is
_MEASURED_S = 0.15  # a mode
_MEASURED_SHAPE = (16_384, 2048)  # 64 MB in float16: past the caches
_WORTH = 0.7  # of real time: what a frame takes beside its products, and the codec, have to fit


def form_of(part: str, mode: str) -> Form | None:
    """How a part is packed on loading; None: it is not."""
    if mode == "none":
        return None
    is_precise = part.rpartition(".")[2] in (*_PRECISE, *_TABLES)
    return Form(_GROUP, 8 if is_precise else _BITS[mode])


def choose_quantize(wanted: str, folder: Path, device: str, dtype: str, tell: Listener) -> str:
    """none, or int and the bits, for the checkpoint in `folder`.

    What the folder holds packed stays as it is. Else "auto" is none for a small model and where a
    `dtype` was asked for; or the most bits that are expected to keep up with speech here.
    Raises UsageError, CheckpointError.
    """
    if wanted not in ("auto", *_MODES):
        raise UsageError(f"quantize {wanted!r} is unknown; choose auto, {', '.join(_MODES)}")
    held = _default_form(folder)
    if held is not None:
        mode = f"int{held.bits}"
        if wanted not in ("auto", mode):
            tell(WeightsStayPacked(wanted, folder, mode))
        return mode
    if wanted == "auto":
        return _by_speed(folder, device) if dtype == "auto" else "none"
    return wanted


def _by_speed(folder: Path, device: str) -> str:
    n_weights, n_read = count_weights(read_sizes(folder))
    if n_weights < _SMALL:
        return "none"
    for mode in _MODES:
        ms = n_read * _seconds_per_weight(mode, device) * 1000
        log.debug("%s products of a frame: %.0f ms expected", mode, ms)
        if ms < _WORTH * FRAME_MS:
            return mode
    return _MODES[-1]


def _seconds_per_weight(mode: str, device: str) -> float:
    """What a weight costs in the product with one row."""
    dtype = getattr(mx, choose_dtype("auto", device))
    n_out, n_in = _MEASURED_SHAPE
    with mx.stream(mlx_device(device)):
        weight = mx.ones(_MEASURED_SHAPE, dtype)
        form = form_of("gate", mode)
        matrix = pack(weight, form) if form else Plain(weight)
        x, seconds = mx.ones((1, n_in), dtype), float("inf")
        mx.eval(matrix.arrays(), x)
        end = time.perf_counter() + _MEASURED_S
        while time.perf_counter() < end:
            start = time.perf_counter()
            mx.eval(matrix(x))
            seconds = min(seconds, time.perf_counter() - start)
    return seconds / (n_out * n_in)


def packed_forms(folder: Path, found: Mapping[str, Shape]) -> dict[str, Form]:
    """Tensors that the folder holds packed by `mlx.nn.quantize`, as its config.json says.

    `found` has the shapes. The config gives group_size and bits for all, and for single modules
    by their names. Raises CheckpointError where shapes and config do not agree.
    """
    names = {name for name in found if f"{_module(name)}.scales" in found}
    names = {name for name in names if name.endswith(".weight")}
    if not names:
        return {}
    fields = _fields(folder)
    if fields is None:
        raise CheckpointError(
            f"{folder}: weights are packed, but config.json has no quantization with group_size "
            "and bits; download it again, or quantize the model anew"
        )
    forms = {name: _form(folder, _own(fields, name)) for name in names}
    for name, form in forms.items():
        _check(folder, name, form, found)
    return forms


def without_packing(found: Mapping[str, Shape], forms: Mapping[str, Form]) -> dict[str, Shape]:
    """The shapes that tensors would have unpacked."""
    aside = {f"{_module(name)}.{what}" for name in forms for what in ("scales", "biases")}
    shapes = {name: shape for name, shape in found.items() if name not in aside}
    for name, form in forms.items():
        n_out, n_groups = found[f"{_module(name)}.scales"]
        shapes[name] = (n_out, n_groups * form.group)
    return shapes


def beside(name: str) -> tuple[str, str]:
    """Scales and biases of a packed tensor."""
    return f"{_module(name)}.scales", f"{_module(name)}.biases"


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _default_form(folder: Path) -> Form | None:
    fields = _fields(folder)
    return None if fields is None else _form(folder, fields)


def _fields(folder: Path) -> Mapping[str, Any] | None:
    config = folder / "config.json"
    fields = read_json(config).get("quantization") if config.is_file() else None
    return fields if isinstance(fields, dict) else None


def _own(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    own = fields.get(_module(name))
    return own if isinstance(own, dict) else fields


def _form(folder: Path, fields: Mapping[str, Any]) -> Form:
    group: Any = fields.get("group_size")
    bits: Any = fields.get("bits")
    mode = fields.get("mode", "affine")
    if mode == "affine" and (form := Form(group, bits)) in _FORMS_READ:
        return form
    raise CheckpointError(
        f"{folder / 'config.json'}: quantization {mode} with group_size {group!r} and bits {bits!r}"
        " cannot be read; affine ones of 32, 64 or 128 and 2 to 8 bits can"
    )


def _check(folder: Path, name: str, form: Form, found: Mapping[str, Shape]) -> None:
    codes, (scales, biases) = found[name], (found.get(each) for each in beside(name))
    expected = None
    if len(codes) == 2 and codes[1] * 32 % form.bits == 0:
        expected = (codes[0], codes[1] * 32 // form.bits // form.group)
    if scales != expected or biases != expected:
        raise CheckpointError(
            f"{folder}: tensor {name}: {list(codes)} with scales {scales} and biases {biases} is "
            f"not packed as config.json says, group_size {form.group} and {form.bits} bits"
        )

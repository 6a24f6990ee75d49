"""What a checkpoint folder holds packed by `mlx.nn.quantize`. Loads no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csm_chat.checkpoint.sizes import read_json
from csm_chat.checkpoint.weights import Shape
from csm_chat.engine.mlx.quantised.packing import Form
from csm_chat.errors import CheckpointError

_FORMS_READ = {Form(group, bits) for group in (32, 64, 128) for bits in (2, 3, 4, 5, 6, 8)}


def held_mode(folder: Path) -> str | None:
    """int and the bits, where the folder's config.json says that its weights are packed."""
    fields = _fields(folder)
    return None if fields is None else f"int{_form(folder, fields).bits}"


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

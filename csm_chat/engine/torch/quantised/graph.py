"""Graphs that ONNX Runtime runs on packed matrices: products, and layers of a Llama.

Products are MatMulNBits, whose activations are rounded to 8 bits block by block; everything else is
float32.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from csm_chat.checkpoint.sizes import StackSizes
from csm_chat.engine.torch.quantised.packing import Change, Packed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_MICROSOFT = "com.microsoft"  # the domain of ONNX Runtime's own operators
_OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid(_MICROSOFT, 1)]
_IR_VERSION = 9
_ROUND_ACTIVATIONS = 4  # accuracy_level: int8 products, several times as quick as float32's
_WARNING = 3  # log severity: errors and worse


@dataclass(frozen=True, slots=True, eq=False)
class PackedLayer:
    """Matrices and norms of a layer."""

    attn_norm: Tensor  # float32 (width,)
    qkv: Packed
    out: Packed
    mlp_norm: Tensor
    gate: Packed
    up: Packed
    down: Packed


class Graph:
    """A graph that grows node by node. Every method that adds some returns its output's name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []
        self._matrices: dict[str, Tensor] = {}

    def product(self, x: str, name: str, matrix: Packed) -> str:
        codes = self._matrix(f"{name}.codes", matrix.codes, TensorProto.UINT8)
        scales = self._matrix(f"{name}.scales", matrix.scales.flatten().clone(), TensorProto.FLOAT)
        change = matrix.change
        y = self._add(
            "MatMulNBits",
            (x, codes, scales),
            name if change is None else f"{name}.packed",
            domain=_MICROSOFT,
            K=matrix.n_in,
            N=len(matrix.codes),
            bits=matrix.bits,
            block_size=matrix.block,
            accuracy_level=_ROUND_ACTIVATIONS,
        )
        return y if change is None else self._changed(x, y, name, change)

    def _changed(self, x: str, y: str, name: str, change: Change) -> str:
        """The product `y` of a matrix that an adapter changes, with what the change adds."""
        down = self._vector(f"{name}.down", change.down.T)
        up = self._vector(f"{name}.up", change.up.T)
        narrow = self._add("MatMul", (x, down), f"{name}.narrow")
        added = self._add("MatMul", (narrow, up), f"{name}.added")
        return self._add("Add", (y, added), name)

    def norm(self, x: str, name: str, weight: Tensor, eps: float) -> str:
        inputs = (x, self._vector(f"{name}.weight", weight.float()))
        return self._add("SimplifiedLayerNormalization", inputs, name, axis=-1, epsilon=eps)

    def layer(self, x: str, name: str, layer: PackedLayer, sizes: StackSizes) -> str:
        """A layer whose caches are the inputs and outputs `<name>.keys` and `<name>.values`."""
        qkv = self.product(
            self.norm(x, f"{name}.1", layer.attn_norm, sizes.norm_eps), f"{name}.qkv", layer.qkv
        )
        mixed = self.product(self._attention(qkv, name, sizes), f"{name}.out", layer.out)
        x = self._add("Add", (x, mixed), f"{name}.x")
        normed = self.norm(x, f"{name}.2", layer.mlp_norm, sizes.norm_eps)
        gate = self.product(normed, f"{name}.gate", layer.gate)
        # with alpha 1 it is SiLU
        gate = self._add("QuickGelu", (gate,), f"{name}.silu", domain=_MICROSOFT, alpha=1.0)
        up = self.product(normed, f"{name}.up", layer.up)
        mixed = self.product(
            self._add("Mul", (gate, up), f"{name}.mlp"), f"{name}.down", layer.down
        )
        return self._add("Add", (x, mixed), f"{name}.y")

    def _attention(self, qkv: str, name: str, sizes: StackSizes) -> str:
        keys, values = f"{name}.keys", f"{name}.values"
        node = helper.make_node(
            "GroupQueryAttention",
            (qkv, "", "", keys, values, "last", "total", "cos", "sin"),
            (f"{name}.seen", f"{keys}.out", f"{values}.out"),
            domain=_MICROSOFT,
            num_heads=sizes.heads,
            kv_num_heads=sizes.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
        )
        self._nodes.append(node)
        return f"{name}.seen"

    def session(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> InferenceSession:
        """What runs the graph. It packs the matrices anew, in the order that its kernels want."""
        graph = helper.make_graph(self._nodes, "graph", inputs, outputs, self._tensors)
        model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION)
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.use_per_session_threads = False
        options.enable_cpu_mem_arena = False  # what a long prompt takes goes back after it
        options.log_severity_level = _WARNING
        values = [runtime.OrtValue.ortvalue_from_numpy(t.numpy()) for t in self._matrices.values()]
        options.add_external_initializers(list(self._matrices), values)
        return runtime.InferenceSession(model.SerializeToString(), options)

    def _vector(self, name: str, tensor: Tensor) -> str:
        """A small float32 tensor, which the model holds itself."""
        array = tensor.contiguous().numpy()
        self._tensors.append(onnx.numpy_helper.from_array(array, name))
        return name

    def _matrix(self, name: str, tensor: Tensor, kind: int) -> str:
        self._matrices[name] = tensor
        proto = TensorProto(name=name, data_type=kind, dims=tensor.shape)
        proto.data_location = TensorProto.EXTERNAL
        proto.external_data.add(key="location", value="memory")  # replaced before it is looked for
        self._tensors.append(proto)
        return name

    def _add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, (output,), **attributes))
        return output


@cache
def _runtime() -> Any:
    """ONNX Runtime, silent, with one set of threads for all sessions: as many as torch has.

    Threads of one session that still spin would slow the next session's.
    """
    # Read while it is imported: its packages for Linux and macOS else write an identifier of the
    # machine to the user's cache folder and send events.
    for name in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"):  # the second: before 1.31
        os.environ[name] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # what its package for Windows goes by
    onnxruntime.set_global_thread_pool_sizes(torch.get_num_threads(), 1)
    return onnxruntime


def tensor_info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    """A float32 input or output; a size may be a name, and is open then."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def count_info(name: str) -> onnx.ValueInfoProto:
    """An int32 input of one number."""
    return helper.make_tensor_value_info(name, TensorProto.INT32, [1])

"""ONNX graphs taken apart: integer arithmetic made plain again, parts cut out, weights found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

PLAIN = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}


class Links:
    """Who makes and who takes each tensor of a graph, and which are stored."""

    def __init__(self, graph: GraphProto) -> None:
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self._takers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._takers.setdefault(name, []).append(node)

    def taker(self, name: str) -> NodeProto:
        """The only node that takes a tensor."""
        (node,) = self._takers[name]
        return node

    def values(self, name: str) -> Array:
        """A stored tensor."""
        return numpy_helper.to_array(self.stored[name])


def in_floats(model: ModelProto) -> None:
    """Make dynamically quantised convolutions and products of `model` ordinary ones, in place.

    That is: DynamicQuantizeLinear, an integer operation, perhaps the bias in steps of the scale,
    Cast, Mul by the scale. The weights stay as coarse as they were, what they meet does not.
    """
    links = Links(model.graph)
    for node in list(model.graph.node):
        if node.op_type in PLAIN:
            weight = _made_plain(node, links)
            if weight.name not in links.stored:
                links.stored[weight.name] = weight
                model.graph.initializer.append(weight)
    cut(model, [output.name for output in model.graph.output])


def _made_plain(node: NodeProto, links: Links) -> TensorProto:
    """Put the plain operation where the integer one's result is scaled; returns its weight."""
    quantise = links.makers[node.input[0]]
    assert quantise.op_type == "DynamicQuantizeLinear", quantise.op_type
    result, biases = node.output[0], list[str]()
    after = links.taker(result)
    if after.op_type == "Add":
        biases.append(_bias(after, result, links))
        after = links.taker(after.output[0])
    scaled = links.taker(after.output[0])
    assert (after.op_type, scaled.op_type) == ("Cast", "Mul"), (after.op_type, scaled.op_type)
    (by,) = (name for name in scaled.input if name != after.output[0])
    (scale,) = (name for name in links.makers[by].input if name in links.stored)
    weight = _weight(node, links.values(scale), links)
    inputs = [quantise.input[0], weight.name, *biases]
    plain = helper.make_node(PLAIN[node.op_type], inputs, list(scaled.output), node.name)
    plain.attribute.extend(node.attribute)
    scaled.CopyFrom(plain)
    return weight


def _bias(add: NodeProto, result: str, links: Links) -> str:
    """The stored bias that an Add adds in steps of the scale: Div, then any roundings."""
    (name,) = (name for name in add.input if name != result)
    maker = links.makers[name]
    while maker.op_type != "Div":
        maker = links.makers[maker.input[0]]
    return str(maker.input[0])


def _weight(node: NodeProto, scale: Array, links: Links) -> TensorProto:
    """The integer weight times its scale, one for all or one for each output channel."""
    steps = links.values(node.input[1]).astype(np.float32)
    zero: Array = np.zeros(1, np.float32)
    if len(node.input) > 3:
        zero = links.values(node.input[3]).astype(np.float32)
    if node.op_type == "ConvInteger":
        column = (-1, *[1] * (steps.ndim - 1))
        scale, zero = scale.reshape(column), zero.reshape(column)
    values = ((steps - zero) * scale).astype(np.float32)
    return numpy_helper.from_array(values, f"{node.input[1]}_plain")


def cut(model: ModelProto, outputs: Sequence[str]) -> None:
    """Leave of `model` what `outputs` are computed from, in place; they are its outputs then."""
    wanted = set(outputs)
    kept: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    _replace(model.graph.node, reversed(kept))
    _replace(model.graph.initializer, [t for t in model.graph.initializer if t.name in wanted])
    given = {output.name: output for output in model.graph.output}
    new = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    _replace(model.graph.output, [given.get(info.name, info) for info in new])


def _replace(field: object, items: Iterable[object]) -> None:
    kept = list(items)
    del field[:]  # type: ignore[attr-defined]  # a repeated field of any message
    field.extend(kept)  # type: ignore[attr-defined]


def read(content: bytes) -> ModelProto:
    """A graph of a file's bytes."""
    return onnx.load_from_string(content)

"""Quantised graphs made plain, and cut."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from csm_chat.training.speech.teacher import graphs


def quantised(kind):
    """A graph that computes as dynamic quantisation writes it, with a bias for a convolution."""
    rng = np.random.default_rng(0)
    shape = (3, 2, 3) if kind == "ConvInteger" else (2, 3)
    stored = {
        "weight": rng.integers(0, 255, shape).astype(np.uint8),
        "weight_zero": np.array(120, np.uint8),
        "weight_scale": np.array(0.01, np.float32),
        "bias": rng.normal(size=3).astype(np.float32),
        "column": np.array([1, 3, 1]),
    }
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["steps", "scale", "zero"]),
        helper.make_node(kind, ["steps", "weight", "zero", "weight_zero"], ["sums"], "op"),
        helper.make_node("Mul", ["scale", "weight_scale"], ["by"]),
        helper.make_node("Div", ["bias", "by"], ["bias_steps"]),
        helper.make_node("Cast", ["bias_steps"], ["whole"], to=TensorProto.INT32),
        helper.make_node("Reshape", ["whole", "column"], ["upright"]),
        helper.make_node("Add", ["sums", "upright"], ["biased"]),
        helper.make_node("Cast", ["biased"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "by"], ["y"]),
        helper.make_node("Neg", ["y"], ["unused"]),
    ]
    if kind != "ConvInteger":
        del nodes[3:7]
        nodes[3] = helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    graph = helper.make_graph(nodes, "tiny", [given], [made], tensors)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def run(model, x, output="y"):
    # not by onnxruntime, whose sessions depend on the thread pools that other tests have made
    return ReferenceEvaluator(model).run([output], {"x": x})[0]


@pytest.mark.parametrize("kind", ["MatMulInteger", "ConvInteger"])
def test_plain_arithmetic_is_what_was_quantised(kind):
    x = np.random.default_rng(1).normal(size=(1, 2, 8) if "Conv" in kind else (5, 2))
    model = quantised(kind)
    before = run(model, x.astype(np.float32))
    graphs.in_floats(model)
    assert {node.op_type for node in model.graph.node} == {graphs.PLAIN[kind]}
    after = run(model, x.astype(np.float32))
    assert list(model.graph.node[0].input[2:]) == (["bias"] if kind == "ConvInteger" else [])
    assert np.abs(after - before).max() < 0.05


def test_cutting_leaves_what_an_output_needs():
    model = quantised("MatMulInteger")
    graphs.cut(model, ["unused", "by"])
    assert {node.op_type for node in model.graph.node} >= {"Neg", "Mul"}
    assert [output.name for output in model.graph.output] == ["unused", "by"]
    graphs.cut(model, ["by"])
    assert [node.op_type for node in model.graph.node] == ["DynamicQuantizeLinear", "Mul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["weight_scale"]


def test_links_know_makers_takers_and_what_is_stored():
    links = graphs.Links(quantised("MatMulInteger").graph)
    assert links.makers["sums"].name == "op"
    assert links.taker("sums").op_type == "Cast"
    assert links.values("weight_scale") == np.float32(0.01)


def test_a_graph_is_read_from_bytes():
    model = quantised("MatMulInteger")
    assert graphs.read(model.SerializeToString()) == model
    assert isinstance(model, onnx.ModelProto)

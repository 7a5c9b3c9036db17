"""Every rewrite of the graph gives the results of the graph before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mirnet_deploy.export.rewrites import REWRITES, gates_behind_merges, maximum_in_half, padding_at_the_start


def widened_maximum(dtype: int) -> onnx.ModelProto:
    """The maximum over channels as the exporter writes it, of a tensor of `dtype`."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["wide", "axes"], ["maximum"], keepdims=1),
        helper.make_node("Cast", ["maximum"], ["y"], to=TensorProto.FLOAT16),
        helper.make_node("ReduceMean", ["wide", "axes"], ["mean"], keepdims=1),
    ]
    shape = ["n", 1, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "maximum",
        [helper.make_tensor_value_info("x", dtype, ["n", 5, "h", "w"])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT16, shape),
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, shape),
        ],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def without_mean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Changes the model so that only the maximum uses the widened tensor."""
    del model.graph.node[3], model.graph.output[1]
    return model


def run(model: onnx.ModelProto, x: NDArray[Any]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {"x": x})]


@pytest.mark.parametrize(
    ("model", "after"),
    [
        (widened_maximum(TensorProto.FLOAT16), ["Cast", "ReduceMax", "ReduceMean"]),
        (without_mean(widened_maximum(TensorProto.FLOAT16)), ["ReduceMax"]),
    ],
    ids=["shared", "alone"],
)
def test_maximum_in_half_is_exact(model: onnx.ModelProto, after: list[str]) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(0, 1, (2, 5, 16, 16)) * 10.0 ** rng.integers(-9, 4, (2, 5, 16, 16))).astype(np.float16)
    before = run(model, x)
    assert maximum_in_half(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == after
    for now, then in zip(run(model, x), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_maximum_of_a_tensor_that_is_not_half_is_left_alone() -> None:
    model = widened_maximum(TensorProto.DOUBLE)
    assert maximum_in_half(model) == 0
    assert len(model.graph.node) == 4


def model_of(nodes: list[onnx.NodeProto], channels: int, weights: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    """A model from x, float32 [n,channels,h,w], to y."""
    graph = helper.make_graph(
        nodes,
        "rewritten",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", channels, "p", "q"])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def merged(gate_channels: int = 1) -> onnx.ModelProto:
    """A gated and another half of 4 channels each, merged by one weight, twice in a row."""
    rng = np.random.default_rng(2)
    nodes, x = [], "x"
    for step in ("a", "b"):
        nodes += [
            helper.make_node("Conv", [x, "gate"], [f"{step}1"], f"{step}/Conv"),
            helper.make_node("Sigmoid", [f"{step}1"], [f"{step}2"], f"{step}/Sigmoid"),
            helper.make_node("Mul", [x, f"{step}2"], [f"{step}3"], f"{step}/Mul"),
            helper.make_node("Relu", [x], [f"{step}4"], f"{step}/Relu"),
            helper.make_node("Concat", [f"{step}3", f"{step}4"], [f"{step}5"], f"{step}/Concat", axis=1),
            helper.make_node("Conv", [f"{step}5", "merge"], ["y" if step == "b" else "z"], f"{step}/Conv#2"),
        ]
        x = "z"
    shapes = {"gate": (gate_channels, 4, 1, 1), "merge": (4, 8, 1, 1)}
    return model_of(nodes, 4, {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()})


def test_gates_behind_merges_is_exact() -> None:
    model, x = merged(), np.random.default_rng(0).normal(0, 1, (2, 4, 6, 10)).astype(np.float32)
    (before,) = run(model, x)
    assert gates_behind_merges(model) == 2
    onnx.checker.check_model(model, full_check=True)
    assert "Concat" not in [node.op_type for node in model.graph.node]
    assert sorted(tensor.name for tensor in model.graph.initializer) == ["gate", "merge#part0", "merge#part1"]
    np.testing.assert_allclose(run(model, x)[0], before, rtol=1e-5, atol=1e-6)


def test_a_gate_for_each_channel_is_left_before_the_merge() -> None:
    assert gates_behind_merges(merged(gate_channels=4)) == 0


def blurred(stride: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"], "blur/Pad", mode="reflect"),
        helper.make_node("Conv", ["padded", "kernel"], ["y"], "blur/Conv", group=3, strides=[stride, stride]),
    ]
    kernel = np.random.default_rng(3).random((3, 1, 3, 3), np.float32)
    return model_of(nodes, 3, {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "kernel": kernel})


def test_padding_at_the_start_is_exact() -> None:
    for height, width in ((2, 2), (4, 10), (36, 22)):
        model, x = blurred(2), np.random.default_rng(0).random((2, 3, height, width), np.float32)
        (before,) = run(model, x)
        assert padding_at_the_start(model) == 1
        assert sorted(tensor.name for tensor in model.graph.initializer) == ["kernel", "pads_at_the_start"]
        np.testing.assert_array_equal(run(model, x)[0], before)


def test_padding_that_is_read_is_left_alone() -> None:
    assert padding_at_the_start(blurred(1)) == 0


def test_every_rewrite_is_tested_here() -> None:
    assert [rewrite.__name__ for rewrite in REWRITES if f"test_{rewrite.__name__}_is_exact" not in globals()] == []

"""Every rewrite of the graph gives the same bits as the graph before it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from mirnet_deploy.export.rewrites import REWRITES, maximum_in_half


def widened_maximum(dtype: int) -> onnx.ModelProto:
    """The maximum over channels as the exporter writes it, of a tensor of `dtype`; input and output are float32."""
    nodes = [
        helper.make_node("Cast", ["x"], ["typed"], to=dtype),
        helper.make_node("Cast", ["typed"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["wide", "axes"], ["maximum"], keepdims=1),
        helper.make_node("Cast", ["maximum"], ["narrow"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["narrow"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes, "maximum", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_maximum_in_half_is_exact() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (2, 5, 16, 16)).astype(np.float32) * np.float32(10) ** rng.integers(-9, 5, (2, 5, 16, 16))
    x = x.astype(np.float32)
    model = widened_maximum(TensorProto.FLOAT16)
    before = run(model, x)
    assert maximum_in_half(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Cast", "ReduceMax", "Cast"]
    np.testing.assert_array_equal(run(model, x), before)


def test_maximum_of_a_float_tensor_is_left_alone() -> None:
    model = widened_maximum(TensorProto.DOUBLE)
    assert maximum_in_half(model) == 0
    assert len(model.graph.node) == 5


def test_every_rewrite_is_tested_here() -> None:
    assert [rewrite.__name__ for rewrite in REWRITES if f"test_{rewrite.__name__}_is_exact" not in globals()] == []

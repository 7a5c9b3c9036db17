"""Every rewrite of the graph gives the same bits as the graph before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mirnet_deploy.export.rewrites import REWRITES, maximum_in_half


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


def run(model: onnx.ModelProto, x: NDArray[np.float16]) -> list[NDArray[Any]]:
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


def test_every_rewrite_is_tested_here() -> None:
    assert [rewrite.__name__ for rewrite in REWRITES if f"test_{rewrite.__name__}_is_exact" not in globals()] == []

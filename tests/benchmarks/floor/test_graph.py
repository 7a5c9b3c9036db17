"""The work of graphs: by hand where they are small, and against ONNX Runtime's own account of `lite`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from artifacts import make_onnx
from executed_nodes import bytes_of, executed_nodes, macs_of, picture_feed, repeated_bytes
from onnx import TensorProto, helper, numpy_helper

from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.benchmarks.floor.graph import Graph
from mirnet_deploy.benchmarks.floor.work import Work


def weight(name: str, *shape: int) -> Any:
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def saved(path: Path, nodes: list[Any], weights: list[Any], x: list[Any], y: list[Any]) -> Graph:
    """A graph from `x` to `y`, float32 tensors of these shapes."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return Graph(path)


def test_multiplications_of_a_small_graph_counted_by_hand(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "grouped"], ["a"], group=3, strides=[2, 2], pads=[1, 1, 1, 1]),  # [1,6,4,5]
        helper.make_node("ConvTranspose", ["a", "up"], ["b"], group=2, strides=[2, 2]),  # [1,4,8,10]
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),  # [1,4]
        helper.make_node("Gemm", ["d", "dense"], ["e"]),  # [1,7]
        helper.make_node("MatMul", ["e", "last"], ["y"]),  # [1,5]
    ]
    weights = [weight("grouped", 6, 1, 3, 3), weight("up", 6, 2, 2, 2), weight("dense", 4, 7), weight("last", 7, 5)]
    graph = saved(tmp_path / "small.onnx", nodes, weights, ["batch", 3, "height", "width"], ["batch", 5])
    by_hand = 6 * 4 * 5 * (1 * 3 * 3) + 6 * 4 * 5 * (2 * 2 * 2) + 7 * 4 + 5 * 7
    assert graph.work({"x": (1, 3, 8, 10)}).macs == by_hand
    assert graph.work({"x": (4, 3, 8, 10)}).macs == 4 * by_hand


def test_bytes_of_three_nodes_counted_by_hand(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),  # [1,2,3,4], a kernel of 1x1
        helper.make_node("Mul", ["a", "a"], ["b"]),  # one tensor, read once
        helper.make_node("ReduceMean", ["b"], ["y"], axes=[2, 3]),  # [1,2,1,1]
    ]
    weights = [weight("w", 2, 3, 1, 1), weight("unused", 1000)]
    graph = saved(tmp_path / "three.onnx", nodes, weights, [1, 3, "height", "width"], [1, 2, 1, 1])
    x, w, a, b, y = 36, 6, 24, 24, 2
    work = graph.work({"x": (1, 3, 3, 4)})
    assert work == Work(24 * 3, 4 * w, 4 * (x + y), 4 * ((x + w + a) + (a + b) + (b + y)))
    assert work.least_bytes == 4 * (36 + 6 + 2)
    half = graph.work({"x": (1, 3, 3, 4)}, half=True)
    assert half == Work(24 * 3, 2 * w, 2 * (x + y), 2 * ((x + w + a) + (a + b) + (b + y)))


def test_what_only_looks_at_data_moves_none_and_parts_are_read_as_far_as_they_are_taken(tmp_path: Path) -> None:
    parts = {"starts": [0], "ends": [2], "axes": [3], "picked": [0, 2], "scales": [1, 1, 2, 2]}
    constants = [
        numpy_helper.from_array(np.array(values, np.float32 if name == "scales" else np.int64), name)
        for name, values in parts.items()
    ]
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Slice", ["same", "starts", "ends", "axes"], ["a"]),  # [1,3,4,2], 24 values
        helper.make_node("Gather", ["a", "picked"], ["b"], axis=1),  # [1,2,4,2], 16 values
        helper.make_node("Resize", ["b", "", "scales"], ["y"], mode="nearest"),  # [1,2,8,4], 64 values
    ]
    graph = saved(tmp_path / "parts.onnx", nodes, constants, [1, 3, 4, "width"], [1, 2, 8, 4])
    work = graph.work({"x": (1, 3, 4, 100)})
    taken = (2 * 24 * 4 + 3 * 8) + (2 * 16 * 4 + 2 * 8) + (16 * 4 + 4 * 4 + 64 * 4)
    assert (work.macs, work.unfused_bytes) == (0, taken)


@pytest.mark.parametrize(("height", "width"), [(24, 32), (20, 44)])
def test_the_work_of_lite_is_what_onnx_runtime_executed(height: int, width: int, tmp_path: Path) -> None:
    path = resolve_model("lite")
    feeds = picture_feed("float", height, width)
    nodes = executed_nodes(path, feeds, tmp_path)
    work = Graph(path).work({"input": (1, 3, height, width), "output": (1, 3, height, width)})
    assert work.macs == macs_of(nodes)
    assert work.unfused_bytes == bytes_of(nodes) - repeated_bytes(path)
    # The weights are nearly all of the file, and the data are the picture, its result, and the means.
    assert 0.8 < work.constant_bytes / path.stat().st_size < 1
    means = 704
    assert work.data_bytes == 4 * (2 * 3 * height * width + 2 * means + 2 + 2)


def test_tiles_of_a_batch_with_given_means_take_the_work_of_as_many_pictures(tmp_path: Path) -> None:
    graph = Graph(resolve_model("lite"))
    alone = graph.work({"input": (1, 3, 24, 32)})
    given = {"context": (1, 704), "mode": (2,), "rows": (5, 24), "cols": (5, 32), "statistics": (5, 704)}
    together = graph.work({"input": (5, 3, 24, 32), **given})
    assert together.macs == 5 * alone.macs
    assert together.constant_bytes == alone.constant_bytes


@pytest.mark.parametrize("interface", ["float", "image"])
def test_an_interface_in_bytes_moves_a_quarter(interface: str, tmp_path: Path) -> None:
    graph = Graph(make_onnx(tmp_path / "blur.onnx", "blur", interface=interface, context=0))
    shapes = {"input": (1, 3, 8, 12)} if interface == "float" else {"image": (1, 8, 12, 3)}
    work = graph.work(shapes)
    assert work.macs == 8 * 12 * 3 * 25
    assert work.data_bytes == 2 * 8 * 12 * 3 * (4 if interface == "float" else 1)


def test_what_cannot_be_counted_has_a_reason(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "blur.onnx", "blur", context=0)
    with pytest.raises(ValueError, match="input input has no shape"):
        Graph(path).work({"image": (1, 8, 8, 3)})
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    with pytest.raises(ValueError, match="shapes cannot be inferred"):
        saved(tmp_path / "no.onnx", nodes, [weight("w", 3, 4)], ["n", "m"], ["n", 4]).work({"x": (5, 2)})
    inside = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "in", [], [helper.make_tensor_value_info("z", 1, [2])]
    )
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=inside, else_branch=inside)]
    yes = numpy_helper.from_array(np.array(True), "yes")
    with pytest.raises(ValueError, match="has a graph inside it"):
        saved(tmp_path / "if.onnx", nodes, [yes], [2], [2]).work({"x": (2,)})
    (tmp_path / "none.onnx").write_bytes(b"\xff\xfe nothing")
    with pytest.raises(ValueError, match="is not an ONNX file"):
        Graph(tmp_path / "none.onnx")

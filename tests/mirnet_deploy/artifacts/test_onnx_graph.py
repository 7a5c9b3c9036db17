"""Which nodes leave page-locked buffers behind on a GPU."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from mirnet_deploy.artifacts.onnx_graph import deferring_nodes


def graph_of(node: onnx.NodeProto) -> bytes:
    """The bytes of a model with this node, which is not checked."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"], name="same"), node], "one", [value], [value])
    return helper.make_model(graph).SerializeToString()


def names(count: int) -> list[str]:
    return [f"t{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("node", "defers"),
    [
        (helper.make_node("Concat", names(32), ["y"], name="joined", axis=1), False),
        (helper.make_node("Concat", names(33), ["y"], name="joined", axis=1), True),
        (helper.make_node("Split", ["x"], names(3), name="parted", num_outputs=3), True),
        (helper.make_node("Split", ["x"], names(33), name="parted", num_outputs=33), True),
        (helper.make_node("Split", ["x", "sizes"], names(2), name="parted"), True),
        (helper.make_node("Max", names(60), ["y"], name="largest"), False),
    ],
)
def test_a_node_that_does_not_take_its_lists_by_value_is_found(node: onnx.NodeProto, defers: bool) -> None:
    assert deferring_nodes(graph_of(node)) == ([node.name] if defers else [])


def test_half_a_file_is_an_error() -> None:
    data = graph_of(helper.make_node("Concat", names(40), ["y"], name="joined", axis=1))
    with pytest.raises(ValueError, match="it ends at byte"):
        deferring_nodes(data[: len(data) // 2])

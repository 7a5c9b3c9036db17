"""FP16 means FP16: proven in the ONNX graph, and again in the network that the builder parsed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from export_types import Export
from graph_faults import FP32_NODE, leave_one_in_fp32
from onnx import TensorProto, helper, numpy_helper

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS
from mirnet_deploy.artifacts.metadata import Interface
from mirnet_deploy.artifacts.onnx_graph import without_defaults
from mirnet_deploy.errors import ExportError
from mirnet_deploy.export.builder import find_builder
from mirnet_deploy.export.plan import build_plan
from mirnet_deploy.export.precision import element_types, find_islands, prove_onnx
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.training.checkpoint import LoadedCheckpoint


def test_islands_are_the_squeeze_and_excite_convolutions_and_nothing_else(
    exported: Export, checkpoint: LoadedCheckpoint
) -> None:
    islands = find_islands(onnx.load(exported("float", "fp16").path), checkpoint.network)
    assert {name.rsplit("/")[0].rstrip("0123456789.").rsplit(".")[-1] for name in islands.inside} == {
        "squeeze",
        "excite",
    }
    # 6 DAU uses of 2 convolutions, 4 SKFF uses of 1 + 3
    assert len(islands.inside) == 6 * 2 + 4 * 4
    assert not any("squeeze" in name or "excite" in name for name in islands.outside)


@pytest.mark.parametrize("interface", ["float", "image"])
def test_the_fp16_graph_computes_in_half_outside_its_islands(
    exported: Export, checkpoint: LoadedCheckpoint, interface: Interface
) -> None:
    model = onnx.load(exported(interface, "fp16").path)
    types = element_types(model)
    axes = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    means = [node for node in model.graph.node if node.op_type == "ReduceMean" and axes[node.input[1]] == [2, 3]]
    assert len(means) == 11, "6 in DAUs, 4 in SKFFs, and the mean weight of a pixel"
    blocks = [node for node in model.graph.node if node.op_type == "AveragePool"]
    assert len(blocks) == 7, "4 of the DAUs and 3 of the SKFFs: at the coarsest level a block is a pixel"
    pools = means + blocks
    assert {types[pool.input[0]] for pool in pools} == {TensorProto.FLOAT}
    maxima = [node for node in model.graph.node if node.op_type == "ReduceMax"]
    assert {types[node.input[0]] for node in maxima} == {TensorProto.FLOAT16}
    assert prove_onnx(model, checkpoint.network, "fp16") == exported(interface, "fp16").metadata.precision_proof


def test_fp32_passes_as_fp32_only(exported: Export, checkpoint: LoadedCheckpoint) -> None:
    model = onnx.load(exported("float", "fp32").path)
    assert prove_onnx(model, checkpoint.network, "fp32") == "113 convolutions compute in FLOAT (ONNX graph)"
    with pytest.raises(ExportError, match="node conv_in/Conv computes in FLOAT; expected FLOAT16"):
        prove_onnx(model, checkpoint.network, "fp16")


def test_one_convolution_left_in_fp32_is_named(exported: Export, checkpoint: LoadedCheckpoint) -> None:
    model = onnx.load(exported("image", "fp16").path)
    leave_one_in_fp32(model)
    with pytest.raises(ExportError, match=f"node {FP32_NODE} computes in FLOAT; expected FLOAT16"):
        prove_onnx(model, checkpoint.network, "fp16")
    # The builder's own network is proven separately: the builder would build this one without an error.
    islands = find_islands(model, checkpoint.network)
    library = find_builder("tensorrt_rtx", [])
    assert library is not None
    settings = ExportSettings(tile=64, halo=8)
    with pytest.raises(ExportError, match=f"node {FP32_NODE} computes in FLOAT; expected HALF"):
        build_plan(
            without_defaults(model.SerializeToString(), CONTEXT_INPUTS), islands, settings, "fp16", library, print
        )


@pytest.mark.parametrize("kind", ["ReduceMean", "AveragePool"])
def test_a_pool_that_sums_in_half_is_named(exported: Export, checkpoint: LoadedCheckpoint, kind: str) -> None:
    model = onnx.load(exported("float", "fp16").path)
    axes = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    found = [node for node in model.graph.node if node.op_type == kind]
    pool = next(node for node in found if kind == "AveragePool" or axes[node.input[1]] == [2, 3])
    # What `mean(dtype=float32)` exports as: the mean in half, then a cast.
    index = list(model.graph.node).index(pool)
    (wide, wide_mean), (pool.input[0], pool.output[0]) = (pool.input[0], pool.output[0]), ("narrow", "narrow_mean")
    model.graph.node.insert(index + 1, helper.make_node("Cast", ["narrow_mean"], [wide_mean], to=TensorProto.FLOAT))
    model.graph.node.insert(index, helper.make_node("Cast", [wide], ["narrow"], to=TensorProto.FLOAT16))
    with pytest.raises(ExportError, match=f"node {pool.name} computes in FLOAT16; expected FLOAT"):
        prove_onnx(model, checkpoint.network, "fp16")


def test_a_convolution_with_a_foreign_weight_is_named(exported: Export, checkpoint: LoadedCheckpoint) -> None:
    model = onnx.load(exported("float", "fp32").path)
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    model.graph.initializer.append(numpy_helper.from_array(np.array(numpy_helper.to_array(weight)), "stranger"))
    node.input[1] = "stranger"
    with pytest.raises(ExportError, match="node conv_in/Conv convolves with stranger"):
        prove_onnx(model, checkpoint.network, "fp32")

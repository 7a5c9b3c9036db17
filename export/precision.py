"""Proof of precision in the ONNX graph: which dtype every convolution and every pool computes in.

Half precision with *FP32 islands*: the pools, the squeeze convolutions behind them and the last residual sum stay in
float32 (see `training/network.py`). The convolutions of an island are recognised by their weights: the exporter keeps
the parameters' names, and the network tells which parameters belong to islands.
"""

from __future__ import annotations

import onnx

from mirnet_deploy.artifacts.metadata import Precision
from mirnet_deploy.errors import ExportError
from mirnet_deploy.export.islands import Islands
from mirnet_deploy.training.network import SKFF, ChannelAttention, MIRNet

CONVOLUTIONS = ("Conv", "ConvTranspose")
PART = "#part"
"""Stands between the name of a parameter and the number of its part, where a rewrite has split it."""
_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
_SPATIAL = ([2, 3], [-2, -1])


def find_islands(model: onnx.ModelProto, network: MIRNet) -> Islands:
    """Sorts the convolutions of an exported graph by the parameter that each of them uses.

    Raises:
        ExportError: a convolution uses something other than a parameter or a buffer of the network.
    """
    owners = [name for name, module in network.named_modules() if isinstance(module, (ChannelAttention, SKFF))]
    island_weights = {
        f"{owner}.{name}" for owner in owners for name, value in network.get_submodule(owner).named_parameters()
        if value.dim() == 4
    }  # fmt: skip
    known = {name for name, _ in network.named_parameters()} | {name for name, _ in network.named_buffers()}
    inside: set[str] = set()
    outside: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in CONVOLUTIONS:
            continue
        weight = node.input[1].partition(PART)[0]
        if weight not in known:
            raise ExportError(f"node {node.name} convolves with {weight}, which is not a parameter of the network")
        (inside if weight in island_weights else outside).add(node.name)
    return Islands(frozenset(inside), frozenset(outside))


def prove_onnx(model: onnx.ModelProto, network: MIRNet, precision: Precision) -> str:
    """Proves the precision of an ONNX graph by strict type inference, and says in words what was proven.

    FP32: every convolution is float32. FP16: every convolution outside the islands is float16, those in the islands are
    float32. In both, the pools and the last residual sum are float32.

    Raises:
        ExportError: a node computes in another precision (it is named), or the graph's types do not check.
    """
    islands = find_islands(model, network)
    types = element_types(model)
    wide = _HALF if precision == "fp16" else _FLOAT
    for node in model.graph.node:
        if node.op_type in CONVOLUTIONS:
            _expect(node, types[node.output[0]], _FLOAT if node.name in islands.inside else wide)
        elif _is_spatial_pool(node, model):
            _expect(node, types[node.input[0]], _FLOAT)
    residual = _last_sum(model)
    _expect(residual, types[residual.output[0]], _FLOAT)
    return islands.proof(precision)


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Tensor name -> element type (`onnx.TensorProto.DataType`), for every tensor of the graph.

    Raises:
        ExportError: the graph is not valid ONNX.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {str(error).strip().splitlines()[-1]}") from error
    types = {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def _expect(node: onnx.NodeProto, actual: int, expected: int) -> None:
    if actual != expected:
        name = onnx.TensorProto.DataType.Name
        raise ExportError(f"node {node.name} computes in {name(actual)}; expected {name(expected)}: not exported")


def _is_spatial_pool(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether the node is a mean over height and width, or over blocks of them."""
    if node.op_type in ("GlobalAveragePool", "AveragePool"):
        return True
    if node.op_type != "ReduceMean":
        return False
    axes = next((tensor for tensor in model.graph.initializer if tensor.name == node.input[1]), None)
    return axes is not None and onnx.numpy_helper.to_array(axes).tolist() in _SPATIAL


def _last_sum(model: onnx.ModelProto) -> onnx.NodeProto:
    """The residual sum that gives the network's output: the last Add of the graph (nodes are in order)."""
    node: onnx.NodeProto = next(node for node in reversed(model.graph.node) if node.op_type == "Add")
    return node

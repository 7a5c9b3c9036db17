"""Faults that a graph can have, as rewrites: each returns its model with one node gone wrong."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FP32_NODE = "groups.0.blocks.0.down12.conv2/Conv"
UNKNOWN_NODE = "interface/SequenceConstruct"


def leave_one_in_fp32(model: onnx.ModelProto) -> int:
    """`FP32_NODE` computes in float32 between two casts: what an exporter does that forgot one layer."""
    graph = model.graph
    index, node = next((i, node) for i, node in enumerate(graph.node) if node.name == FP32_NODE)
    weight = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), weight.name))
    source, target = node.input[0], node.output[0]
    node.input[0], node.output[0] = f"{source}_wide", f"{target}_wide"
    graph.node.insert(index + 1, helper.make_node("Cast", [f"{target}_wide"], [target], to=TensorProto.FLOAT16))
    graph.node.insert(index, helper.make_node("Cast", [source], [f"{source}_wide"], to=TensorProto.FLOAT))
    return 1


def add_unknown_operator(model: onnx.ModelProto) -> int:
    """The picture goes into a sequence of one and out of it again: valid ONNX that no TensorRT parser takes."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(0), "first"))
    index, node = next((i, node) for i, node in enumerate(graph.node) if node.op_type == "Round")
    picture, node.input[0] = node.input[0], "taken_out"
    graph.node.insert(index, helper.make_node("SequenceAt", ["sequence", "first"], ["taken_out"]))
    graph.node.insert(index, helper.make_node("SequenceConstruct", [picture], ["sequence"], name=UNKNOWN_NODE))
    return 1


def ignore_given_means(model: onnx.ModelProto) -> int:
    """The pools use what they measure, whatever the mode says: such a graph agrees with the plain network."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 0], np.float32), "always"))
    for node in model.graph.node:
        node.input[:] = ["always" if name == "mode" else name for name in node.input]
    return 1

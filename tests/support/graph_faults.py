"""Faults of a graph, written as rewrites: each changes the model in place and returns 1, as one rewrite made."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FP32_NODE = "groups.0.blocks.0.down12.conv2/Conv"
UNKNOWN_NODE = "interface/SequenceConstruct"


def leave_one_in_fp32(model: onnx.ModelProto) -> int:
    """Makes `FP32_NODE` compute in float32 between two casts, as an exporter that forgot one layer would."""
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
    """Puts the picture into a sequence of one and takes it out again: valid ONNX that no TensorRT parser takes."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(0), "first"))
    index, node = next((i, node) for i, node in enumerate(graph.node) if node.op_type == "Round")
    picture, node.input[0] = node.input[0], "taken_out"
    graph.node.insert(index, helper.make_node("SequenceAt", ["sequence", "first"], ["taken_out"]))
    graph.node.insert(index, helper.make_node("SequenceConstruct", [picture], ["sequence"], name=UNKNOWN_NODE))
    return 1


def ignore_given_means(model: onnx.ModelProto) -> int:
    """Makes the pools use what they measure, whatever the mode says. The graph still agrees with the plain network."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 0], np.float32), "always"))
    for node in model.graph.node:
        node.input[:] = ["always" if name == "mode" else name for name in node.input]
    return 1

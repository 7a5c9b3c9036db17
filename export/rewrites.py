"""Rewrites of the exported graph that change no value. Each is one function with an equality test of its own.

Most of what is exact in algebra is written in the network itself (1x1 convolutions before bilinear upsampling, SKFF as
a weighted sum). The rewrites here undo detours of the exporter, and split weights, which the network keeps whole. What
each gives on a CPU, and what was tried and gave nothing, stands in benchmarks/CPU.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mirnet_deploy.export.precision import PART, element_types

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def maximum_in_half(model: onnx.ModelProto) -> int:
    """Replaces Cast(float32) -> ReduceMax -> Cast(float16) of a half tensor by ReduceMax in half; returns how many.

    The exporter takes the maximum over channels in float32. Widening keeps the order, and narrowing back is exact, so
    the maximum is the same number.
    """
    graph = model.graph
    types = element_types(model)
    producers = {output: node for node in graph.node for output in node.output}
    users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    rewritten = 0
    for maximum in [node for node in graph.node if node.op_type == "ReduceMax"]:
        widen, narrow = producers.get(maximum.input[0]), users[maximum.output[0]]
        if widen is None or not _casts_to(widen, _FLOAT) or types[widen.input[0]] != _HALF:
            continue
        if len(narrow) != 1 or not _casts_to(narrow[0], _HALF):
            continue
        users[widen.output[0]].remove(maximum)
        maximum.input[0], maximum.output[0] = widen.input[0], narrow[0].output[0]
        graph.node.remove(narrow[0])
        if not users[widen.output[0]]:  # otherwise the pool of the channel attention reads it too
            graph.node.remove(widen)
        rewritten += 1
    return rewritten


def gates_behind_merges(model: onnx.ModelProto) -> int:
    """Replaces W [g r; c], a 1x1 convolution of two halves, by g (W1 r) + W2 c, where g has one value per pixel;
    returns how many. A factor per pixel commutes with a 1x1 convolution, and the halves need not be copied together.
    """
    nodes = _Nodes(model)
    rewritten = 0
    for merge in [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) == 2]:
        halves = nodes.producer(merge.input[0])
        if halves is None or halves.op_type != "Concat" or len(halves.input) != 2 or not nodes.is_used_once(halves):
            continue
        gated, weight = nodes.producer(halves.input[0]), nodes.weights.get(merge.input[1])
        if weight is None or list(weight.dims[2:]) != [1, 1] or gated is None or gated.op_type != "Mul":
            continue
        gate = nodes.producer(gated.input[1])
        if gate is None or gate.op_type != "Sigmoid" or not nodes.is_used_once(gated) or not nodes.is_one_channel(gate):
            continue
        parts = nodes.halved(weight)
        result, below, other = merge.output[0], f"{merge.output[0]}_gated", f"{merge.output[0]}_other"
        ungated = f"{result}_ungated"
        nodes.replace(
            merge,
            [halves, gated],
            helper.make_node("Conv", [gated.input[0], parts[0]], [ungated], f"{merge.name}#gated"),
            helper.make_node("Mul", [ungated, gated.input[1]], [below], f"{gated.name}#merged"),
            helper.make_node("Conv", [halves.input[1], parts[1]], [other], f"{merge.name}#other"),
            helper.make_node("Add", [below, other], [result], f"{merge.name}#sum"),
        )
        rewritten += 1
    return rewritten


def padding_at_the_start(model: onnx.ModelProto) -> int:
    """Drops the padding behind the last row and column before a 3x3 convolution of stride 2; returns how often.

    Sides are even: the last window ends on the last pixel, and never reads what lies behind it.
    """
    nodes = _Nodes(model)
    rewritten = 0
    for pad in [node for node in model.graph.node if node.op_type == "Pad"]:
        amounts, users = nodes.weights.get(pad.input[1]), nodes.users[pad.output[0]]
        if amounts is None or numpy_helper.to_array(amounts).tolist() != [0, 0, 1, 1, 0, 0, 1, 1]:
            continue
        if not all(_halves(user) and list(nodes.weights[user.input[1]].dims[2:]) == [3, 3] for user in users):
            continue
        if "pads_at_the_start" not in nodes.weights:
            nodes.add("pads_at_the_start", np.array([0, 0, 1, 1, 0, 0, 0, 0]))
        nodes.users[amounts.name].remove(pad)
        pad.input[1] = "pads_at_the_start"
        nodes.drop_unused(amounts)
        rewritten += 1
    return rewritten


class _Nodes:
    """The nodes of a graph by what they make and read, and its constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {output: node for node in model.graph.node for output in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.users[name].append(node)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for inputs and constants."""
        return self.producers.get(name)

    def is_used_once(self, node: onnx.NodeProto) -> bool:
        return len(self.users[node.output[0]]) == 1

    def is_one_channel(self, node: onnx.NodeProto) -> bool:
        """Whether a node of one input follows a convolution with one channel of output."""
        before = self.producer(node.input[0])
        return before is not None and before.op_type == "Conv" and self.weights[before.input[1]].dims[0] == 1

    def add(self, name: str, values: np.ndarray[Any, Any]) -> None:
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        self.weights[name] = self._graph.initializer[-1]

    def halved(self, weight: onnx.TensorProto) -> list[str]:
        """Names of the two halves of a kernel's input channels. The module may be used twice, and its weight too."""
        names = [f"{weight.name}{PART}{half}" for half in (0, 1)]
        for name, values in zip(names, np.split(numpy_helper.to_array(weight), 2, axis=1), strict=True):
            if name not in self.weights:
                self.add(name, values)
        return names

    def replace(self, node: onnx.NodeProto, before: list[onnx.NodeProto], *new: onnx.NodeProto) -> None:
        """Puts `new` in the place of `node`, and removes the nodes `before` it and a weight that nobody reads now."""
        place = next(index for index, each in enumerate(self._graph.node) if each.name == node.name)
        for offset, each in enumerate(new):
            self._graph.node.insert(place + offset, each)
        for each in (node, *before):
            self._graph.node.remove(each)
        self.users[node.input[1]].remove(node)
        self.drop_unused(self.weights[node.input[1]])

    def drop_unused(self, weight: onnx.TensorProto) -> None:
        """Removes a constant that no node reads any more: ONNX Runtime would warn of it."""
        if not self.users[weight.name]:
            self._graph.initializer.remove(weight)


def _halves(node: onnx.NodeProto) -> bool:
    """Whether a node is a convolution of stride 2 without padding of its own."""
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return (
        node.op_type == "Conv" and list(attributes.get("strides", [])) == [2, 2] and not any(attributes.get("pads", []))
    )


def _casts_to(node: onnx.NodeProto, dtype: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == dtype


REWRITES: tuple[Callable[[onnx.ModelProto], int], ...] = (maximum_in_half, gates_behind_merges, padding_at_the_start)
"""In the order in which they are applied."""

"""Rewrites of the exported graph that change no value. Each is one function with an equality test of its own.

Most of what is exact in algebra is written in the network itself (1x1 convolutions before bilinear upsampling, SKFF as
a weighted sum); the rewrites here undo detours of the exporter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import onnx

from mirnet_deploy.export.precision import element_types

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


def _casts_to(node: onnx.NodeProto, dtype: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == dtype


REWRITES: tuple[Callable[[onnx.ModelProto], int], ...] = (maximum_in_half,)
"""In the order in which they are applied."""

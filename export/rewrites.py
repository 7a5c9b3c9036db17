"""Rewrites of the exported graph that change no value. Each is one function with an equality test of its own.

Most of what is exact in algebra is written in the network itself (1x1 convolutions before bilinear upsampling, SKFF as
a weighted sum); what stands here undoes detours of the exporter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import onnx

from mirnet_deploy.export.precision import element_types

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def maximum_in_half(model: onnx.ModelProto) -> int:
    """Cast(float32) -> ReduceMax -> Cast(float16) of a half tensor becomes ReduceMax in half; returns how many.

    The exporter widens the maximum over channels. Widening keeps the order and the narrowing back is exact, so the
    maximum is the same number; what goes is two full-size casts a DAU.
    """
    graph = model.graph
    types = element_types(model)
    producers = {output: node for node in graph.node for output in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    rewritten = 0
    for node in [node for node in graph.node if node.op_type == "ReduceMax"]:
        widen = producers.get(node.input[0])
        narrow = next((user for user in graph.node if node.output[0] in user.input), None)
        if widen is None or narrow is None or uses[widen.output[0]] != 1 or uses[node.output[0]] != 1:
            continue
        if not (_casts_to(widen, _FLOAT) and _casts_to(narrow, _HALF) and types[widen.input[0]] == _HALF):
            continue
        node.input[0], node.output[0] = widen.input[0], narrow.output[0]
        graph.node.remove(widen)
        graph.node.remove(narrow)
        rewritten += 1
    return rewritten


def _casts_to(node: onnx.NodeProto, dtype: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == dtype


REWRITES: tuple[Callable[[onnx.ModelProto], int], ...] = (maximum_in_half,)
"""In the order in which they are applied."""

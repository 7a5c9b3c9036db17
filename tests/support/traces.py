"""PyTorch's tracing, which takes 10 to 20 s a network, once for all exports of a session."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from mirnet_deploy.artifacts.metadata import Interface
from mirnet_deploy.export.tracing import trace

Weights = dict[str, NDArray[Any]]


class Traces:
    """Called like `trace`. A network whose graph is known gets a copy of it, with its own weights.

    Weights that the tracing has folded into constants must be equal for that; all others stand in the graph as they
    are, by their names. Every other step of an export, its proofs above all, is run with the graph each time.
    """

    def __init__(self) -> None:
        self._made: list[tuple[tuple[Interface, int, int], Weights, onnx.ModelProto]] = []

    def __call__(self, module: nn.Module, interface: Interface, opset: int, context: int) -> onnx.ModelProto:
        asked = interface, opset, context
        weights = {name.removeprefix("network."): value.detach().numpy() for name, value in module.named_parameters()}
        for known, traced, model in self._made:
            if known == asked and (copy := _with_weights(model, traced, weights)):
                return copy
        model = trace(module, interface, opset, context)
        self._made.append((asked, {name: value.copy() for name, value in weights.items()}, _copied(model)))
        return model


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _with_weights(model: onnx.ModelProto, traced: Weights, weights: Weights) -> onnx.ModelProto | None:
    """A copy of `model`, which was traced with the weights `traced`, with others; None where it takes a new trace."""
    if [(n, v.dtype, v.shape) for n, v in traced.items()] != [(n, v.dtype, v.shape) for n, v in weights.items()]:
        return None
    copy = _copied(model)
    held = {tensor.name: tensor for tensor in copy.graph.initializer}
    for name, value in weights.items():
        if np.array_equal(value, traced[name]):
            continue
        if name not in held or not np.array_equal(onnx.numpy_helper.to_array(held[name]), traced[name]):
            return None
        held[name].CopyFrom(onnx.numpy_helper.from_array(value, name))
    return copy

"""Convolutions with one output, for blocks of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from openvino_models import OPSET, convolved, kinds, maps, rewritten, weights

from mirnet_deploy.engines.openvino_graph.blocks import compute_in_blocks


def gate(first: Any, *, bias: bool = True, sigmoid: bool = True, side: int = 5) -> Any:
    """As in spatial attention: of a maximum and a mean over channels."""
    channel = np.array([1])
    maximum, mean = OPSET.reduce_max(first, channel, True), OPSET.reduce_mean(first, channel, True)
    made = convolved(OPSET.concat([maximum, mean], 1), 1, side)
    if bias:
        made = OPSET.add(made, weights(1, 1, 1, 1))
    return OPSET.multiply(first, OPSET.sigmoid(made) if sigmoid else made)


@pytest.mark.parametrize(("bias", "sigmoid"), [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize(("height", "width", "block"), [(8, 12, 4), (10, 12, 2), (6, 10, 2)])
def test_a_gate_is_computed_in_blocks(bias: bool, sigmoid: bool, height: int, width: int, block: int) -> None:
    first = maps(4, height, width)
    before, after = rewritten(gate(first, bias=bias, sigmoid=sigmoid), [first], compute_in_blocks, 1, atol=1e-5)
    assert (before["Concat"], after["Concat"], after["DepthToSpace"]) == (1, 0, 1)
    model = openvino.Model([gate(first)], [first])
    compute_in_blocks(openvino, model)
    (made,) = [node for node in model.get_ops() if node.get_type_name() == "DepthToSpace"]
    assert made.get_attributes()["block_size"] == block


@pytest.mark.parametrize(("height", "width"), [(9, 12), (8, 11)])
def test_sides_that_no_block_divides_stay(height: int, width: int) -> None:
    first = maps(4, height, width)
    rewritten(gate(first), [first], compute_in_blocks, 0)


def test_other_convolutions_stay() -> None:
    """With more outputs, of one pixel, and with strides."""
    first = maps(4)
    stepped = OPSET.convolution(first, weights(1, 4, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1])
    spread = OPSET.convolution(first, weights(1, 4, 3, 3), [1, 1], [2, 2], [2, 2], [2, 2])
    for made in (convolved(first, 2), convolved(first, 1, 1), stepped, spread):
        rewritten(made, [first], compute_in_blocks, 0)


def test_pads_that_differ_stay_what_they_are() -> None:
    first = maps(4)
    made = OPSET.convolution(first, weights(1, 4, 3, 5), [1, 1], [2, 1], [0, 3], [1, 1])
    rewritten(made, [first], compute_in_blocks, 1, atol=1e-5)


def test_a_gate_that_is_read_twice_and_a_bias_of_another_shape() -> None:
    first = maps(4)
    made = convolved(first, 1)
    both = OPSET.multiply(OPSET.sigmoid(made), OPSET.sin(made))
    rewritten(both, [first], compute_in_blocks, 1, atol=1e-5)
    rewritten(OPSET.add(convolved(first, 1), weights(1, 1, 8, 12)), [first], compute_in_blocks, 1, atol=1e-5)


def test_maps_beside_one_another_are_no_parts_of_a_kernel() -> None:
    first = maps(4)
    beside = OPSET.concat([OPSET.sin(first), first], 3)
    _, after = rewritten(convolved(beside, 1), [first], compute_in_blocks, 1, atol=1e-5)
    assert after["Concat"] == 1


@pytest.mark.parametrize("weights_only", [False, True])
def test_a_graph_in_half_is_computed_in_half(weights_only: bool) -> None:
    """Or its weights alone are kept in float16."""

    def constant(values: Any) -> Any:
        kept = OPSET.constant(values.astype(np.float16))
        return OPSET.convert(kept, "f32") if weights_only else kept

    first = maps(4, dtype=np.float32 if weights_only else np.float16)
    made = OPSET.convolution(first, constant(weights(1, 4, 3, 3)), [1, 1], [1, 1], [1, 1], [1, 1])
    made = OPSET.add(made, constant(np.full((1, 1, 1, 1), 0.5)))
    rewritten(made, [first], compute_in_blocks, 1, atol=1e-5 if weights_only else 2e-2)


def test_a_model_of_any_shape_stays() -> None:
    source = OPSET.parameter(openvino.PartialShape([1, 4, -1, -1]), np.float32, "input")
    model = openvino.Model([convolved(source, 1)], [source])
    assert compute_in_blocks(openvino, model) == 0
    assert kinds(model)["DepthToSpace"] == 0

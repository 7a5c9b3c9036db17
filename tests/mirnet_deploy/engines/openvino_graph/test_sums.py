"""Sums in the order in which OpenVINO writes the fewest maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from openvino_models import OPSET, convolved, enlarged, maps, rewritten

from mirnet_deploy.engines.openvino_graph import sums


def factor(seed: int) -> Any:
    return OPSET.constant(np.random.default_rng(seed).random((1, 4, 1, 1), np.float32))


def branches(weigh: Any = factor, times: int = 2, mode: str = "half_pixel") -> tuple[Any, list[Any]]:
    """A weighted sum of three branches, of which two come from below."""
    first, small = maps(4, 8 * times, 12 * times, name="first"), maps(4, name="small")
    made = OPSET.multiply(first, factor(2))
    for seed, below in enumerate((small, OPSET.sin(small))):
        branch = OPSET.add(convolved(first, 4, seed=seed), enlarged(below, times, mode))
        made = OPSET.add(made, OPSET.multiply(branch, weigh(seed)))
    return made, [first, small]


def per_pixel(seed: int) -> Any:
    return OPSET.constant(np.random.default_rng(seed).random((1, 1, 16, 24), np.float32))


def per_pixel_alone(seed: int) -> Any:
    return OPSET.constant(np.random.default_rng(seed).random((16, 24), np.float32))


def test_branches_from_below_are_enlarged_together() -> None:
    made, sources = branches()
    before, after = rewritten(made, sources, sums.share_upsampling, 1, atol=2e-5)
    assert (before["Interpolate"], after["Interpolate"]) == (2, 1)


@pytest.mark.parametrize(
    "kind",
    [
        {"times": 4},
        {"mode": "asymmetric"},
        {"weigh": per_pixel},
        {"weigh": per_pixel_alone},
    ],
)
def test_other_sums_of_enlarged_maps_stay(kind: dict[str, Any]) -> None:
    """A factor for each pixel does not commute with an enlargement; the others are not what the network has."""
    made, sources = branches(**kind)
    rewritten(made, sources, sums.share_upsampling, 0)


def test_a_branch_that_is_read_elsewhere_is_enlarged_for_itself() -> None:
    first, small = maps(4, 16, 24, name="first"), maps(4, name="small")
    both = [OPSET.add(convolved(first, 4, seed=k), enlarged(OPSET.sin(small) if k else small)) for k in (0, 1)]
    weighed = OPSET.add(OPSET.multiply(both[0], factor(0)), OPSET.multiply(both[1], factor(1)))
    made = OPSET.multiply(weighed, both[1])
    rewritten(made, [first, small], sums.share_upsampling, 0)


def test_a_convolution_is_added_last() -> None:
    first = maps(4)
    gated = OPSET.multiply(OPSET.sin(first), OPSET.sigmoid(first))
    made = OPSET.add(first, OPSET.add(gated, convolved(first, 4)))
    rewritten(made, [first], sums.add_convolutions_last, 1)
    model = openvino.Model([made], [first])
    sums.add_convolutions_last(openvino, model)
    last = model.outputs[0].get_node().input_value(0).get_node()
    assert [value.get_node().get_type_name() for value in last.input_values()] == ["Add", "Convolution"]


@pytest.mark.parametrize("inner_is_read", [False, True])
def test_a_sum_that_is_read_elsewhere_is_one_term(inner_is_read: bool) -> None:
    first = maps(4)
    inner = OPSET.add(OPSET.sin(first), convolved(first, 4))
    outer = OPSET.add(first, inner)
    made = OPSET.multiply(outer, inner) if inner_is_read else outer
    rewritten(made, [first], sums.add_convolutions_last, 0 if inner_is_read else 1)


def test_a_bias_is_no_term() -> None:
    first = maps(4)
    biased = OPSET.add(convolved(first, 4), factor(0))
    assert len(sums.terms(biased.output(0))) == 1
    made = OPSET.add(OPSET.sin(first), OPSET.add(biased, first))
    rewritten(made, [first], sums.add_convolutions_last, 1)


def test_an_enlargement_of_other_axes_is_none_of_both_sides() -> None:
    source = maps(4)
    sideways = OPSET.interpolate(source, np.array([2, 2], np.float32), "linear_onnx", "scales", axes=np.array([1, 2]))
    whole = OPSET.interpolate(
        source, np.array([1, 1, 2, 2], np.float32), "linear_onnx", "scales", axes=np.array([0, 1, 2, 3])
    )
    assert (sums.is_doubling(sideways), sums.is_doubling(whole)) == (False, True)

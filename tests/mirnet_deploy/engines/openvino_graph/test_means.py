"""Means in the forms that OpenVINO computes fastest."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from openvino_models import (
    OPSET,
    convolved,
    enlarged,
    inputs,
    kinds,
    maps,
    model_of_tiles,
    plain_model,
    results,
    rewritten,
)

from mirnet_deploy.engines.openvino_graph import means

PIXELS = np.array([2, 3])


def test_means_over_channels_become_convolutions() -> None:
    (before, given), model = results(model_of_tiles(), inputs()), model_of_tiles()
    count = kinds(model)
    assert means.replace_channel_means(openvino, model) == 12, "one for each run of a DAU"
    assert kinds(model)["Convolution"] == count["Convolution"] + 12
    after, still = results(model, inputs())
    np.testing.assert_allclose(after, before, atol=2e-6)
    np.testing.assert_allclose(still, given, atol=2e-6)


@pytest.mark.parametrize(
    ("shape", "kind"), [([1, 16, 8], np.float32), ([1, -1, 8, 8], np.float32), ([1, 16, 8, 8], np.int32)]
)
def test_means_that_no_convolution_can_make_stay(shape: list[int], kind: Any) -> None:
    source = OPSET.parameter(openvino.PartialShape(shape), kind, "input")
    model = openvino.Model([OPSET.reduce_mean(source, np.array([1]), True)], [source])
    assert means.replace_channel_means(openvino, model) == 0


def test_means_over_blocks_become_depthwise_convolutions() -> None:
    """Of the first two of three levels; the third has one pixel in a block."""
    (before, given), model = results(model_of_tiles(), inputs()), model_of_tiles()
    count = kinds(model)
    assert means.replace_block_means(openvino, model) == count["AvgPool"] == 14
    assert (kinds(model)["AvgPool"], kinds(model)["GroupConvolution"]) == (0, count["GroupConvolution"] + 14)
    after, still = results(model, inputs())
    np.testing.assert_allclose(after, before, atol=2e-6)
    np.testing.assert_allclose(still, given, atol=2e-6)


@pytest.mark.parametrize(
    ("pool", "weight"),
    [
        (([3, 3], [2, 2], [1, 1]), "constant"),  # blocks that overlap
        (([4, 4], [4, 4], [0, 0]), "itself"),
        (([4, 4], [4, 4], [0, 0]), "none"),
    ],
)
def test_averages_that_are_no_weighted_means_of_blocks_stay(pool: Any, weight: str) -> None:
    """In a graph that is not ours."""
    source = maps(16, 8, 8)
    sides, strides, pads = pool
    blocks = OPSET.avg_pool(source, strides, pads, pads, sides, False)
    other = {"itself": blocks, "constant": OPSET.constant(np.float32(2)), "none": None}[weight]
    read = OPSET.relu(blocks) if other is None else OPSET.reduce_mean(OPSET.multiply(blocks, other), PIXELS, True)
    model = openvino.Model([read], [source])
    assert means.replace_block_means(openvino, model) == 0
    assert kinds(model)["AvgPool"] == 1


def test_where_all_pixels_weigh_the_same_nothing_is_weighted() -> None:
    model = plain_model()
    assert means.unweigh_means(model) == 20, "12 pools of DAUs and 8 of SKFFs"
    given = {"input": inputs()["input"]}
    np.testing.assert_allclose(results(model, given)[0], results(plain_model(), given)[0], atol=2e-6)


@pytest.mark.parametrize("is_of_blocks", [False, True])
def test_weights_that_are_not_all_one_stay(is_of_blocks: bool) -> None:
    source = maps(4, 16, 48)
    weighed = OPSET.avg_pool(source, [4, 4], [0, 0], [0, 0], [4, 4], False) if is_of_blocks else source
    row = np.ones((1, 1, 1, 12 if is_of_blocks else 48), np.float32)
    row[..., :3] = 0
    made = OPSET.reduce_mean(OPSET.multiply(weighed, row), PIXELS, True)
    rewritten(made, [source], lambda _, model: means.unweigh_means(model), 0)


def test_ones_that_repeat_channels_stay() -> None:
    source = maps(1)
    made = OPSET.reduce_mean(OPSET.multiply(source, np.ones((1, 4, 1, 1), np.float32)), PIXELS, True)
    rewritten(made, [source], lambda _, model: means.unweigh_means(model), 0)


def test_the_mean_of_a_sum_is_the_sum_of_means_of_the_smaller_maps() -> None:
    """As in SKFF: a branch of full size, one that comes from below, and factors that read both too."""
    first, small = maps(4, name="first"), maps(4, 4, 6, "small")
    second = OPSET.add(OPSET.relu(first), enlarged(small))
    mean = OPSET.reduce_mean(OPSET.add(convolved(first, 4), second), PIXELS, True)
    made = OPSET.multiply(second, mean)
    before, after = rewritten(made, [first, small], means.split_means, 1)
    assert (before["ReduceMean"], after["ReduceMean"]) == (1, 3)
    assert before["Add"] - after["Add"] == -1, "of three means, not of maps"


def test_a_sum_that_is_needed_anyway_keeps_its_mean() -> None:
    first = maps(4)
    summed = OPSET.add(OPSET.relu(first), convolved(first, 4))
    made = OPSET.multiply(summed, OPSET.reduce_mean(summed, PIXELS, True))
    rewritten(made, [first], means.split_means, 0)


@pytest.mark.parametrize("sides", [(4, 6), (1, 6), (5, 1)])
def test_a_bilinear_enlargement_keeps_the_mean(sides: tuple[int, int]) -> None:
    """At the border a pixel counts for more where it is, and for less beside."""
    small = maps(4, *sides)
    made = OPSET.reduce_mean(OPSET.add(enlarged(OPSET.sin(small)), enlarged(small)), PIXELS, True)
    _, after = rewritten(made, [small], means.split_means, 1)
    assert (after["Interpolate"], after["ReduceMean"]) == (0, 2)

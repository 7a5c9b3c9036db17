"""Activations behind transposed convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from openvino_models import OPSET, convolved, maps, rewritten, weights

from mirnet_deploy.engines.openvino_graph.activations import replace_prelus


def transposed(source: Any) -> Any:
    return OPSET.convolution_backprop_data(source, weights(4, 4, 3, 3), [2, 2], None, [1, 1], [1, 1], [1, 1])


@pytest.mark.parametrize("slope", [0.25, -0.5, 1.5])
@pytest.mark.parametrize("bias", [False, True])
def test_behind_transposed_convolutions_they_become_sums(slope: float, bias: bool) -> None:
    first = maps(4)
    read = OPSET.add(transposed(first), weights(1, 4, 1, 1)) if bias else transposed(first)
    _, after = rewritten(OPSET.prelu(read, np.array([slope], np.float32)), [first], replace_prelus, 1, atol=1e-5)
    assert after["PRelu"] == 0


def test_other_ones_stay() -> None:
    """Behind convolutions they cost nothing; a slope for each channel is not what the network has."""
    first = maps(4)
    rewritten(OPSET.prelu(convolved(first, 4), np.array([0.25], np.float32)), [first], replace_prelus, 0)
    rewritten(OPSET.prelu(transposed(first), weights(4)), [first], replace_prelus, 0)


def test_maps_of_one_dimension_stay() -> None:
    source = OPSET.parameter([1, 4, 12], np.float32, "input")
    read = OPSET.convolution_backprop_data(source, weights(4, 4, 3), [1], None, [1], [1], [1])
    rewritten(OPSET.prelu(read, np.array([0.25], np.float32)), [source], replace_prelus, 0)

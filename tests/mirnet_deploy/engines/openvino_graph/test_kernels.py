"""Which kernels OpenVINO takes for convolutions, by what its compiled model says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from openvino_models import OPSET, convolved, maps, rewritten, weights

from mirnet_deploy.engines.openvino_graph.kernels import prefer_narrow_vectors
from mirnet_deploy.machine import describe_processor

pytestmark = pytest.mark.skipif(
    "AVX2" not in (describe_processor()["instructions"] or ()), reason="kernels of AVX2 need a processor that has it"
)


def transposed(source: Any, inputs: int, outputs: int) -> Any:
    return OPSET.convolution_backprop_data(source, weights(inputs, outputs, 3, 3), [2, 2], None, [1, 1], [1, 1], [1, 1])


def depthwise(source: Any, channels: int) -> Any:
    return OPSET.group_convolution(source, weights(channels, 1, 1, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1])


def kernels(model: Any) -> dict[str, str]:
    """Layer -> the kernel that computes it, such as "brgconv_avx2_1x1_f32"."""
    ran = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).get_runtime_model()
    said = [node.get_rt_info() for node in ran.get_ops()]
    return {
        each["originalLayersNames"].astype(str): each["primitiveType"].astype(str)
        for each in said
        if each["layerType"].astype(str) in ("Convolution", "Deconvolution")
    }


@pytest.mark.parametrize(
    "made",
    [
        lambda first: convolved(first, 16),
        lambda first: convolved(first, 16, side=1),
        lambda first: transposed(first, 64, 16),
    ],
    ids=["3x3", "1x1", "transposed"],
)
def test_layers_of_few_channels_take_narrow_vectors(made: Any) -> None:
    """Between layers of many channels, which decide on the order in memory."""
    first = maps(64, 16, 24)
    between = made(convolved(first, 64, seed=1))
    between.set_friendly_name("between")
    last = convolved(OPSET.concat([between] * 4, 1), 64, seed=2)
    rewritten(last, [first], prefer_narrow_vectors, 1, atol=0.1)  # of some 10,000
    model = openvino.Model([last], [first])
    prefer_narrow_vectors(openvino, model)
    assert "avx2" in kernels(model)["between"], "where AVX-512 is, too"


@pytest.mark.parametrize(
    ("channels", "made"),
    [
        (64, lambda first: convolved(first, 64)),
        (3, lambda first: convolved(first, 16)),
        (16, lambda first: convolved(first, 3)),
        (16, lambda first: depthwise(first, 16)),
    ],
    ids=["wide", "of a picture", "to a picture", "depthwise"],
)
def test_other_layers_take_what_openvino_takes(channels: int, made: Any) -> None:
    first = maps(channels, 16, 24)
    model = openvino.Model([made(first)], [first])
    before = kernels(model.clone())
    assert prefer_narrow_vectors(openvino, model) == 0
    assert kernels(model) == before


def test_weights_of_unknown_shape_are_left_alone() -> None:
    first = maps(16)
    kernel = OPSET.parameter([-1, 16, 3, 3], np.float32, "kernel")
    made = OPSET.convolution(first, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    assert prefer_narrow_vectors(openvino, openvino.Model([made], [first, kernel])) == 0

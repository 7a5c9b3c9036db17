"""Which kernels OpenVINO takes for convolutions, by what its compiled model says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from openvino_models import OPSET, convolved, maps, rewritten, weights

from mirnet_deploy.engines.openvino import CONVOLUTIONS
from mirnet_deploy.engines.openvino_graph import kernels as module
from mirnet_deploy.engines.openvino_graph.kernels import gains_from_avx2, prefer_avx2
from mirnet_deploy.machine import describe_processor


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
        if each["layerType"].astype(str) in CONVOLUTIONS
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
def test_layers_of_few_channels_take_avx2(made: Any) -> None:
    """Between layers of many channels, which decide on the order in memory."""
    first = maps(64, 16, 24)
    between = made(convolved(first, 64, seed=1))
    between.set_friendly_name("between")
    last = convolved(OPSET.concat([between] * 4, 1), 64, seed=2)
    before = kernels(openvino.Model([last], [first]))["between"]
    rewritten(last, [first], prefer_avx2, 1, atol=0.1)  # of some 10,000
    after = kernels(openvino.Model([last], [first]))["between"]
    if "AVX-512" in (describe_processor()["instructions"] or ()):
        assert ("avx512" in before, "avx2" in after) == (True, True)
    else:
        assert after == before, "asking for what there is changes nothing"


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
    assert prefer_avx2(openvino, openvino.Model([made(first)], [first])) == 0


def test_weights_in_float16_count_and_weights_of_unknown_shape_do_not() -> None:
    first = maps(16)
    half = OPSET.convert(OPSET.constant(weights(16, 16, 3, 3).astype(np.float16)), np.float32)
    for kernel, expected in ((half, 1), (OPSET.parameter([-1, 16, 3, 3], np.float32, "kernel"), 0)):
        made = OPSET.convolution(first, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
        sources = [first] if expected else [first, kernel]
        assert prefer_avx2(openvino, openvino.Model([made], sources)) == expected


def test_where_openvino_does_not_know_the_attribute_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CARRIER", module._CARRIER.replace(b"primitives_priority", b"fused_names"))
    first = maps(16)
    assert prefer_avx2(openvino, openvino.Model([convolved(first, 16)], [first])) == 0


@pytest.mark.parametrize(
    ("family", "instructions", "precision", "expected"),
    [
        ("AuthenticAMD 25", ["AVX2", "AVX-512"], "fp32", True),
        ("AuthenticAMD 25", ["AVX2", "AVX-512", "bf16"], "bf16", False),
        ("AuthenticAMD 25", ["AVX2"], "fp32", False),
        ("AuthenticAMD 26", ["AVX2", "AVX-512"], "fp32", False),
        ("GenuineIntel 6", ["AVX2", "AVX-512"], "fp32", False),
        (None, None, "fp32", False),
    ],
)
def test_it_is_asked_for_where_it_was_measured(
    family: str | None, instructions: list[str] | None, precision: str, expected: bool
) -> None:
    assert gains_from_avx2({"family": family, "instructions": instructions}, precision) == expected

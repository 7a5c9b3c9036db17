"""Rewrites for OpenVINO: each does what it is for, and the results stay the same to rounding."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import openvino
import pytest
from artifacts import make_onnx

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS, MEASURED
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.onnx_graph import without_defaults
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.engines import openvino_graph
from mirnet_deploy.engines.openvino import OpenVinoEngine

SIDES = (1, 3, 64, 96)
CORE = (slice(8, 56), slice(12, 80))


def model_of_tiles() -> Any:
    return openvino.Core().read_model(without_defaults(read_onnx(resolve_model("lite"))[0], CONTEXT_INPUTS))


def plain_model() -> Any:
    return openvino.Core().read_model(read_onnx(resolve_model("lite"))[0])


def kinds(model: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ops())


def compiled(model: Any, precision: str, inputs: dict[str, Any]) -> Any:
    model.reshape({name: list(value.shape) for name, value in inputs.items()})
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})


def inputs() -> dict[str, Any]:
    """Of a tile with a halo that does not count."""
    rows, cols = np.zeros((1, SIDES[2]), np.float32), np.zeros((1, SIDES[3]), np.float32)
    rows[:, CORE[0]], cols[:, CORE[1]] = 1, 1
    picture = np.random.default_rng(0).random(SIDES, np.float32) * np.linspace(0, 0.4, SIDES[3], dtype=np.float32)
    return {"input": picture, "context": np.zeros((1, 704), np.float32), "mode": MEASURED, "rows": rows, "cols": cols}


def results(model: Any, given: dict[str, Any]) -> list[Any]:
    return list(compiled(model, "f32", given)(given).to_tuple())


def test_a_plain_run_makes_the_picture_alone() -> None:
    given = {"input": inputs()["input"]}
    (before, _), model = results(plain_model(), given), plain_model()
    openvino_graph.for_plain_runs(openvino, model, "output")
    assert [output.get_any_name() for output in model.outputs] == ["output"]
    assert kinds(model)["AvgPool"] == 0
    (after,) = results(model, given)
    np.testing.assert_allclose(after, before, atol=2e-6)


def test_means_over_channels_become_convolutions() -> None:
    (before, means), model = results(model_of_tiles(), inputs()), model_of_tiles()
    count = kinds(model)
    assert openvino_graph.replace_channel_means(openvino, model) == 12, "one for each run of a DAU"
    assert kinds(model)["Convolution"] == count["Convolution"] + 12
    after, still = results(model, inputs())
    np.testing.assert_allclose(after, before, atol=2e-6)
    np.testing.assert_allclose(still, means, atol=2e-6)


def test_means_over_blocks_become_depthwise_convolutions() -> None:
    """Of the first two of three levels; the third has one pixel in a block."""
    (before, means), model = results(model_of_tiles(), inputs()), model_of_tiles()
    count = kinds(model)
    assert openvino_graph.replace_block_means(openvino, model) == count["AvgPool"] == 14
    assert (kinds(model)["AvgPool"], kinds(model)["GroupConvolution"]) == (0, count["GroupConvolution"] + 14)
    after, still = results(model, inputs())
    np.testing.assert_allclose(after, before, atol=2e-6)
    np.testing.assert_allclose(still, means, atol=2e-6)


@pytest.mark.parametrize("given_means", [False, True])
def test_in_bfloat16_no_large_map_stays_in_float32(given_means: bool) -> None:
    """OpenVINO would keep all that lies between statistics and convolutions in float32."""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bfloat16")
    model = model_of_tiles() if given_means else plain_model()
    given = inputs() if given_means else {"input": inputs()["input"]}
    if given_means:
        openvino_graph.for_given_means(openvino, model, "bf16")
    else:
        openvino_graph.for_plain_runs(openvino, model, "output")
    assert large_in_float32(compiled(model, "bf16", given)) == []
    untouched = compiled(model_of_tiles(), "bf16", inputs())
    assert large_in_float32(untouched), "or nothing here counts as large, or OpenVINO does better by itself"


def large_in_float32(model: Any) -> list[str]:
    """Layers whose result is a whole feature map of the first two levels, in float32."""
    wide = []
    for node in model.get_runtime_model().get_ops():
        said, shape = node.get_rt_info(), node.get_output_shape(0)
        large = len(shape) == 4 and shape[1] >= 16 and shape[2] * shape[3] >= SIDES[2] * SIDES[3] // 4
        if large and said["runtimePrecision"].astype(str) == "f32":
            wide.append(f"{said['layerType'].astype(str)} {node.get_friendly_name()}")
    return wide


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
    opset = openvino.opset13
    source = opset.parameter([1, 16, 8, 8], np.float32, "input")
    sides, strides, pads = pool
    blocks = opset.avg_pool(source, strides, pads, pads, sides, False)
    other = {"itself": blocks, "constant": opset.constant(np.float32(2)), "none": None}[weight]
    read = opset.relu(blocks) if other is None else opset.reduce_mean(opset.multiply(blocks, other), [2, 3], True)
    model = openvino.Model([read], [source])
    assert openvino_graph.replace_block_means(openvino, model) == 0
    assert kinds(model)["AvgPool"] == 1


@pytest.mark.parametrize(
    ("shape", "kind"), [([1, 16, 8], np.float32), ([1, -1, 8, 8], np.float32), ([1, 16, 8, 8], np.int32)]
)
def test_means_that_no_convolution_can_make_stay(shape: list[int], kind: Any) -> None:
    opset = openvino.opset13
    source = opset.parameter(openvino.PartialShape(shape), kind, "input")
    model = openvino.Model([opset.reduce_mean(source, np.array([1]), True)], [source])
    assert openvino_graph.replace_channel_means(openvino, model) == 0


@pytest.mark.parametrize("batch", [1, 2])
def test_a_file_without_a_context_runs_as_it_is(tmp_path: Any, batch: int) -> None:
    data, metadata = read_onnx(make_onnx(tmp_path / "a.onnx", "blur", context=0))
    given = np.random.default_rng(0).random((batch, 3, 8, 12), np.float32)
    (expected,) = results(openvino.Core().read_model(data), {"input": given})
    np.testing.assert_allclose(OpenVinoEngine(data, metadata).run(given), expected, atol=1e-6)

"""Models of OpenVINO for tests of rewrites: `lite`, and graphs of a few nodes, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS, MEASURED
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.onnx_graph import without_defaults
from mirnet_deploy.artifacts.sidecar import read_onnx

SIDES = (1, 3, 64, 96)
CORE = (slice(8, 56), slice(12, 80))
OPSET = openvino.opset13


def model_of_tiles() -> Any:
    return openvino.Core().read_model(without_defaults(read_onnx(resolve_model("lite"))[0], CONTEXT_INPUTS))


def plain_model() -> Any:
    return openvino.Core().read_model(read_onnx(resolve_model("lite"))[0])


def inputs() -> dict[str, Any]:
    """Of a tile with a halo that does not count."""
    rows, cols = np.zeros((1, SIDES[2]), np.float32), np.zeros((1, SIDES[3]), np.float32)
    rows[:, CORE[0]], cols[:, CORE[1]] = 1, 1
    picture = np.random.default_rng(0).random(SIDES, np.float32) * np.linspace(0, 0.4, SIDES[3], dtype=np.float32)
    return {"input": picture, "context": np.zeros((1, 704), np.float32), "mode": MEASURED, "rows": rows, "cols": cols}


def kinds(model: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ops())


def compiled(model: Any, precision: str, given: dict[str, Any]) -> Any:
    model.reshape({name: list(value.shape) for name, value in given.items()})
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})


def results(model: Any, given: dict[str, Any]) -> list[Any]:
    return list(compiled(model, "f32", given)(given).to_tuple())


def maps(channels: int, height: int = 8, width: int = 12, name: str = "input", dtype: Any = np.float32) -> Any:
    """An input of a small graph."""
    return OPSET.parameter([1, channels, height, width], dtype, name)


def weights(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def convolved(source: Any, outputs: int, side: int = 3, seed: int = 0) -> Any:
    channels = source.output(0).get_partial_shape()[1].get_length()
    pads = [side // 2, side // 2]
    return OPSET.convolution(source, weights(outputs, channels, side, side, seed=seed), [1, 1], pads, pads, [1, 1])


def enlarged(source: Any, times: int = 2, mode: str = "half_pixel") -> Any:
    scales = np.array([1, 1, times, times], np.float32)
    return OPSET.interpolate(source, scales, "linear_onnx", "scales", coordinate_transformation_mode=mode)


def rewritten(
    made: Any, sources: list[Any], rewrite: Callable[[Any, Any], int], expected: int, atol: float = 2e-6
) -> tuple[Counter[str], Counter[str]]:
    """The types of nodes in a graph before and after a rewrite, that makes as many changes as expected and keeps what
    the graph gives for random inputs."""
    model = openvino.Model([made], sources)
    given = {}
    for source in sources:
        values = weights(*source.get_output_shape(0), seed=9)
        given[source.get_friendly_name()] = values.astype(source.get_element_type().to_dtype())
    before, old = results(model.clone(), given), kinds(model)
    assert rewrite(openvino, model) == expected
    for was, now in zip(before, results(model.clone(), given), strict=True):
        np.testing.assert_allclose(now, was, atol=atol)
    return old, kinds(model)

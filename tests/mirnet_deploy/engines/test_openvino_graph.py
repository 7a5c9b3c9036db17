"""The rewrites for OpenVINO together: what is left of `lite`, and that the results stay the same to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from artifacts import make_onnx
from openvino_models import SIDES, compiled, inputs, kinds, model_of_tiles, plain_model, results

from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.engines import openvino_graph
from mirnet_deploy.engines.openvino import OpenVinoEngine


def test_a_plain_run_makes_the_picture_alone() -> None:
    given = {"input": inputs()["input"]}
    (before, _), model = results(plain_model(), given), rewritten_lite(given_means=False)
    assert [output.get_any_name() for output in model.outputs] == ["output"]
    old, new = kinds(plain_model()), kinds(model)
    assert new["AvgPool"] == 0
    assert (old["Interpolate"], new["Interpolate"]) == (14, 10), "one for two, in each SKFF of full resolution"
    assert (new["Concat"], new["DepthToSpace"]) == (8, 12), "none for gates, which are made in blocks"
    (after,) = results(model, given)
    np.testing.assert_allclose(after, before, atol=2e-6)


def test_runs_with_given_means_report_the_same_means() -> None:
    (before, means), model = results(model_of_tiles(), inputs()), rewritten_lite(given_means=True)
    assert (kinds(model)["PRelu"], kinds(model)["DepthToSpace"]) == (kinds(model_of_tiles())["PRelu"] - 14, 12)
    after, still = results(model, inputs())
    np.testing.assert_allclose(after, before, atol=2e-6)
    np.testing.assert_allclose(still, means, atol=2e-6)


@pytest.mark.parametrize("given_means", [False, True])
def test_in_bfloat16_no_large_map_stays_in_float32(given_means: bool) -> None:
    """OpenVINO would keep all that lies between statistics and convolutions in float32."""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bfloat16")
    given = inputs() if given_means else {"input": inputs()["input"]}
    assert large_in_float32(compiled(rewritten_lite(given_means), "bf16", given)) == []
    untouched = compiled(model_of_tiles(), "bf16", inputs())
    assert large_in_float32(untouched), "or nothing here counts as large, or OpenVINO does better by itself"


def test_in_bfloat16_the_rewritten_graph_is_as_near_to_float32() -> None:
    """The last layer adds to the input before anything is rounded: computed in blocks it lost 3 dB. (Plain runs are
    another matter: untouched, whole maps of theirs stay in float32.)"""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bfloat16")
    exact, before, after = (
        compiled(model, precision, inputs())(inputs()).to_tuple()[0]
        for model, precision in ((model_of_tiles(), "f32"), (model_of_tiles(), "bf16"), (rewritten_lite(True), "bf16"))
    )
    assert root_mean_square(after - exact) < 1.12 * root_mean_square(before - exact), "a decibel"


def root_mean_square(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def rewritten_lite(given_means: bool) -> Any:
    model, given = (model_of_tiles(), inputs()) if given_means else (plain_model(), {"input": inputs()["input"]})
    if given_means:
        openvino_graph.for_given_means(openvino, model, "bf16")
    else:
        openvino_graph.for_plain_runs(openvino, model, "output")
    model.reshape({name: list(value.shape) for name, value in given.items()})
    openvino_graph.for_sides(openvino, model)
    return model


def large_in_float32(model: Any) -> list[str]:
    """Layers whose result is a whole feature map of the first two levels, in float32."""
    wide = []
    for node in model.get_runtime_model().get_ops():
        said, shape = node.get_rt_info(), node.get_output_shape(0)
        large = len(shape) == 4 and shape[1] >= 16 and shape[2] * shape[3] >= SIDES[2] * SIDES[3] // 4
        if large and said["runtimePrecision"].astype(str) == "f32":
            wide.append(f"{said['layerType'].astype(str)} {node.get_friendly_name()}")
    return wide


@pytest.mark.parametrize("batch", [1, 2])
def test_a_file_without_a_context_runs_as_it_is(tmp_path: Any, batch: int) -> None:
    data, metadata = read_onnx(make_onnx(tmp_path / "a.onnx", "blur", context=0))
    given = np.random.default_rng(0).random((batch, 3, 8, 12), np.float32)
    (expected,) = results(openvino.Core().read_model(data), {"input": given})
    np.testing.assert_allclose(OpenVinoEngine(data, metadata).run(given), expected, atol=1e-6)

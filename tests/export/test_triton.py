"""Real exports under the configurations that `mirnet-deploy triton` writes for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from export_types import Export
from triton_configs import Tensors, faults, onnx_tensors, parsed

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS
from mirnet_deploy.artifacts.metadata import Interface, Precision
from mirnet_deploy.artifacts.onnx_graph import without_defaults
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.export.builder import find_builder
from mirnet_deploy.export.plan import make_profile, parse
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.triton.config import Serving, tile_config


@pytest.mark.parametrize(("interface", "precision"), [("image", "fp16"), ("float", "fp32")])
def test_an_export_fits_its_configuration(exported: Export, interface: Interface, precision: Precision) -> None:
    data, said = read_onnx(exported(interface, precision).path)
    for means in (False, True):
        config = parsed(tile_config(said, Serving(means=means)).text)
        assert len(config.input) == (5 if means else 1)
        assert faults(config, *onnx_tensors(data)) == []


@pytest.mark.parametrize(("interface", "precision"), [("image", "fp16"), ("float", "fp32")])
def test_a_parsed_network_fits_the_configuration_of_its_plan(
    exported: Export, interface: Interface, precision: Precision
) -> None:
    """TensorRT needs a GPU to build; TensorRT-RTX has the same parser, and a plan has its network's tensors."""
    library = find_builder("tensorrt_rtx", [])
    assert library is not None
    data, said = read_onnx(exported(interface, precision).path)
    network = library.create_network(library.trt.Builder(library.logger))
    parse(without_defaults(data, CONTEXT_INPUTS), network, library)
    kinds = {library.trt.float32: "FP32", library.trt.uint8: "UINT8"}

    def told(get, count: int) -> Tensors:
        tensors = [get(index) for index in range(count)]
        return {each.name: (kinds[each.dtype], list(each.shape)) for each in tensors}

    inputs = told(network.get_input, network.num_inputs)
    outputs = told(network.get_output, network.num_outputs)
    assert len(inputs) == 5
    profile = make_profile(ExportSettings(interface=interface, tile=64, halo=8, batch=2))
    plan = replace(said, kind="plan", builder="tensorrt", batch=2, profile=profile)
    assert faults(parsed(tile_config(plan, Serving()).text), inputs, outputs) == []
    name = "image" if interface == "image" else "input"
    result = {"image": "enhanced", "input": "output"}[name]
    alone = parsed(tile_config(replace(plan, context=0), Serving()).text)
    assert alone.max_batch_size == 2
    assert faults(alone, {name: inputs[name]}, {result: outputs[result]}) == []

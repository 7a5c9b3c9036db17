"""Configurations: parsed by Triton's own schema, and held against the models by the rules of its backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from artifacts import make_onnx, metadata
from google.protobuf import text_format
from triton_configs import faults, onnx_tensors, parsed
from tritonclient.grpc import model_config_pb2 as schema

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.errors import ArtifactError, UsageError
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.triton.config import Serving, text_of, tile_config, whole_config
from mirnet_deploy.triton.whole import settings_from


def plan(interface: str = "image", context: int = 3, batch: int = 2, **values) -> ArtifactMetadata:
    """Metadata of a plan of the vendor's full library, tuned for two tiles of 64 at once."""
    shapes = {
        bound: [number, 3, side, side] if interface == "float" else [number, side, side, 3]
        for bound, number, side in (("min", 1, 16), ("opt", batch, 64), ("max", batch, 64))
    }
    return metadata(
        **{
            "kind": "plan",
            "interface": interface,
            "context": context,
            "batch": batch,
            "builder": "tensorrt",
            "profile": {"input" if interface == "float" else "image": shapes},
            **values,
        }
    )


@pytest.mark.parametrize("interface", ["image", "float"])
@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("means", [False, True])
def test_an_onnx_file_s_tensors_are_those_of_its_configuration(tmp_path: Path, interface, context, means) -> None:
    data, said = read_onnx(make_onnx(tmp_path / "a.onnx", interface=interface, context=context))
    if means and not context:
        with pytest.raises(UsageError, match="was exported with --plain and cannot be given means"):
            tile_config(said, Serving(means=True))
        return
    config = parsed(tile_config(said, Serving(means=means, max_batch=4 if means else 8, queue_delay=300)).text)
    assert faults(config, *onnx_tensors(data)) == []
    assert config.backend == "onnxruntime"
    if context and means:
        assert [each.name for each in config.input if each.optional] == ["context", "mode", "rows", "cols"]
        assert [each.name for each in config.output][1] == "statistics"
        assert config.max_batch_size == 0
        assert not config.HasField("dynamic_batching")
    else:
        assert [each.name for each in config.input] == ["image" if interface == "image" else "input"]
        assert len(config.output) == 1
        assert config.max_batch_size == 8
        assert config.dynamic_batching.max_queue_delay_microseconds == 300
        assert not config.dynamic_batching.preferred_batch_size
    (warmup,) = config.model_warmup
    (sample,) = warmup.inputs.values()
    shape = [64, 64, 3] if interface == "image" else [3, 64, 64]
    assert list(sample.dims) == [1, *shape] if context and means else shape
    assert sample.random_data == (interface == "image")
    assert sample.zero_data == (interface == "float")  # random bytes may be NaN


def test_the_bundled_model_s_tensors_are_those_of_its_configuration() -> None:
    data, said = read_onnx(resolve_model("lite"))
    for means in (False, True):
        assert faults(parsed(tile_config(said, Serving(means=means)).text), *onnx_tensors(data)) == []


def test_the_rules_find_what_does_not_fit(tmp_path: Path) -> None:
    """Or the tests above would say nothing."""
    data, said = read_onnx(make_onnx(tmp_path / "a.onnx", interface="image"))
    tensors = onnx_tensors(data)
    text = tile_config(said, Serving()).text
    for old, new in (
        ("TYPE_UINT8", "TYPE_FP32"),
        ("dims: [-1, -1, 3]", "dims: [-1, -1, 4]"),
        ("dims: [-1, -1, 3]", "dims: [64, 64, 3]"),  # of the output too, which may not be narrower
        ("max_batch_size: 4", "max_batch_size: 0"),
        ('name: "image"', 'name: "picture"'),
        ("batch_size: 1", "batch_size: 5"),
    ):
        assert old in text
        assert faults(parsed(text.replace(old, new)), *tensors), new
    with_means = tile_config(said, Serving(means=True)).text
    assert faults(parsed(with_means.replace("max_batch_size: 0", "max_batch_size: 4")), *tensors)
    with pytest.raises(text_format.ParseError):
        parsed(text.replace("instance_group", "instances"))


@pytest.mark.parametrize("interface", ["image", "float"])
def test_a_plan_of_the_picture_alone_is_batched_as_it_was_built(interface: str) -> None:
    config = parsed(tile_config(plan(interface, context=0, batch=4), Serving(max_batch=9)).text)
    assert (config.backend, config.max_batch_size) == ("tensorrt", 4)
    assert list(config.dynamic_batching.preferred_batch_size) == [4]
    assert len(config.input) == len(config.output) == 1
    assert config.model_warmup[0].batch_size == 4
    assert [schema.ModelInstanceGroup.Kind.Name(each.kind) for each in config.instance_group] == ["KIND_GPU"]
    alone = parsed(tile_config(plan(interface, context=0, batch=1), Serving()).text)
    assert alone.max_batch_size == 1
    assert not alone.HasField("dynamic_batching")


def test_a_plan_that_takes_means_is_warmed_up_as_the_plain_network() -> None:
    made = tile_config(plan(), Serving())
    config = parsed(made.text)
    tensors = {
        "image": ("UINT8", [-1, -1, -1, 3]),
        "context": ("FP32", [1, 3]),
        "mode": ("FP32", [2]),
        "rows": ("FP32", [-1, -1]),
        "cols": ("FP32", [-1, -1]),
    }
    results = {"enhanced": ("UINT8", [-1, -1, -1, 3]), "statistics": ("FP32", [-1, 3])}
    assert faults(config, tensors, results) == []
    assert not any(each.optional for each in config.input)
    inputs = config.model_warmup[0].inputs
    assert list(inputs["image"].dims) == [2, 64, 64, 3]
    assert inputs["context"].zero_data
    for name in ("mode", "rows", "cols"):
        size = 4
        for side in inputs[name].dims:
            size *= side
        assert len(made.warmup[inputs[name].input_data_file]) == size
    assert made.warmup["mode"] == b"\0\0\x80?\0\0\0\0"  # 1, 0
    assert made.warmup["rows"] == b"\0\0\x80?" * 128


def test_what_triton_cannot_run_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"TensorRT-RTX.*--builder tensorrt.*--no-tiles"):
        tile_config(plan(builder="tensorrt_rtx"), Serving())
    with pytest.raises(UsageError, match="a plan needs a GPU"):
        tile_config(plan(), Serving(device="cpu"))
    with pytest.raises(ArtifactError, match="a plan needs min, opt and max"):
        tile_config(plan(profile=None), Serving())


@pytest.mark.parametrize(
    ("device", "kind", "gpus"), [("auto", "AUTO", []), ("cpu", "CPU", []), ("cuda", "GPU", [0]), ("cuda:3", "GPU", [3])]
)
def test_the_device_is_that_of_the_instances(device: str, kind: str, gpus: list[int]) -> None:
    (group,) = parsed(tile_config(metadata(), Serving(device=device, instances=2)).text).instance_group
    assert (group.count, list(group.gpus)) == (2, gpus)
    assert schema.ModelInstanceGroup.Kind.Name(group.kind) == f"KIND_{kind}"


@pytest.mark.parametrize("name", ["instances", "max_batch", "queue_delay", "max_pixels"])
def test_numbers_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} is -1; expected at least \d$"):
        Serving(**{name: -1})


def test_the_largest_numbers_are_those_that_the_schema_holds() -> None:
    most = {"device": f"cuda:{2**31 - 1}", "instances": 2**31 - 1, "max_batch": 2**31 - 1, "queue_delay": 2**64 - 1}
    parsed(tile_config(metadata(), Serving(**most)).text)
    for name in ("instances", "max_batch", "queue_delay"):
        with pytest.raises(UsageError, match=rf"expected at least \d and at most {most[name]}$"):
            Serving(**{name: most[name] + 1})
    with pytest.raises(UsageError, match="device is 'cuda:2147483648'; Triton numbers devices up to 2147483647"):
        Serving(device=f"cuda:{2**31}")


def test_threads_are_those_of_an_onnx_file_by_itself_too() -> None:
    config = parsed(tile_config(metadata(), Serving(threads=3)).text)
    assert config.parameters["intra_op_thread_count"].string_value == "3"
    assert not parsed(tile_config(metadata(), Serving()).text).parameters
    assert not parsed(tile_config(plan(), Serving(threads=3)).text).parameters


def test_the_newest_version_alone_is_served() -> None:
    for made in (tile_config(metadata(), Serving()), whole_config(metadata(), RuntimeSettings(), Serving())):
        assert parsed(made.text).version_policy.latest.num_versions == 1


@pytest.mark.parametrize("settings", [{"backend": "openvino"}, {"precision": "bf16"}])
def test_what_the_cpu_alone_can_do_stays_there(settings: dict[str, Any]) -> None:
    """With the device "auto", as the runtime has it; Triton would take the GPU where there is one."""
    for device, kind in (("auto", "CPU"), ("cpu", "CPU")):
        made = whole_config(metadata(), RuntimeSettings(device=device, **settings), Serving(device=device))
        (group,) = parsed(made.text).instance_group
        assert schema.ModelInstanceGroup.Kind.Name(group.kind) == f"KIND_{kind}"


def test_a_warm_up_is_no_larger_than_what_is_taken() -> None:
    config = parsed(whole_config(metadata(), RuntimeSettings(), Serving(max_pixels=1000)).text)
    assert list(config.model_warmup[0].inputs["image"].dims) == [31, 31, 3]
    assert config.parameters["max_pixels"].string_value == "1000"


@pytest.mark.parametrize("interface", ["image", "float"])
def test_the_model_of_whole_pictures_takes_what_its_artifact_takes(interface: str) -> None:
    config = parsed(whole_config(metadata(interface=interface), RuntimeSettings(), Serving()).text)
    pictures = ["image"] if interface == "image" else ["image", "image_uint16", "image_float32"]
    assert [each.name for each in config.input] == [*pictures, "file", "brightness", "strength"]
    assert all(each.optional for each in config.input)
    assert [each.name for each in config.output] == [
        *(name.replace("image", "enhanced") for name in pictures),
        "enhanced_file",
        "info",
    ]
    assert (config.backend, config.max_batch_size) == ("python", 0)
    assert list(config.model_warmup[0].inputs["image"].dims) == [64, 64, 3]
    smaller = parsed(whole_config(metadata(interface=interface), RuntimeSettings(tile=48), Serving()).text)
    assert list(smaller.model_warmup[0].inputs["image"].dims) == [48, 48, 3]  # more would take passes


@pytest.mark.parametrize(
    "settings",
    [
        RuntimeSettings(device="cpu"),
        RuntimeSettings(
            device="cpu",
            backend="openvino",
            precision="bf16",
            tile=168,
            consistency="fast",
            tolerance=55.5,
            brightness=0.3,
            strength=0.7,
            batch=2,
            threads=3,
            max_memory=1 << 31,
            graphs=False,
        ),
        RuntimeSettings(device="cpu", tile="none"),
    ],
)
def test_settings_come_back_from_the_parameters(settings: RuntimeSettings) -> None:
    config = parsed(whole_config(metadata(), settings, Serving()).text)
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    assert settings_from(parameters, "cpu") == (settings, 250_000_000)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"tiles": "64"}, "no parameter 'tiles'; expected backend"),
        ({"device": "cpu"}, "no parameter 'device'"),
        ({"alone": "true"}, "no parameter 'alone'"),
        ({"tile": "64.5"}, "tile is 64.5"),
        ({"threads": '"2"'}, "threads is '2'"),
        ({"brightness": "NaN"}, "brightness is nan"),
        ({"graphs": "yes"}, "graphs is 'yes'"),
        ({"max_pixels": "0"}, "max_pixels is 0; expected a whole number"),
        ({"max_pixels": "many"}, "max_pixels is 'many'"),
        ({"tile": "[" * 100000}, "tile is"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings_from(parameters, "cpu")


def test_parameters_of_the_backend_are_left_to_it() -> None:
    assert settings_from({"FORCE_CPU_ONLY_INPUT_TENSORS": "no"}, "cuda:1")[0] == RuntimeSettings(device="cuda:1")


def test_text_is_quoted_as_the_format_wants_it() -> None:
    config = parsed(text_of({"name": '"a\\b"\n', "input": [{"name": "a"}, {"name": "b"}]}))
    assert config.name == '"a\\b"\n'
    assert [each.name for each in config.input] == ["a", "b"]

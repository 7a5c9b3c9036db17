"""Plans, built by the real TensorRT-RTX, which needs no GPU; and the errors where no builder is installed."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from export_types import Export
from graph_faults import UNKNOWN_NODE, add_unknown_operator
from numpy.typing import NDArray

from mirnet_deploy import MIRNetRuntime, machine
from mirnet_deploy.artifacts.metadata import ArtifactMetadata, Interface, Parity, Precision
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.engines.base import HostEngine
from mirnet_deploy.engines.tensorrt_library import RTX_TARGETS
from mirnet_deploy.errors import DeviceMemoryError, EngineError, ExportError, MissingDependencyError, UsageError
from mirnet_deploy.export import builder, pipeline
from mirnet_deploy.export.builder import BuilderLibrary, find_builder
from mirnet_deploy.export.pipeline import Exported, export_plan
from mirnet_deploy.export.plan import build_plan
from mirnet_deploy.export.precision import find_islands
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.training.checkpoint import LoadedCheckpoint


@pytest.fixture(scope="module")
def library() -> BuilderLibrary:
    found = find_builder("tensorrt_rtx", [])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("interface", "precision", "proof"),
    [
        (
            "image",
            "fp16",
            "85 of 85 convolutions compute in HALF, 28 in the FP32 islands and 18 spatial means in FLOAT",
        ),
        ("float", "fp32", "113 convolutions and 18 spatial means compute in FLOAT"),
    ],
)
def test_a_plan_says_what_it_is(
    exported: Export,
    checkpoint: LoadedCheckpoint,
    library: BuilderLibrary,
    crops: list[NDArray[np.uint8]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interface: Interface,
    precision: Precision,
    proof: str,
) -> None:
    monkeypatch.setattr(pipeline, "cuda_devices", tuple)
    source, path = exported(interface, precision), tmp_path / "tiny.plan"
    settings = ExportSettings(interface=interface, tile=64, halo=8, batch=2)
    parts: list[float] = []
    export_plan(checkpoint, source, path, settings, library, crops, parts.append)
    said = read_sidecar(path)
    assert said.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert said.onnx_sha256 == hashlib.sha256(source.path.read_bytes()).hexdigest()
    assert said.checkpoint_sha256 == checkpoint.sha256
    assert (said.kind, said.builder, said.builder_version) == ("plan", "tensorrt_rtx", library.version)
    assert said.targets == ["sm80", "sm86", "sm89", "sm120"]
    assert said.precision_proof == f"{proof} (network after parse, tensorrt_rtx {library.version})"
    assert said.parity == Parity("not executed")
    shapes = {side: [side, side, 3] if interface == "image" else [3, side, side] for side in (4, 64)}
    name = "image" if interface == "image" else "input"
    weights = {"min": [1, 4], "opt": [2, 64], "max": [2, 64]}
    picture = {"min": [1, *shapes[4]], "opt": [2, *shapes[64]], "max": [2, *shapes[64]]}
    assert said.profile == {name: picture, "rows": weights, "cols": weights}
    assert (said.context, said.stages) == (176, 6)
    assert sum(parts) == pytest.approx(1)
    assert min(parts) >= 0


def test_an_operator_that_the_builder_does_not_know_is_named(
    exported: Export, checkpoint: LoadedCheckpoint, library: BuilderLibrary
) -> None:
    model = onnx.load(exported("image", "fp16").path)
    add_unknown_operator(model)
    islands = find_islands(model, checkpoint.network)
    with pytest.raises(ExportError, match=rf"does not take node {UNKNOWN_NODE} \(SequenceConstruct\)"):
        build_plan(model.SerializeToString(), islands, ExportSettings(), "fp16", library, print)


def test_a_context_that_the_parser_dropped_is_refused(
    exported: Export, checkpoint: LoadedCheckpoint, library: BuilderLibrary
) -> None:
    """The ONNX file as exported has defaults for the context, so that the parser drops it silently."""
    model = exported("image", "fp16").path.read_bytes()
    islands = find_islands(onnx.load_from_string(model), checkpoint.network)
    with pytest.raises(ExportError, match=r"has tensors \[\[\('image'.*'context'"):
        build_plan(model, islands, ExportSettings(tile=64, halo=8), "fp16", library, print)


def test_a_plan_of_the_other_interface_is_refused(
    exported: Export, checkpoint: LoadedCheckpoint, library: BuilderLibrary
) -> None:
    model = onnx.load(exported("image", "fp16").path)
    islands = find_islands(model, checkpoint.network)
    with pytest.raises(ExportError, match=r"the parsed network has tensors .*'image'"):
        build_plan(model.SerializeToString(), islands, ExportSettings(interface="float"), "fp16", library, print)


def test_bytes_that_are_not_onnx_are_one_line_of_error(
    exported: Export, checkpoint: LoadedCheckpoint, library: BuilderLibrary
) -> None:
    islands = find_islands(onnx.load(exported("image", "fp16").path), checkpoint.network)
    with pytest.raises(ExportError) as caught:
        build_plan(b"no model", islands, ExportSettings(), "fp16", library, print)
    assert "\n" not in str(caught.value)


class TestParityOnADevice:
    """The plan's own figures, with another engine in place of a GPU, which this machine may not have."""

    @pytest.fixture(autouse=True)
    def a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pipeline, "cuda_devices", lambda: ("Test GPU",))

    @pytest.fixture
    def metadata(self, exported: Export) -> ArtifactMetadata:
        return exported("image", "fp16").metadata

    def test_figures_are_the_engines(
        self,
        exported: Export,
        metadata: ArtifactMetadata,
        checkpoint: LoadedCheckpoint,
        crops: list[NDArray[np.uint8]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def open_onnx(path: Path, device: str, consistency: str) -> MIRNetRuntime:
            assert path.read_bytes() == b"plan"
            assert device == "cuda"
            return MIRNetRuntime(exported("image", "fp16").path, device="cpu", consistency=consistency)

        monkeypatch.setattr(pipeline, "MIRNetRuntime", open_onnx)
        measured = pipeline.plan_parity(checkpoint, b"plan", metadata, crops, for_here=False)
        assert measured.executed.startswith("onnxruntime")
        assert measured.psnr is not None
        assert measured.psnr > 45

    def test_a_plan_that_computes_something_else_fails(
        self,
        metadata: ArtifactMetadata,
        checkpoint: LoadedCheckpoint,
        crops: list[NDArray[np.uint8]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        class Idle(HostEngine):
            device = "cpu"
            backend = "a plan that copies its input"

            def __init__(self) -> None:
                self.metadata = metadata

            def run(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
                return batch.copy()

            def run_pooled(self, batch: Any, pools: Any) -> Any:
                pytest.fail("crops run whole")

            def close(self) -> None:
                """Holds nothing."""

        monkeypatch.setattr(pipeline, "MIRNetRuntime", lambda *_, **__: MIRNetRuntime(Idle()))
        with pytest.raises(ExportError, match="the plan does not agree with the PyTorch network"):
            pipeline.plan_parity(checkpoint, b"plan", metadata, crops, for_here=False)

    def test_a_device_that_cannot_run_the_plan_is_recorded_as_not_executed(
        self,
        metadata: ArtifactMetadata,
        checkpoint: LoadedCheckpoint,
        crops: list[NDArray[np.uint8]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(*_: object, **__: object) -> MIRNetRuntime:
            raise EngineError("the plan is for sm89")

        monkeypatch.setattr(pipeline, "MIRNetRuntime", refuse)
        measured = pipeline.plan_parity(checkpoint, b"plan", metadata, crops, for_here=False)
        assert measured == Parity("not executed: the plan is for sm89")
        with pytest.raises(ExportError, match=r"built for this machine's GPU, which refuses it: the plan is for sm89"):
            pipeline.plan_parity(checkpoint, b"plan", metadata, crops, for_here=True)

        def is_full(*_: object, **__: object) -> MIRNetRuntime:
            raise DeviceMemoryError("the GPU is full")

        monkeypatch.setattr(pipeline, "MIRNetRuntime", is_full)
        measured = pipeline.plan_parity(checkpoint, b"plan", metadata, crops, for_here=True)
        assert measured == Parity("not executed: the GPU is full")


class TestFindBuilder:
    def test_none_finds_no_builder(self) -> None:
        assert find_builder("none", []) is None
        with pytest.raises(UsageError, match="no plan"):
            find_builder("none", ["sm89"])

    def test_auto_without_a_gpu_is_rtx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(builder, "cuda_devices", tuple)
        found = find_builder("auto", ["sm89", "sm75", "sm89"])
        assert found is not None
        assert (found.name, found.targets) == ("tensorrt_rtx", ("sm89", "sm75"))

    def test_auto_with_a_gpu_takes_tensorrt_where_it_is_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(builder, "cuda_devices", lambda: ("NVIDIA L4",))
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        without = find_builder("auto", [])
        monkeypatch.setitem(sys.modules, "tensorrt", sys.modules["tensorrt_rtx"])
        found = find_builder("auto", [])
        assert without is not None
        assert without.name == "tensorrt_rtx"
        assert found is not None
        assert (found.name, found.targets) == ("tensorrt", ("NVIDIA L4",))

    def test_tensorrt_without_a_gpu_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(builder, "cuda_devices", tuple)
        monkeypatch.setitem(sys.modules, "tensorrt", sys)
        with pytest.raises(EngineError, match="only where there is a GPU"):
            find_builder("tensorrt", [])

    def test_not_installed_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingDependencyError, match=r'pip install "mirnet-deploy\[rtx\]"'):
            find_builder("tensorrt_rtx", [])

    def test_unknown_targets_are_usage_errors(self) -> None:
        with pytest.raises(UsageError, match=r"target 'sm90' is unknown; expected one of sm75, .*sm121"):
            find_builder("tensorrt_rtx", ["sm90"])

    def test_every_target_is_one_that_the_library_knows(self, library: BuilderLibrary) -> None:
        for target in RTX_TARGETS:
            assert hasattr(library.trt.ComputeCapability, target.upper())

    def test_current_is_the_gpu_of_this_machine_whatever_it_is(
        self, library: BuilderLibrary, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The plan says which one that is, and the library builds for it without knowing its name."""
        monkeypatch.setattr(machine, "_cuda", lambda: (("NVIDIA H100", "sm90"),))
        found = find_builder("tensorrt_rtx", ["current"])
        assert found is not None
        assert (found.targets, found.is_current) == (("sm90",), True)
        chosen: list[Any] = []
        config = SimpleNamespace(
            clear_flag=lambda flag: None, set_compute_capability=lambda value, _: chosen.append(value) or True
        )
        found.configure(config)
        assert chosen == [library.trt.ComputeCapability.CURRENT]
        with pytest.raises(UsageError, match="leave the other targets out"):
            find_builder("tensorrt_rtx", ["current", "sm89"])
        monkeypatch.setattr(machine, "_cuda", tuple)
        with pytest.raises(EngineError, match="--target current builds for the GPU of this machine, and there is none"):
            find_builder("tensorrt_rtx", ["current"])


def test_a_plan_is_built_only_from_the_file_that_was_proven(
    exported: Export, checkpoint: LoadedCheckpoint, library: BuilderLibrary, tmp_path: Path
) -> None:
    artifact = exported("image", "fp16")
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(artifact.path.read_bytes() + b"\0")
    with pytest.raises(ExportError, match="was changed"):
        export_plan(
            checkpoint, Exported(changed, artifact.metadata), tmp_path / "x.plan", ExportSettings(), library, [], print
        )
    assert not (tmp_path / "x.plan").exists()

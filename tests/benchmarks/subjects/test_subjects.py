"""What can be measured: checkpoints, ONNX files, and plans, whose errors say what to do without a GPU."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from artifacts import make_onnx
from click.testing import CliRunner
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.sidecar import write_sidecar
from mirnet_deploy.benchmarks.subjects import opening
from mirnet_deploy.benchmarks.subjects.base import SubjectSpec
from mirnet_deploy.benchmarks.subjects.opening import open_subject
from mirnet_deploy.benchmarks.subjects.rivals import AloneSubject
from mirnet_deploy.benchmarks.subjects.runtime import RuntimeSubject
from mirnet_deploy.cli import main
from mirnet_deploy.errors import ArtifactError, CheckpointError, EngineError, UsageError
from mirnet_deploy.files import file_sha256
from mirnet_deploy.machine import describe_processor
from mirnet_deploy.pixels import padded
from mirnet_deploy.settings import Backend, RuntimeSettings
from mirnet_deploy.training.checkpoint import save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet

CPU = RuntimeSettings(device="cpu")
METADATA = ArtifactMetadata(
    kind="plan",
    name="mirnet",
    interface="image",
    precision="fp16",
    precision_proof="all HALF",
    network={"n_feat": 8, "n_rrg": 1, "n_msrb": 1},
    weights="ema",
    tile=64,
    halo=16,
    profile={"image": {"min": [1, 16, 16, 3], "opt": [1, 64, 64, 3], "max": [1, 64, 64, 3]}},
)


@pytest.fixture(scope="module")
def network() -> MIRNet:
    torch.manual_seed(0)
    return MIRNet(MIRNetConfig(8, 1, 1)).eval()


@pytest.fixture(scope="module")
def checkpoint(network: MIRNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "ckpt.pt"
    save_checkpoint(
        path, {"config": network.config.to_dict(), "network": network.state_dict(), "ema": network.state_dict()}
    )
    return path


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 200, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 30), (1, 5), (2, 2)])
def test_a_checkpoint_gives_the_rounded_output_of_its_network(
    network: MIRNet, checkpoint: Path, height: int, width: int
) -> None:
    image = picture(height, width)
    with open_subject(SubjectSpec(str(checkpoint), CPU)) as subject:
        output = subject.enhance(image)
    filled = torch.from_numpy(padded(image, 4)).permute(2, 0, 1)[None] / 255.0
    with torch.no_grad():
        expected = network(filled)[0, :, :height, :width].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert output.shape == image.shape
    assert output.dtype == np.uint8
    assert np.abs(output - expected).max() <= 0.5 + 1e-3
    assert np.abs(output.astype(int) - image).max() > 3, "the network does something"


def test_a_checkpoint_says_what_it_is(checkpoint: Path) -> None:
    with open_subject(SubjectSpec(str(checkpoint), CPU)) as subject:
        report = subject.report
    assert report.sha256 == file_sha256(checkpoint)
    assert (report.kind, report.precision, report.weights, report.tile) == ("checkpoint", "fp32", "ema", "none")
    assert report.precision_proof == "all parameters float32"
    assert report.backend == f"torch {torch.__version__}"
    assert report.network == {"n_feat": 8, "n_rrg": 1, "n_msrb": 1}


def test_a_file_that_is_not_a_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"bad\.pt"):
        open_subject(SubjectSpec(str(tmp_path / "bad.pt")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is not there")
def test_pytorch_does_not_fall_back_to_the_cpu(checkpoint: Path) -> None:
    with pytest.raises(EngineError, match="device cuda:0 is not there"):
        open_subject(SubjectSpec(str(checkpoint), RuntimeSettings(device="cuda:0")))


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan with its sidecar beside two ONNX files, on a machine without a GPU; it was built from the FP16 one."""
    monkeypatch.setattr(opening, "cuda_devices", tuple)
    for name, content in (("mirnet.onnx", b"fp32"), ("mirnet.fp16.onnx", b"fp16"), ("mirnet.plan", b"plan")):
        path = tmp_path / name
        path.write_bytes(content)
        kind = "plan" if name.endswith("plan") else "onnx"
        source = file_sha256(tmp_path / "mirnet.fp16.onnx") if kind == "plan" else None
        write_sidecar(path, replace(METADATA, kind=kind, sha256=file_sha256(path), onnx_sha256=source))
    return tmp_path / "mirnet.plan"


def test_a_plan_without_a_gpu_is_one_line_with_the_command_for_its_onnx_file(plan: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "--engine", str(plan)])
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "has no CUDA GPU" in line
    assert f"mirnet-deploy bench --engine {plan.with_name('mirnet.onnx')}" in line


def test_the_onnx_file_of_a_plan_is_its_namesake_else_its_source_else_a_guess(plan: Path) -> None:
    for name in ("mirnet.onnx", "mirnet.fp16.onnx", "mirnet.onnx"):
        with pytest.raises(EngineError, match=rf"--engine \S+/{re.escape(name)}$"):
            open_subject(SubjectSpec(str(plan)))
        plan.with_name(name).unlink(missing_ok=True)


def test_damage_to_a_plan_is_reported_before_the_missing_gpu(plan: Path) -> None:
    plan.write_bytes(b"another")
    with pytest.raises(ArtifactError, match="does not match its sidecar"):
        open_subject(SubjectSpec(str(plan)))


def test_an_onnx_file_runs_through_the_runtime_and_says_what_its_sidecar_proved(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "m.onnx", "brighter", precision_proof="3 of 3 convolutions in FLOAT")
    image = picture(21, 34)
    with open_subject(SubjectSpec(str(path), RuntimeSettings(device="cpu", tile=40, threads=1))) as subject:
        output = subject.enhance(image)
        report = subject.report
    assert np.abs(output - np.clip(2.0 * image - 0.3 * 255, 0, 255)).max() <= 0.5 + 1e-3
    assert (report.precision, report.precision_proof) == ("fp32", "3 of 3 convolutions in FLOAT")
    assert report.sha256 == file_sha256(path)
    assert (report.path, report.device) == (str(path), "cpu")
    assert report.backend.startswith("onnxruntime ")
    assert report.tile == "40 (tiles 40x40)"


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        (CPU, ("onnxruntime", "fp32")),
        (replace(CPU, backend="openvino"), ("openvino", "fp32")),
        (replace(CPU, backend="openvino", precision="bf16"), ("openvino", "bf16")),
    ],
)
def test_the_library_that_was_chosen_can_be_asked_for_again(
    tmp_path: Path, settings: RuntimeSettings, chosen: tuple[str, str]
) -> None:
    if settings.precision == "bf16" and "bf16" not in (describe_processor()["instructions"] or ()):
        pytest.skip("this processor has no bfloat16")
    spec = SubjectSpec(str(make_onnx(tmp_path / "a.onnx", "brighter")), replace(settings, batch=3, threads=1))
    with open_subject(spec) as subject:
        assert isinstance(subject, RuntimeSubject)
        found = subject.chosen
        assert (found.backend, found.precision) == chosen
        assert replace(found, backend="auto", precision="auto") == replace(
            spec.settings, backend="auto", precision="auto"
        )
        with open_subject(SubjectSpec(spec.engine, found)) as again:
            assert again.report == subject.report
        assert (subject.batch, subject.concurrent, subject.device_times) == (3, True, None)
        assert (subject.report.transfers, subject.report.waiting) == (None, None)


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ArtifactError, match="no-such-model"):
        open_subject(SubjectSpec("no-such-model"))


# The same files, run in other ways


def test_half_precision_is_near_the_network(network: MIRNet, checkpoint: Path) -> None:
    image = picture(32, 40)
    specs = [SubjectSpec(f"{checkpoint}{how}", CPU) for how in ("", "@fp16")]
    with open_subject(specs[0]) as full, open_subject(specs[1]) as half:
        assert half.report.precision == "fp16"
        assert "float16" in half.report.precision_proof
        assert half.name.endswith("@fp16")
        error = half.enhance(image).astype(int) - full.enhance(image)
    assert 0 < np.abs(error).max() <= 3


def test_local_pools_change_only_pictures_larger_than_their_square(checkpoint: Path) -> None:
    """Those of 128 pixels change next to nothing in a picture of that size and much in a larger one, in float32."""
    with (
        open_subject(SubjectSpec(str(checkpoint))) as whole,
        open_subject(SubjectSpec(f"{checkpoint}@local128")) as near,
    ):
        assert near.report.precision == "fp32"
        assert "TLC" in near.report.backend
        changed = []
        for image in (picture(128, 120), picture(128, 400)):
            image[:, 200:] //= 8  # unlike parts: means of a neighbourhood differ from the whole's
            changed.append(np.mean(near.enhance(image) != whole.enhance(image)))
        assert changed[0] < 0.01
        assert changed[1] > 0.1


@pytest.mark.parametrize("kind", ["blur", "mean"])
def test_a_session_alone_gives_the_runtimes_picture(tmp_path: Path, kind: str) -> None:
    path = make_onnx(tmp_path / "a.onnx", kind)
    with open_subject(SubjectSpec(f"{path}@session", CPU)) as alone, open_subject(SubjectSpec(str(path))) as runtime:
        for size in ((30, 41), (64, 64)):
            np.testing.assert_array_equal(alone.enhance(picture(*size)), runtime.enhance(picture(*size)))
        assert alone.report.backend.startswith("InferenceSession.run, CPU")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_engine_alone_repeats_the_runtimes_runs(tmp_path: Path, backend: Backend) -> None:
    path, settings = make_onnx(tmp_path / "a.onnx", "mean"), replace(CPU, tile=64, backend=backend)
    with open_subject(SubjectSpec(f"{path}@alone", settings)) as alone:
        with open_subject(SubjectSpec(str(path), settings)) as runtime:
            assert runtime.report.backend.startswith(backend)
            expected = runtime.enhance(picture(150, 200))
        for _ in range(2):
            np.testing.assert_array_equal(alone.enhance(picture(150, 200)), expected)
        assert isinstance(alone, AloneSubject)
        runs = alone._notes.runs
        count = len(runs)
        assert count > 12  # a thumbnail or more, and all tiles
        runner, stream, tensors = runs[0]
        runs[0] = runner, stream, {**tensors, "input": replace(tensors["input"], shape=(1, 2, 8, 8))}
        with pytest.raises(EngineError):  # they are really run
            alone.enhance(picture(150, 200))
        alone.enhance(picture(64, 64))
        assert len(runs) == 1 < count


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("a.onnx@fp16", "@fp16 is a checkpoint in PyTorch"),
        ("a.pt@session", "@session is an ONNX file by"),
        ("a.onnx@local256", "@local256 is a checkpoint in PyTorch"),
        ("lite@fast", "behind an @ may stand @fp16"),
    ],
)
def test_ways_that_do_not_fit_the_file_are_refused(engine: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_subject(SubjectSpec(engine))

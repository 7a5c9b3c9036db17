"""`mirnet-deploy export`, as a user runs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from graph_faults import FP32_NODE, UNKNOWN_NODE, add_unknown_operator, leave_one_in_fp32
from PIL import Image

from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.artifacts.version import running_commit
from mirnet_deploy.cli import main
from mirnet_deploy.export import onnx_file
from mirnet_deploy.export.samples import PACKAGED, read_crops
from mirnet_deploy.training.checkpoint import LoadedCheckpoint
from mirnet_deploy.training.reach import derived_halo

Invoke = Callable[..., Result]


@pytest.fixture(scope="session")
def small_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corner of a packaged crop; small, since the command runs many times here."""
    folder = tmp_path_factory.mktemp("samples")
    Image.open(PACKAGED / "crop_a.png").crop((0, 0, 64, 64)).save(folder / "corner.png")
    return folder


@pytest.fixture
def export(checkpoint_path: Path, tmp_path: Path, small_samples: Path) -> Invoke:
    """Runs the command on the tiny checkpoint, into a folder `out` that is not there yet."""

    def invoke(*arguments: str, checkpoint: Path = checkpoint_path) -> Result:
        common = ["export", str(checkpoint), "--output-dir", str(tmp_path / "out"), "--tile", "128"]
        common += ["--samples", str(small_samples)]  # a later --samples wins
        return CliRunner().invoke(main, [*common, *arguments])

    return invoke


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fp16_makes_three_artifacts_with_their_proof(
    export: Invoke, checkpoint: LoadedCheckpoint, tmp_path: Path
) -> None:
    result = export("--fp16", "--samples", str(PACKAGED))
    assert result.exit_code == 0, result.output
    artifacts = ["mirnet.fp16.onnx", "mirnet.onnx", "mirnet.plan"]
    assert names(tmp_path / "out") == sorted(artifacts + [f"{name}.json" for name in artifacts])
    assert "weights: plain (the checkpoint has no EMA weights)" in result.output
    for name in artifacts:
        assert read_sidecar(tmp_path / "out" / name).precision_proof in result.output
    plan = read_sidecar(tmp_path / "out" / "mirnet.plan")
    assert (plan.precision, plan.interface, plan.tile) == ("fp16", "image", 128)
    assert plan.halo == derived_halo(checkpoint.network, read_crops(None))
    assert plan.onnx_sha256 == read_sidecar(tmp_path / "out" / "mirnet.fp16.onnx").sha256


def test_without_fp16_the_plan_is_fp32(export: Invoke, tmp_path: Path) -> None:
    result = export("--name", "night", "--interface", "float", "--target", "sm89", "--json")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == ["night.onnx", "night.onnx.json", "night.plan", "night.plan.json"]
    onnx_row, plan_row = json.loads(result.stdout)
    assert plan_row["path"] == str(tmp_path / "out" / "night.plan")
    assert (plan_row["precision"], plan_row["targets"]) == ("fp32", ["sm89"])
    assert plan_row["bytes"] == (tmp_path / "out" / "night.plan").stat().st_size
    assert (plan_row["format"], plan_row["commit"]) == ("mirnet-deploy export", running_commit())
    assert plan_row["machine"]["cores"] >= 1
    assert "compute in FLOAT (network after parse" in plan_row["precision_proof"]
    assert onnx_row["parity"]["max_abs"] <= 1e-4


def test_averaged_weights_are_exported_and_named_in_the_output(
    export: Invoke, checkpoint: LoadedCheckpoint, tmp_path: Path
) -> None:
    path = tmp_path / "ema.pt"
    state = checkpoint.network.state_dict()
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save({"params": other, "params_ema": state}, path)
    result = export("--builder", "none", checkpoint=path)
    assert result.exit_code == 0, result.output
    assert "weights: EMA (averaged)" in result.output
    metadata = read_sidecar(tmp_path / "out" / "mirnet.onnx")
    assert metadata.weights == "ema"
    assert metadata.parity is not None
    graph = onnx.load(tmp_path / "out" / "mirnet.onnx").graph
    weight = next(tensor for tensor in graph.initializer if tensor.name == "conv_in.weight")
    assert (onnx.numpy_helper.to_array(weight) == state["conv_in.weight"].numpy()).all()


def test_an_existing_file_is_refused_before_any_work(
    export: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "mirnet.plan.json"
    mine.write_text("mine")
    monkeypatch.setattr(onnx_file, "trace", None)  # so that calling it would fail
    result = export("--fp16", checkpoint=tmp_path / "no checkpoint here")
    assert result.exit_code == 1
    assert result.output == f"error: {mine} exists already; choose another --output-dir or --name, or --force\n"
    assert mine.read_text() == "mine"


def test_force_replaces(export: Invoke, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mirnet.onnx").write_text("old")
    assert export("--builder", "none", "--force").exit_code == 0
    assert read_sidecar(tmp_path / "out" / "mirnet.onnx").kind == "onnx"


@pytest.mark.parametrize(("arguments", "code"), [((), 1), (("--builder", "none"), 0)])
def test_without_a_builder_the_onnx_files_are_written(
    export: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int
) -> None:
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    result = export("--fp16", *arguments)
    assert result.exit_code == code
    assert names(tmp_path / "out") == ["mirnet.fp16.onnx", "mirnet.fp16.onnx.json", "mirnet.onnx", "mirnet.onnx.json"]
    assert ('pip install "mirnet-deploy[rtx]"' in result.stderr) == bool(code)
    assert len(result.stderr.splitlines()) == code


def test_the_channel_order_is_the_one_asked_for(export: Invoke, tmp_path: Path) -> None:
    assert export("--channel-order", "bgr", "--interface", "float", "--builder", "none").exit_code == 0
    assert read_sidecar(tmp_path / "out" / "mirnet.onnx").channel_order == "bgr"


def test_one_convolution_left_in_fp32_fails_the_export(
    export: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_in_half(model: onnx.ModelProto) -> int:
        half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
        return leave_one_in_fp32(model) if half else 0

    monkeypatch.setattr(onnx_file, "REWRITES", (only_in_half,))
    result = export("--fp16")
    assert result.exit_code == 1
    assert f"error: node {FP32_NODE} computes in FLOAT; expected FLOAT16" in result.stderr
    assert names(tmp_path / "out") == ["mirnet.onnx", "mirnet.onnx.json"]


def test_an_operator_that_the_builder_does_not_know_fails_the_export(
    export: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "REWRITES", (add_unknown_operator,))
    result = export()
    assert result.exit_code == 1
    assert f"does not take node {UNKNOWN_NODE}" in result.stderr
    assert names(tmp_path / "out") == ["mirnet.onnx", "mirnet.onnx.json"]


def test_parity_can_be_measured_on_the_users_own_pictures(export: Invoke, tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    Image.effect_noise((61, 47), 40).convert("RGB").save(samples / "a.jpg")
    Image.effect_noise((400, 30), 40).save(samples / "grey.png")
    (samples / "notes.txt").write_text("no picture")
    result = export("--builder", "none", "--samples", str(samples), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["parity"]["crops"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--tile", "510"], 2, "tile is 510; expected a multiple of 4"),
        (["--tile", "64", "--halo", "32"], 2, "tile is 64 with halo 32; expected a tile larger than two halos"),
        (["--tile", "8"], 2, "tile is 8 with halo "),
        (["--batch", "0"], 2, "batch is 0; expected at least 1"),
        (["--opset", "9"], 2, "opset is 9; expected 18 to 23"),
        (["--name", "../x"], 2, "name is '../x'"),
        (["--name", "foo.onnx"], 2, "the stem of the files: foo makes foo.onnx and so on"),
        (["--name", "foo.fp16.ONNX"], 2, "the stem of the files: foo makes foo.onnx and so on"),
        (["--name", "foo.plan"], 2, "the stem of the files: foo makes foo.onnx and so on"),
        (["--target", "sm90"], 2, "target 'sm90' is unknown"),
        (["--samples", "no such folder"], 1, "no such folder does not exist"),
    ],
)
def test_wrong_settings_are_one_line_of_error(
    export: Invoke, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    result = export(*arguments)
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert text in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_a_checkpoint_is_one_line_of_error(export: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "holiday.pt"
    path.write_bytes(b"no checkpoint")
    result = export(checkpoint=path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path} ")
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_library_is_named_with_its_extra(export: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = export()
    assert result.exit_code == 1
    assert result.stderr == 'error: export needs onnxruntime: pip install "mirnet-deploy[export,cpu]"\n'


@pytest.mark.parametrize("name", ["mirnet.onnx", "mirnet.plan.json"])
def test_a_link_that_leads_nowhere_is_not_replaced_unasked(export: Invoke, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to("nowhere")
    result = export()
    assert result.exit_code == 1
    assert f"{name} exists already" in result.stderr
    assert names(tmp_path / "out") == [name]

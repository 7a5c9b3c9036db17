"""`mirnet-deploy info`: what a file is, or one line that says why it is not a file of mirnet-deploy."""

from __future__ import annotations

import json

import onnx
import pytest
from artifacts import make_onnx, make_plan, model_of
from click.testing import CliRunner
from fleets import RTX, make_fleet

from mirnet_deploy import machine
from mirnet_deploy.artifacts import models
from mirnet_deploy.artifacts.metadata import Parity
from mirnet_deploy.artifacts.sidecar import sidecar_path
from mirnet_deploy.cli import main


def info(*arguments):
    return CliRunner().invoke(main, ["info", *map(str, arguments)])


def test_an_onnx_file_as_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("MIRNET_DEPLOY_BACKEND", "openvino:bf16")
    parity = Parity("onnxruntime 1.0 CPUExecutionProvider", 2, 1e-6, 118.25)
    result = info(make_onnx(tmp_path / "tiny.onnx", parity=parity))
    assert result.exit_code == 0
    for text in ("tiny.onnx", "float", "fp32", "118.25 dB", "the SHA-256 and the metadata inside are its sidecar's"):
        assert text in result.output
    assert "openvino:bf16, by MIRNET_DEPLOY_BACKEND" in result.output


def test_a_plan_as_json(tmp_path):
    plan = make_plan(tmp_path / "a.plan")
    facts = json.loads(info(plan, "--json").output)
    assert facts["kind"] == "plan"
    assert facts["targets"] == ["sm89"]
    assert facts["bytes"] == plan.stat().st_size
    assert facts["integrity"] == "the SHA-256 is its sidecar's"


def test_an_onnx_file_without_its_sidecar_says_so(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx")
    sidecar_path(path).unlink()
    result = info(path)
    assert result.exit_code == 0
    assert "no sidecar: not checked" in result.output
    assert "on cpu" not in result.output


def test_bundled_models_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "MODELS", tmp_path)
    make_onnx(tmp_path / "small.onnx")
    assert json.loads(info("small", "--json").output)["name"] == "small"
    assert "bundled model: small" in info("tiny").output


def test_a_damaged_file_of_a_fleet_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_cuda", tuple)
    folder = make_fleet(tmp_path / "fleet", ("sm80", *RTX), ("sm89", *RTX))
    whole = json.loads(info(folder, "--json").output)
    assert whole["integrity"] == "the SHA-256 of every file is its sidecar's and the manifest's"
    assert [entry["error"] for entry in (whole["onnx"], whole["onnx_cpu"], *whole["plans"])] == [None] * 4
    (folder / "0.plan").write_bytes(b"damaged")
    (folder / "tiny.onnx").unlink()
    result = info(folder, "--json")
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    first, second = facts["plans"]
    assert "0.plan does not match its sidecar" in first["error"]
    assert "tiny.onnx is not a file" in facts["onnx_cpu"]["error"]
    assert (second["error"], facts["onnx"]["error"], facts["integrity"]) == (None, None, "2 damaged or missing")
    assert facts["runs_here"] == f"none: {facts['onnx_cpu']['error']}"
    assert result.stderr.splitlines() == [f"error: {facts['onnx_cpu']['error']}", f"error: {first['error']}"]
    table = info(folder)
    assert (table.exit_code, "1.plan" in table.stdout, table.stderr) == (1, True, result.stderr)


def test_a_checkpoint_as_json(tmp_path):
    import torch

    from mirnet_deploy.training.config import MIRNetConfig
    from mirnet_deploy.training.network import MIRNet

    network = MIRNet(MIRNetConfig(8, 1, 1))
    path = tmp_path / "net.pt"
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, path)
    result = info(path, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert facts["kind"] == "checkpoint"
    assert facts["network"] == {"n_feat": 8, "n_rrg": 1, "n_msrb": 1}
    assert facts["parameters"] == network.parameter_count()
    assert facts["describe"] == {"epoch": 3}


@pytest.mark.parametrize(
    "name", ["foreign.onnx", "text.onnx", "bare.plan", "photo.jpg", "net.pt", "none.onnx", "damaged.onnx"]
)
def test_foreign_damaged_and_missing_files_are_one_line_and_exit_1(tmp_path, name):
    onnx.save(model_of("identity", "float"), tmp_path / "foreign.onnx")
    damaged = make_onnx(tmp_path / "damaged.onnx")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    for other in ("text.onnx", "bare.plan", "photo.jpg", "net.pt"):
        (tmp_path / other).write_bytes(b"hello, world")
    result = info(tmp_path / name)
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert name in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("path", [".", "/"])
def test_a_folder_without_a_name_is_one_line(path):
    result = info(path)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert result.output.startswith(f"error: {path} is not a file")

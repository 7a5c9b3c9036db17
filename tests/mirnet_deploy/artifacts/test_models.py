"""Models by name and by file: what names stand for, which files are checkpoints, which ONNX file belongs to a plan."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from artifacts import make_onnx

from mirnet_deploy.artifacts import models
from mirnet_deploy.artifacts.models import bundled_models, is_checkpoint, onnx_beside, resolve_model
from mirnet_deploy.engines.opening import open_engine
from mirnet_deploy.errors import ArtifactError


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.ckpt", "a.safetensors", "a.b.PTH"])
def test_suffixes_of_checkpoints(name: str) -> None:
    assert is_checkpoint(Path(name))


@pytest.mark.parametrize("name", ["a.onnx", "a.plan", "a", "pt", "a.pt.json"])
def test_suffixes_of_other_files(name: str) -> None:
    assert not is_checkpoint(Path(name))


def test_the_namesake_of_a_plan_comes_before_its_source(tmp_path: Path) -> None:
    plan, digest = tmp_path / "mirnet.plan", hashlib.sha256(b"fp16").hexdigest()
    assert onnx_beside(plan, digest) is None
    (tmp_path / "other.onnx").write_bytes(b"other")
    assert onnx_beside(plan, digest) is None
    (tmp_path / "mirnet.fp16.onnx").write_bytes(b"fp16")
    assert onnx_beside(plan, digest) == tmp_path / "mirnet.fp16.onnx"
    (tmp_path / "mirnet.onnx").write_bytes(b"fp32")
    assert onnx_beside(plan, digest) == tmp_path / "mirnet.onnx"
    assert onnx_beside(plan, None) == tmp_path / "mirnet.onnx"


def test_bundled_models_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "MODELS", tmp_path)
    for name in ("small", "large"):
        make_onnx(tmp_path / f"{name}.onnx")
    assert bundled_models() == ["large", "small"]
    assert resolve_model("small") == tmp_path / "small.onnx"
    assert open_engine("small").metadata.name == "small"
    with pytest.raises(ArtifactError, match=r"no model 'tiny'; .* bundled model: large, small"):
        open_engine("tiny")


def test_the_error_for_a_large_model_has_the_command_that_exports_it(tmp_path, monkeypatch):
    own, clone = tmp_path / "own", tmp_path / "clone"
    own.mkdir()
    (clone / "weights").mkdir(parents=True)
    monkeypatch.setattr(models, "OWN_MODELS", own)
    monkeypatch.setattr(models, "PACKAGE", tmp_path / "elsewhere" / "package")  # not in this clone, which has weights
    monkeypatch.chdir(clone)
    with pytest.raises(ArtifactError, match=r"no model 'base'; .* weights/base\.safetensors of a clone"):
        resolve_model("base")
    (clone / "weights" / "base.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="too large for the package") as raised:
        resolve_model("base")
    command = str(raised.value).partition("mirnet-deploy export ")[2]
    assert command == f"weights/base.safetensors --name base --interface float --builder none --output-dir {own}"
    make_onnx(own / "base.onnx")
    assert resolve_model("base") == own / "base.onnx"
    assert open_engine("base").metadata.name == "base"

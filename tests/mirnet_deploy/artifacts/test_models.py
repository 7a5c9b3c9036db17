"""Files of models: what is a checkpoint, and which ONNX file lies beside a plan."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mirnet_deploy.artifacts.models import is_checkpoint, onnx_beside


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.ckpt", "a.safetensors", "a.b.PTH"])
def test_checkpoints(name: str) -> None:
    assert is_checkpoint(Path(name))


@pytest.mark.parametrize("name", ["a.onnx", "a.plan", "a", "pt", "a.pt.json"])
def test_other_files(name: str) -> None:
    assert not is_checkpoint(Path(name))


def test_the_namesake_of_a_plan_comes_before_the_file_that_it_was_built_from(tmp_path: Path) -> None:
    plan, digest = tmp_path / "mirnet.plan", hashlib.sha256(b"fp16").hexdigest()
    assert onnx_beside(plan, digest) is None
    (tmp_path / "other.onnx").write_bytes(b"other")
    assert onnx_beside(plan, digest) is None
    (tmp_path / "mirnet.fp16.onnx").write_bytes(b"fp16")
    assert onnx_beside(plan, digest) == tmp_path / "mirnet.fp16.onnx"
    (tmp_path / "mirnet.onnx").write_bytes(b"fp32")
    assert onnx_beside(plan, digest) == tmp_path / "mirnet.onnx"
    assert onnx_beside(plan, None) == tmp_path / "mirnet.onnx"

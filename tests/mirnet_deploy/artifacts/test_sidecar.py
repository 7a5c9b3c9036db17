"""The sidecar of an artifact, and the changes that it reveals."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from artifacts import make_onnx, make_plan, metadata

from mirnet_deploy.artifacts.sidecar import read_artifact, read_onnx, read_sidecar, sidecar_path, write_sidecar
from mirnet_deploy.errors import ArtifactError
from mirnet_deploy.files import file_sha256


def test_sidecar_round_trip(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx", context=0, stages=None)
    described = read_sidecar(path)
    assert described == metadata(name="tiny", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert read_artifact(path) == (path.read_bytes(), described)
    assert file_sha256(path) == described.sha256


def test_a_missing_artifact_and_a_missing_sidecar_are_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.onnx is not a file"):
        read_sidecar(tmp_path / "none.onnx")
    path = make_onnx(tmp_path / "tiny.onnx")
    sidecar_path(path).unlink()
    with pytest.raises(ArtifactError, match=r"has no sidecar tiny\.onnx\.json"):
        read_sidecar(path)


def test_one_flipped_bit_is_detected(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"does not match its sidecar \(SHA-256"):
        read_sidecar(path)


def test_a_sidecar_of_another_kind_is_refused(tmp_path):
    plan = make_plan(tmp_path / "a.plan")
    moved = plan.rename(tmp_path / "a.onnx")
    sidecar_path(plan).rename(sidecar_path(moved))
    with pytest.raises(ArtifactError, match="kind plan"):
        read_sidecar(moved)


def test_an_edited_sidecar_disagrees_with_the_file(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx")
    described = read_sidecar(path)
    write_sidecar(path, replace(described, halo=20, precision="fp16"))
    with pytest.raises(ArtifactError, match="disagree on precision, halo"):
        read_onnx(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_a_sidecar_that_is_nested_without_end_is_refused(tmp_path, text):
    path = make_onnx(tmp_path / "tiny.onnx")
    sidecar_path(path).write_text(text)
    with pytest.raises(ArtifactError, match=r"tiny\.onnx\.json is not metadata"):
        read_sidecar(path)

"""Metadata: what is written is read, and what is foreign, damaged or mixed up is refused with the reason."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import onnx
import pytest
from artifacts import make_onnx, make_plan, metadata, model_of

from mirnet_deploy.artifacts.metadata import METADATA_KEY, ArtifactMetadata, Parity
from mirnet_deploy.artifacts.onnx_metadata import onnx_metadata
from mirnet_deploy.artifacts.sidecar import read_artifact, read_onnx, read_sidecar, sidecar_path, write_sidecar
from mirnet_deploy.errors import ArtifactError
from mirnet_deploy.files import file_sha256


def test_json_round_trip():
    described = metadata(parity=Parity("onnxruntime 1.0 CPUExecutionProvider", 2, 1e-6, 120.0, 90.0))
    assert ArtifactMetadata.from_json(described.to_json(), "test") == described


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "engine"},
        {"interface": "bgr"},
        {"precision": "int8"},
        {"builder": "polygraphy"},
        {"tile": 66},
        {"tile": 0},
        {"tile": "512"},
        {"halo": 3},
        {"halo": -4},
        {"batch": 0},
        {"format_version": 2},
        {"network": {"n_feat": 8, "n_rrg": 1}},
        {"network": {"n_feat": "8", "n_rrg": 1, "n_msrb": 1}},
    ],
)
def test_values_that_cannot_be(values):
    with pytest.raises(ArtifactError, match=next(iter(values)).split("_")[0]):
        metadata(**values)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format_version": 1}', '{"format_version": 9}', b"\xff\xfe"])
def test_text_that_is_no_metadata(text):
    with pytest.raises(ArtifactError, match="sidecar X is not metadata of mirnet-deploy"):
        ArtifactMetadata.from_json(text, "sidecar X")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("surprise", 1, "surprise"), ("parity", {"x": 1}, "x"), ("network", [], "n_feat"), ("format_version", 2, "2")],
)
def test_json_with_wrong_fields(key, value, said):
    values = json.loads(metadata().to_json())
    values[key] = value
    with pytest.raises(ArtifactError, match=said):
        ArtifactMetadata.from_json(json.dumps(values), "test")


def test_profile_shapes(tmp_path):
    plan = make_plan(tmp_path / "a.plan")
    assert read_sidecar(plan).profile_shapes() == ([1, 16, 16, 3], [1, 64, 64, 3], [1, 64, 64, 3])


@pytest.mark.parametrize(
    "profile",
    [
        None,
        {},
        {"input": {}},
        {"image": {"min": [1, 4, 4, 3], "opt": [1, 8, 8, 3]}},
        {"image": {"min": [1, 16, 4, 3], "opt": [1, 8, 8, 3], "max": [1, 8, 8, 3]}},
        {"image": {"min": [1, 4], "opt": [1, 8], "max": [1, 8]}},
    ],
)
def test_a_profile_that_is_none(profile):
    with pytest.raises(ArtifactError, match="profile"):
        metadata(kind="plan", interface="image", profile=profile).profile_shapes()


def test_sidecar_round_trip(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx", context=0, stages=None)
    described = read_sidecar(path)
    assert described == metadata(name="tiny", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert read_artifact(path) == (path.read_bytes(), described)
    assert file_sha256(path) == described.sha256


def test_missing_artifact_and_missing_sidecar(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.onnx is not a file"):
        read_sidecar(tmp_path / "none.onnx")
    path = make_onnx(tmp_path / "tiny.onnx")
    sidecar_path(path).unlink()
    with pytest.raises(ArtifactError, match=r"has no sidecar tiny\.onnx\.json"):
        read_sidecar(path)


def test_one_flipped_bit_is_seen(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"does not match its sidecar \(SHA-256"):
        read_sidecar(path)


def test_the_sidecar_of_another_kind(tmp_path):
    plan = make_plan(tmp_path / "a.plan")
    moved = plan.rename(tmp_path / "a.onnx")
    sidecar_path(plan).rename(sidecar_path(moved))
    with pytest.raises(ArtifactError, match="kind plan"):
        read_sidecar(moved)


def test_metadata_inside_an_onnx_file_is_what_onnx_reads(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx", "blur", interface="image")
    entry = next(e for e in onnx.load(path).metadata_props if e.key == METADATA_KEY)
    assert onnx_metadata(path.read_bytes(), "tiny") == ArtifactMetadata.from_json(entry.value, "onnx")


def test_the_metadata_may_lie_anywhere(tmp_path):
    """Writers order fields as they like: ours is found before the graph, and behind other entries."""
    described = metadata(name="tiny")
    model = model_of("identity", "float")
    head = onnx.ModelProto()
    for key, value in (("author", "someone"), (METADATA_KEY, described.to_json())):
        entry = head.metadata_props.add()
        entry.key, entry.value = key, value
    assert onnx_metadata(head.SerializeToString() + model.SerializeToString(), "tiny") == described


def test_a_foreign_onnx_file():
    with pytest.raises(ArtifactError, match=r"net\.onnx is an ONNX file without metadata"):
        onnx_metadata(model_of("identity", "float").SerializeToString(), "net.onnx")


@pytest.mark.parametrize("data", [b"", b"hello, world", b"\x89PNG\r\n\x1a\n", b"\xff" * 64, b"\x08"])
def test_bytes_that_are_no_onnx_file(data):
    with pytest.raises(ArtifactError, match=r"x\.onnx is not a"):
        onnx_metadata(data, "x.onnx")


def test_every_truncation_is_refused(tmp_path):
    data = make_onnx(tmp_path / "tiny.onnx").read_bytes()
    for size in range(0, len(data), 7):
        with pytest.raises(ArtifactError):
            onnx_metadata(data[:size], "cut.onnx")


def test_an_edited_sidecar_disagrees_with_the_file(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx")
    described = read_sidecar(path)
    write_sidecar(path, replace(described, halo=20, precision="fp16"))
    with pytest.raises(ArtifactError, match="disagree on precision, halo"):
        read_onnx(path)

"""Metadata: what is written can be read, and what is foreign, damaged or mixed up is refused with the reason."""

from __future__ import annotations

import json

import pytest
from artifacts import make_plan, metadata

from mirnet_deploy.artifacts.metadata import ArtifactMetadata, Parity
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.errors import ArtifactError


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
def test_impossible_values_are_refused(values):
    with pytest.raises(ArtifactError, match=next(iter(values)).split("_")[0]):
        metadata(**values)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format_version": 1}', '{"format_version": 9}', b"\xff\xfe"])
def test_text_that_is_not_metadata_is_refused(text):
    with pytest.raises(ArtifactError, match="sidecar X is not metadata of mirnet-deploy"):
        ArtifactMetadata.from_json(text, "sidecar X")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("surprise", 1, "surprise"), ("parity", {"x": 1}, "x"), ("network", [], "n_feat"), ("format_version", 2, "2")],
)
def test_json_with_wrong_fields_is_refused(key, value, said):
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
def test_an_invalid_profile_is_refused(profile):
    with pytest.raises(ArtifactError, match="profile"):
        metadata(kind="plan", interface="image", profile=profile).profile_shapes()

"""Our metadata in an ONNX file, read without a library."""

from __future__ import annotations

import onnx
import pytest
from artifacts import make_onnx, metadata, model_of

from mirnet_deploy.artifacts.metadata import METADATA_KEY, ArtifactMetadata
from mirnet_deploy.artifacts.onnx_metadata import onnx_metadata
from mirnet_deploy.errors import ArtifactError


def test_metadata_in_an_onnx_file_is_what_onnx_reads(tmp_path):
    path = make_onnx(tmp_path / "tiny.onnx", "blur", interface="image")
    entry = next(e for e in onnx.load(path).metadata_props if e.key == METADATA_KEY)
    assert onnx_metadata(path.read_bytes(), "tiny") == ArtifactMetadata.from_json(entry.value, "onnx")


def test_the_metadata_may_lie_anywhere(tmp_path):
    """Writers may order fields as they like: ours is found before the graph and behind other entries."""
    described = metadata(name="tiny")
    model = model_of("identity", "float")
    head = onnx.ModelProto()
    for key, value in (("author", "someone"), (METADATA_KEY, described.to_json())):
        entry = head.metadata_props.add()
        entry.key, entry.value = key, value
    assert onnx_metadata(head.SerializeToString() + model.SerializeToString(), "tiny") == described


def test_a_foreign_onnx_file_is_refused():
    with pytest.raises(ArtifactError, match=r"net\.onnx is an ONNX file without metadata"):
        onnx_metadata(model_of("identity", "float").SerializeToString(), "net.onnx")


@pytest.mark.parametrize("data", [b"", b"hello, world", b"\x89PNG\r\n\x1a\n", b"\xff" * 64, b"\x08"])
def test_bytes_that_are_not_an_onnx_file_are_refused(data):
    with pytest.raises(ArtifactError, match=r"x\.onnx is not a"):
        onnx_metadata(data, "x.onnx")


def test_every_truncation_is_refused(tmp_path):
    data = make_onnx(tmp_path / "tiny.onnx").read_bytes()
    for size in range(0, len(data), 7):
        with pytest.raises(ArtifactError):
            onnx_metadata(data[:size], "cut.onnx")

"""Reads our metadata out of an ONNX file: without onnx, without an engine, and without deserializing the graph.

An ONNX file is a protobuf `ModelProto`; `metadata_props` is its repeated field 14 of `StringStringEntryProto`
(key 1, value 2). Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from mirnet_deploy.artifacts.metadata import METADATA_KEY, ArtifactMetadata
from mirnet_deploy.artifacts.wire import fields_of
from mirnet_deploy.errors import ArtifactError

MODEL_METADATA_PROPS = 14
MODEL_GRAPH = 7
ENTRY_KEY, ENTRY_VALUE = 1, 2


def onnx_metadata(data: bytes, source: str) -> ArtifactMetadata:
    """The metadata that `mirnet-deploy export` wrote into the ONNX file whose bytes are `data`.

    Raises:
        ArtifactError: not an ONNX file, or one that mirnet-deploy did not export; `source` names it.
    """
    found: bytes | None = None
    has_graph = False
    try:
        for number, value in fields_of(memoryview(data)):
            has_graph = has_graph or number == MODEL_GRAPH
            if number == MODEL_METADATA_PROPS:
                entry = dict(fields_of(value))
                if bytes(entry.get(ENTRY_KEY, b"")) == METADATA_KEY.encode():
                    found = bytes(entry.get(ENTRY_VALUE, b""))
    except ValueError as error:
        raise ArtifactError(f"{source} is not a whole ONNX file: {error}") from error
    if not has_graph:
        raise ArtifactError(f"{source} is not an ONNX file: it holds no graph")
    if found is None:
        raise ArtifactError(
            f"{source} is an ONNX file without metadata of mirnet-deploy; only models of `mirnet-deploy export` are "
            "loaded, because names, value ranges and sizes of others are not known"
        )
    return ArtifactMetadata.from_json(found, f"the metadata inside {source}")

"""Reads our metadata out of an ONNX file: without onnx, without an engine, and without deserializing the graph.

An ONNX file is a protobuf `ModelProto`; `metadata_props` is its repeated field 14 of `StringStringEntryProto`
(key 1, value 2). Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, and
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

from mirnet_deploy.artifacts.metadata import METADATA_KEY, ArtifactMetadata
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
        for number, value in _fields(memoryview(data)):
            has_graph = has_graph or number == MODEL_GRAPH
            if number == MODEL_METADATA_PROPS:
                entry = dict(_fields(value))
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


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, bytes) of every field of one message, in order; the bytes of a varint are left out.

    Raises:
        ValueError: the message ends within a field, or has a wire type that is unknown.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size = 0
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case kind:
                raise ValueError(f"unknown wire type {kind} at byte {at}")
        if at + size > len(message):
            raise ValueError(f"it ends at byte {len(message)}, in the middle of a field")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """(value, position after it) of the base-128 varint at byte `at`.

    >>> _varint(memoryview(bytes([0x96, 0x01])), 0)
    (150, 2)
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError(f"it ends at byte {len(message)}, in the middle of a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number at byte {at} has no end")

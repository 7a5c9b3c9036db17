"""What must be known of an ONNX file's graph, or changed in it, before a library gets it.

ONNX Runtime's CUDA kernels of `Split` and `Concat` take their lists of addresses by value only for up to 32 tensors,
for `Split` of one size. Beyond that a run copies the lists from page-locked buffers, and leaves these to its stream,
which frees them in a CUDA host function, where nothing may be freed: closing such a session aborts the process.
Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; benchmarks/GPU.md.
"""

from __future__ import annotations

from collections.abc import Collection

from mirnet_deploy.artifacts.wire import entries_of, fields_of, written

BY_VALUE = 32
"""The most tensors that a kernel takes by value."""
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_TENSOR_NAME = 8
_NODE_INPUT, _NODE_NAME, _NODE_OP = 1, 3, 4


def deferring_nodes(data: bytes) -> list[str]:
    """Names of the nodes that leave buffers to the stream in every run; for the bytes of an ONNX file.

    Raises:
        ValueError: the file ends too early.
    """
    found = []
    for number, graph in fields_of(memoryview(data)):
        if number == _MODEL_GRAPH:
            found += [_name(node) for part, node in fields_of(graph) if part == _GRAPH_NODE and _defers(node)]
    return found


def without_defaults(data: bytes, names: Collection[str]) -> bytes:
    """The ONNX file whose bytes are `data`, without the defaults of the inputs called `names`.

    Libraries other than ONNX Runtime take an input that has a default for a constant, and drop it in silence.

    Raises:
        ValueError: the file ends too early.
    """
    parts = []
    for number, value, whole in entries_of(memoryview(data)):
        if number != _MODEL_GRAPH:
            parts.append(bytes(whole))
            continue
        kept = [bytes(entry) for part, each, entry in entries_of(value) if not _is_default(part, each, names)]
        parts.append(written(_MODEL_GRAPH, b"".join(kept)))
    return b"".join(parts)


def _is_default(number: int, tensor: memoryview, names: Collection[str]) -> bool:
    return number == _GRAPH_INITIALIZER and any(
        part == _TENSOR_NAME and str(bytes(name), "utf-8", "replace") in names for part, name in fields_of(tensor)
    )


def _defers(node: memoryview) -> bool:
    inputs, operator = 0, b""
    for number, value in fields_of(node):
        inputs += number == _NODE_INPUT
        if number == _NODE_OP:
            operator = bytes(value)
    # Whether the sizes of a Split are equal may depend on the picture; our exports have no Split.
    return operator == b"Split" or (operator == b"Concat" and inputs > BY_VALUE)


def _name(node: memoryview) -> str:
    return next(
        (str(bytes(value), "utf-8", "replace") for number, value in fields_of(node) if number == _NODE_NAME), ""
    )

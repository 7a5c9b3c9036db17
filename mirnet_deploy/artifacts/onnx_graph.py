"""What an ONNX file's graph would leave behind on a GPU.

ONNX Runtime's CUDA kernels of `Split` and `Concat` take their lists of addresses by value only for up to 32 tensors,
for `Split` of one size. Beyond that a run copies the lists from page-locked buffers, and leaves these to its stream,
which frees them in a CUDA host function, where nothing may be freed: closing such a session aborts the process.
Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; benchmarks/GPU.md.
"""

from __future__ import annotations

from mirnet_deploy.artifacts.wire import fields_of

BY_VALUE = 32
"""The most tensors that a kernel takes by value."""
_MODEL_GRAPH = 7
_GRAPH_NODE = 1
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

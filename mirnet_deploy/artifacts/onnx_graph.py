"""What must be known of an ONNX file's graph, or changed in it, before a library gets it.

ONNX Runtime's CUDA kernels of `Split` and `Concat` take their lists of addresses by value only for up to 32 tensors,
for `Split` of one size. Beyond that a run copies the lists from page-locked buffers, and leaves these to its stream,
which frees them in a CUDA host function, where nothing may be freed: closing such a session aborts the process.
Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; benchmarks/GPU.md.
"""

from __future__ import annotations

from collections.abc import Collection

from mirnet_deploy.artifacts.wire import entries_of, fields_of, varint_of, written

BY_VALUE = 32
"""The most tensors that a kernel takes by value."""
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_TENSOR_TYPE, _TENSOR_NAME = 2, 8
_NODE_INPUT, _NODE_NAME, _NODE_OP = 1, 3, 4
_CONVOLUTIONS = (b"Conv", b"ConvTranspose")


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


def convolution_types(data: bytes) -> dict[str, int]:
    """Name of every convolution and deconvolution of an ONNX file -> the element type of its weights
    (`TensorProto.DataType`: 1 is FLOAT, 10 FLOAT16), in which ONNX has it compute. One whose weights are computed is
    left out. `data` are the file's bytes.

    Raises:
        ValueError: the file ends too early.
    """
    graphs = [graph for number, graph in fields_of(memoryview(data)) if number == _MODEL_GRAPH]
    types: dict[bytes, int] = {}
    weights: dict[str, bytes] = {}
    for part, value in (field for graph in graphs for field in fields_of(graph)):
        if part == _GRAPH_INITIALIZER:
            tensor = {number: (each, whole) for number, each, whole in entries_of(value)}
            types[bytes(tensor[_TENSOR_NAME][0])] = varint_of(tensor[_TENSOR_TYPE][1])
        elif part == _GRAPH_NODE:
            inputs = [bytes(each) for number, each in fields_of(value) if number == _NODE_INPUT]
            if _operator(value) in _CONVOLUTIONS and len(inputs) > 1:
                weights[_name(value)] = inputs[1]
    return {node: types[weight] for node, weight in weights.items() if weight in types}


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
    inputs, operator = sum(number == _NODE_INPUT for number, _ in fields_of(node)), _operator(node)
    # Whether the sizes of a Split are equal may depend on the picture; our exports have no Split.
    return operator == b"Split" or (operator == b"Concat" and inputs > BY_VALUE)


def _operator(node: memoryview) -> bytes:
    return next((bytes(value) for number, value in fields_of(node) if number == _NODE_OP), b"")


def _name(node: memoryview) -> str:
    return next(
        (str(bytes(value), "utf-8", "replace") for number, value in fields_of(node) if number == _NODE_NAME), ""
    )

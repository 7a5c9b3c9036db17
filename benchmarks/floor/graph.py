"""Counts the work of an ONNX file, node by node, from the shapes that its inputs have in a run.

Operators as in https://onnx.ai/onnx/operators/. onnx infers the shapes between them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from mirnet_deploy.benchmarks.floor.work import Shapes, Work
from mirnet_deploy.errors import extra_module

VIEWS = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze"})
"""They give what they take another shape or name, or look at its shape alone: no data moves."""
PARTS = frozenset({"Gather", "Slice"})
"""They read as much of their first input as they write, and not all of it."""


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    itemsize: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.itemsize


class Graph:
    """An ONNX file, read once.

    Raises:
        MissingDependencyError: onnx is not installed.
        OSError, ValueError: the file cannot be read, or is none.
    """

    def __init__(self, path: Path) -> None:
        onnx = extra_module("onnx", "the work of a graph is counted with onnx", "bench")
        try:
            self._model = onnx.load(path)
        except Exception as error:  # protobuf's own
            raise ValueError(f"{path} is not an ONNX file: {error}") from error

    def work(self, shapes: Shapes, *, half: bool = False) -> Work:
        """The work of a run whose inputs have these shapes. Inputs that are not among them have their defaults.

        Multiplications are those of Conv, ConvTranspose, Gemm and MatMul, as the graph has them, zeros at borders
        included: an engine that fuses or rewrites them may need fewer.

        Args:
            half: whether the engine computes in fp16 or bf16: it need not move more than 2 bytes for a float32.

        Raises:
            ValueError: an input has neither a shape nor a default, the shapes do not fit, inference leaves one open, or
                a node has a graph inside it.
        """
        graph = self._inferred(shapes)
        tensors = _tensors(graph, half)
        given = {value.name for value in graph.input}
        constants = {tensor.name for tensor in graph.initializer} - given
        constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
        used = {name for node in graph.node for name in node.input}
        try:
            return Work(
                macs=sum(_macs(node, tensors) for node in graph.node),
                constant_bytes=sum(tensors[name].nbytes for name in constants & used),
                data_bytes=sum(tensors[value.name].nbytes for value in (*graph.input, *graph.output)),
                unfused_bytes=sum(_traffic(node, tensors) for node in graph.node),
            )
        except KeyError as error:
            raise ValueError(f"the shape of {error} is not known") from error

    def _inferred(self, shapes: Shapes) -> Any:
        """The graph with the shapes of all tensors, as far as they can be inferred."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = model.graph
        defaults = {tensor.name: tensor for tensor in graph.initializer}
        for value in graph.input:
            if value.name not in shapes and value.name not in defaults:
                raise ValueError(f"input {value.name} has no shape")
            _set_shape(value, shapes.get(value.name) or tuple(defaults[value.name].dims))
            if value.name in shapes and value.name in defaults:
                graph.initializer.remove(defaults[value.name])
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")  # its sides have names, which the inputs no longer have
        del graph.value_info[:]
        try:
            return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        except onnx.shape_inference.InferenceError as error:
            raise ValueError(f"shapes cannot be inferred: {error}") from error


def _set_shape(value: Any, shape: tuple[int, ...]) -> None:
    tensor = value.type.tensor_type
    tensor.ClearField("shape")
    for side in shape:
        tensor.shape.dim.add().dim_value = side


def _tensors(graph: Any, half: bool) -> dict[str, _Tensor]:
    """All tensors whose shape is known, by name; see `Graph.work`."""
    import onnx

    def itemsize(kind: int) -> int:
        if half and kind == onnx.TensorProto.FLOAT:
            return 2
        return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)

    found = {tensor.name: _Tensor(tuple(tensor.dims), itemsize(tensor.data_type)) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(side.HasField("dim_value") for side in tensor.shape.dim):
            found[value.name] = _Tensor(tuple(side.dim_value for side in tensor.shape.dim), itemsize(tensor.elem_type))
    return found


def _macs(node: Any, tensors: dict[str, _Tensor]) -> int:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    first, second = (tensors[name].shape for name in node.input[:2])
    result = tensors[node.output[0]].shape
    match node.op_type:
        case "Conv":  # weight [M, C/group, kernel...]: every value of the result takes so many
            return math.prod(result) * math.prod(second[1:])
        case "ConvTranspose":  # weight [C, M/group, kernel...]: every value of the input goes into so many
            return math.prod(first) * math.prod(second[1:])
        case "Gemm":
            transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            return math.prod(result) * first[0 if transposed else 1]
    return math.prod(result) * first[-1]


def _traffic(node: Any, tensors: dict[str, _Tensor]) -> int:
    """Bytes that a node reads and writes: each tensor that it takes and gives, once."""
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise ValueError(f"{node.name} ({node.op_type}) has a graph inside it")
    if node.op_type in VIEWS:
        return 0
    written = sum(tensors[name].nbytes for name in node.output if name)
    read = dict.fromkeys(name for name in node.input if name)
    if node.op_type in PARTS:
        read.pop(node.input[0])
        written *= 2
    return written + sum(tensors[name].nbytes for name in read)

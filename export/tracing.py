"""From a PyTorch module to an ONNX graph that people can read: fixed tensor names, nodes named after their modules."""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnxscript  # noqa: F401 (torch's exporter needs it, and would say so only after the tracing)
import torch
from torch import nn

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS, STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, Interface
from mirnet_deploy.errors import ExportError
from mirnet_deploy.export.interfaces import DYNAMIC_AXES, context_defaults, context_shapes, example_inputs

_SCOPES = "pkg.torch.onnx.name_scopes"
_WRAPPER = "network."
"""The attribute of the interface modules that holds the MIRNet; it is cut off all names in the graph."""
_Tensor = tuple[str, int, list[int | str]]
"""Name, element type and shape."""
SHAPE_OPERATORS = frozenset({"Shape", "Reshape", "Size", "ConstantOfShape", "Loop", "If", "Scan"})
"""Operators that make sizes depend on data; this network needs none of them."""


def trace(module: nn.Module, interface: Interface, opset: int, context: int) -> onnx.ModelProto:
    """The ONNX model of `module` (an interface of `interfaces.py`) with dynamic, named batch, height and width.

    Nodes are named `module.path/Operator` (with `#2` for the second one of that name, as in a module that is used
    twice), weights like the network's parameters; what the exporter adds for debugging (source lines, local paths) is
    dropped. With a `context` of more than 0 values the graph also has the `CONTEXT_INPUTS`, with defaults, and the
    output `statistics`.

    Raises:
        ExportError: PyTorch cannot export the module, or the graph is not of the form promised above.
    """
    name_in, name_out = TENSOR_NAMES[interface]
    axes: dict[str, dict[int, str] | None] = {"x": DYNAMIC_AXES[interface]}
    if context:
        for name, shape in context_shapes(context).items():
            axes[name] = {axis: side for axis, side in enumerate(shape) if isinstance(side, str)} or None
    with _quiet_exporter():
        try:
            program = torch.onnx.export(
                module,
                example_inputs(interface, context),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=axes,
                input_names=[name_in, *(CONTEXT_INPUTS if context else ())],
                output_names=[name_out, *([STATISTICS] if context else [])],
                verbose=False,
            )
        except Exception as error:  # the exporter raises whatever its many stages raise
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ExportError(f"PyTorch cannot export the network to ONNX opset {opset}: {text}") from error
    assert program is not None  # None only when it was told to write a file
    model = program.model_proto
    _rename(model.graph)
    _strip(model)
    check_form(model, interface, context)
    if context:
        for name, value in context_defaults(context).items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(value.numpy(), name))
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions != {"": opset}:
        raise ExportError(f"PyTorch exported to opset {versions}; expected {opset}: choose another --opset")
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keeps the exporter's warnings (about libraries that it does not need) off the user's screen; errors pass."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _rename(graph: onnx.GraphProto) -> None:
    """Names weights like the network's parameters, and nodes as `trace` says."""
    weights = {tensor.name: tensor.name.removeprefix(_WRAPPER) for tensor in graph.initializer}
    for tensor in graph.initializer:
        tensor.name = weights[tensor.name]
    uses: Counter[str] = Counter()
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = weights.get(name, name)
        base = f"{_module_path(node)}/{node.op_type}"
        uses[base] += 1
        node.name = base if uses[base] == 1 else f"{base}#{uses[base]}"


def _module_path(node: onnx.NodeProto) -> str:
    """The module that a node belongs to, such as `groups.0.blocks.0.dau.0.conv1`, as the exporter notes on the node;
    `interface` for nodes outside the network."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    # ['', 'network', 'network.groups.0', …, name of the operation]
    modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope]
    if not modules:
        return "interface"
    path: str = modules[-1]
    return path.removeprefix(_WRAPPER)


def _strip(model: onnx.ModelProto) -> None:
    """Drops what the exporter adds for debugging, and the shapes of tensors inside the graph."""
    graph = model.graph
    for entry in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del entry.metadata_props[:]
        entry.doc_string = ""
    del graph.value_info[:]  # shape inference restores it; the exporter's has expressions as names of sides
    graph.name = "MIRNet"


def check_form(model: onnx.ModelProto, interface: Interface, context: int) -> None:
    """Checks that the graph takes and gives the tensors of its interface, and that no size in it depends on data.

    Raises:
        ExportError: a tensor or a node is not as promised; it is named.
    """
    float32, picture = (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT if interface == "float" else onnx.TensorProto.UINT8,
    )
    axes = DYNAMIC_AXES[interface]
    shape: list[int | str] = [axes.get(axis, 3) for axis in range(4)]
    name_in, name_out = TENSOR_NAMES[interface]
    inputs: list[_Tensor] = [(name_in, picture, shape)]
    outputs: list[_Tensor] = [(name_out, picture, shape)]
    if context:
        inputs += [(name, float32, sides) for name, sides in context_shapes(context).items()]
        outputs += [(STATISTICS, float32, ["batch", context])]
    for kind, values, expected in (("input", model.graph.input, inputs), ("output", model.graph.output, outputs)):
        names, wanted = [value.name for value in values], [name for name, _, _ in expected]
        if names != wanted:
            raise ExportError(f"the exported graph has {kind} {names}; expected {wanted}")
        for value, (name, dtype, sides) in zip(values, expected, strict=True):
            tensor = value.type.tensor_type
            actual = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
            if actual != sides or tensor.elem_type != dtype:
                said = onnx.TensorProto.DataType.Name(tensor.elem_type)
                raise ExportError(f"the exported graph's {kind} {name} is {said} {actual}; expected {sides}")
    for node in model.graph.node:
        if node.op_type in SHAPE_OPERATORS or node.domain not in ("", "ai.onnx"):
            raise ExportError(f"node {node.name} is a {node.domain}{node.op_type}; expected a graph free of those")

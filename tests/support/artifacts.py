"""Tiny artifacts for tests: real ONNX files with real sidecars, and plans with a correct sidecar and meaningless bytes.

The graphs are written with `onnx.helper`, so they do not depend on the exporter.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mirnet_deploy.artifacts.metadata import METADATA_KEY, ArtifactMetadata
from mirnet_deploy.artifacts.sidecar import write_sidecar

FIXTURES = Path(__file__).parents[1] / "fixtures"
"""Files that were made elsewhere."""
Shape: TypeAlias = list[str | int | None]
"""Of a tensor of a graph; a name is a dimension of any size."""
BLUR = np.outer([1, 2, 4, 2, 1], [1, 2, 4, 2, 1]).astype(np.float32) / 100
"""The kernel of the graph "blur", float32 [5,5]."""


def metadata(**values: Any) -> ArtifactMetadata:
    """Metadata of a small float ONNX model, with some values replaced."""
    base = ArtifactMetadata(
        kind="onnx",
        name="tiny",
        interface="float",
        precision="fp32",
        precision_proof="made by hand",
        network={"n_feat": 8, "n_rrg": 1, "n_msrb": 1},
        weights="plain",
        tile=64,
        halo=16,
        opset=17,
        tool_version="test",
    )
    return replace(base, **values)


def make_onnx(path: Path, kind: str = "identity", **values: Any) -> Path:
    """Writes an ONNX artifact and its sidecar. `kind`:

    - "identity": the picture itself;
    - "brighter": twice the picture less 0.301, which leaves [0, 1] at both ends (float interface);
    - "mean": the picture less its mean over height and width, which differs from tile to tile;
    - "blur": a 5x5 convolution, reach 2 pixels, with zeros beyond the border;
    - "nan": 0 / 0 everywhere.

    All take a context of 3 values, the means of the picture's channels, as artifacts of the exporter do; none where
    `context` is 0.
    """
    described = metadata(**{"name": path.stem, "context": 3, "stages": 1, **values})
    model = model_of(kind, described.interface, pool=bool(described.context))
    return save(model, path, described)


def save(model: onnx.ModelProto, path: Path, described: ArtifactMetadata) -> Path:
    """Writes `model` with `described` as its metadata and as its sidecar."""
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, replace(described, sha256=None).to_json()
    data = model.SerializeToString()
    path.write_bytes(data)
    write_sidecar(path, replace(described, sha256=hashlib.sha256(data).hexdigest()))
    return path


def make_plan(path: Path, data: bytes = b"no plan at all", **values: Any) -> Path:
    """Writes bytes with the sidecar of a plan: enough for every check that comes before TensorRT."""
    interface = values.get("interface", "image")
    shapes = {
        bound: [1, 3, side, side] if interface == "float" else [1, side, side, 3]
        for bound, side in (("min", 16), ("opt", 64), ("max", 64))
    }
    defaults: dict[str, Any] = {
        "kind": "plan",
        "name": path.stem,
        "interface": "image",
        "profile": {"input" if interface == "float" else "image": shapes},
        "builder": "tensorrt_rtx",
        "builder_version": "1.7.1.116",
        "targets": ["sm89"],
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path.write_bytes(data)
    write_sidecar(path, metadata(**{**defaults, **values}))
    return path


def model_of(kind: str, interface: str, *, pool: bool = False) -> onnx.ModelProto:
    """The graph, checked by onnx, without our metadata."""
    nodes = []
    constants = [
        numpy_helper.from_array(np.array(v, np.float32), n) for n, v in {"two": 2, "bit": 0.301, "zero": 0}.items()
    ]
    source, result = ("input", "output") if interface == "float" else ("image", "enhanced")
    x, y = (source, result) if interface == "float" else ("x", "y")
    if interface == "image":
        nodes.append(helper.make_node("Cast", [source], ["bytes"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Transpose", ["bytes"], [x], perm=[0, 3, 1, 2]))
    if pool:
        nodes += pool_nodes(x, "pooled")
    match kind:
        case "identity":
            nodes.append(helper.make_node("Identity", [x], [y]))
        case "brighter":
            nodes.append(helper.make_node("Mul", [x, "two"], ["doubled"]))
            nodes.append(helper.make_node("Sub", ["doubled", "bit"], [y]))
        case "mean":
            nodes.append(helper.make_node("Sub", [x, "pooled"], [y]))
        case "blur":
            weight = np.repeat(BLUR[None, None], 3, axis=0)
            constants.append(numpy_helper.from_array(weight, "weight"))
            nodes.append(helper.make_node("Conv", [x, "weight"], [y], pads=[2] * 4, group=3))
        case "nan":
            nodes.append(helper.make_node("Mul", [x, "zero"], ["none"]))
            nodes.append(helper.make_node("Div", ["none", "none"], [y]))
        case _:
            raise ValueError(kind)
    if interface == "image":
        nodes.append(helper.make_node("Round", [y], ["rounded"]))
        nodes.append(helper.make_node("Transpose", ["rounded"], ["back"], perm=[0, 2, 3, 1]))
        nodes.append(helper.make_node("Cast", ["back"], [result], to=TensorProto.UINT8))
    shape: Shape = ["batch", 3, "height", "width"] if interface == "float" else ["batch", "height", "width", 3]
    dtype = TensorProto.FLOAT if interface == "float" else TensorProto.UINT8
    inputs = [helper.make_tensor_value_info(source, dtype, shape)]
    outputs = [helper.make_tensor_value_info(result, dtype, shape)]
    if pool:
        values = {"context": [[0, 0, 0]], "mode": [1, 0], "rows": [[1]], "cols": [[1]]}
        constants += [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()]
        sides: dict[str, Shape] = {
            "context": [1, 3],
            "mode": [2],
            "rows": ["batch", "height"],
            "cols": ["batch", "width"],
        }
        inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, side) for name, side in sides.items()]
        outputs.append(helper.make_tensor_value_info("statistics", TensorProto.FLOAT, ["batch", 3]))
    graph = helper.make_graph(nodes, kind, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def pool_nodes(x: str, pooled: str) -> list[onnx.NodeProto]:
    """A global pool over `x`, float32 [N,3,H,W], that can be given its means and reports those that it measures."""
    node = helper.make_node
    axes = numpy_helper.from_array(np.array([1, 3]), "axes13"), numpy_helper.from_array(np.array([1, 2]), "axes12")
    spatial = numpy_helper.from_array(np.array([2, 3]), "axes23")
    index = [numpy_helper.from_array(np.array(i), f"at{i}") for i in (0, 1)]
    return [
        *(node("Constant", [], [tensor.name], value=tensor) for tensor in (*axes, spatial, *index)),
        node("Unsqueeze", ["rows", "axes13"], ["down"]),
        node("Unsqueeze", ["cols", "axes12"], ["across"]),
        node("Mul", ["down", "across"], ["share"]),
        node("Mul", [x, "share"], ["weighted"]),
        node("ReduceMean", ["weighted"], ["sum"], axes=[2, 3]),
        node("ReduceMean", ["share"], ["total"], axes=[2, 3]),
        node("Div", ["sum", "total"], ["measured"]),
        node("Squeeze", ["measured", "axes23"], ["statistics"]),
        node("Unsqueeze", ["context", "axes23"], ["given"]),
        *(node("Gather", ["mode", f"at{i}"], [f"mode{i}"]) for i in (0, 1)),
        node("Mul", ["measured", "mode0"], ["own"]),
        node("Mul", ["given", "mode1"], ["others"]),
        node("Add", ["own", "others"], [pooled]),
    ]

"""What ONNX Runtime's profile says of every node that it ran, with no optimisation: an independent source of shapes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

SIZES = {"float": 4, "float16": 2, "uint8": 1, "int64": 8, "bool": 1}


def executed_nodes(path: Path, feeds: dict[str, Any], folder: Path) -> list[tuple[str, list[Any], list[Any]]]:
    """Operator, inputs and outputs of every node: pairs of shape and bytes a value. `feeds` are arrays by input."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling, options.profile_file_prefix, options.log_severity_level = True, str(folder / "ort"), 3
    options.add_session_config_entry("session.disable_prepacking", "1")  # weights that are packed are told no more
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(None, feeds)
    events = json.loads(Path(session.end_profiling()).read_text())
    found = []
    for event in events:
        told = event.get("args", {})
        if event["name"].endswith("_kernel_time") and "op_name" in told:
            found.append((told["op_name"], *map(_sides, (told["input_type_shape"], told["output_type_shape"]))))
    return found


def _sides(values: list[dict[str, list[int]]]) -> list[tuple[tuple[int, ...], int]]:
    return [(tuple(shape), SIZES[kind]) for value in values for kind, shape in value.items()]


def macs_of(nodes: list[tuple[str, list[Any], list[Any]]]) -> int:
    """Multiplications of convolutions: every value of a weight, once for each pixel that it meets."""
    count = 0
    for name, inputs, outputs in nodes:
        if name in ("Conv", "ConvTranspose"):
            (weight, _), (met, _) = inputs[1], (outputs if name == "Conv" else inputs)[0]
            count += math.prod(weight) * met[0] * math.prod(met[2:])
        else:
            assert name not in ("MatMul", "Gemm"), "our exports have none"
    return count


def bytes_of(nodes: list[tuple[str, list[Any], list[Any]]]) -> int:
    """Bytes of all inputs and outputs, but for what only changes shapes; parts are read as far as they are taken."""
    count = 0
    for name, inputs, outputs in nodes:
        if name in ("Unsqueeze", "Squeeze", "Reshape", "Identity"):
            continue
        read = [*inputs[1:], *outputs] if name in ("Gather", "Slice") else inputs
        count += sum(math.prod(shape) * size for shape, size in (*read, *outputs))
    return count


def repeated_bytes(path: Path) -> int:
    """What `bytes_of` counts twice, since a profile does not tell that two inputs of a node are one tensor: of our
    exports, places of one int64 that a Slice takes as its start and as its axis."""
    count = 0
    for node in onnx.load(path).graph.node:
        repeats = len(node.input) - len(set(node.input))
        assert not repeats or node.op_type == "Slice"
        count += 8 * repeats
    return count


def picture_feed(interface: str, height: int, width: int) -> dict[str, Any]:
    """A picture of noise for a whole run."""
    pixels = np.random.default_rng(height).integers(0, 255, (1, height, width, 3), dtype=np.uint8)
    if interface == "image":
        return {"image": pixels}
    return {"input": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / 255}

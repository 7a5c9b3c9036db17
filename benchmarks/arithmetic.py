"""The floor below every latency: a network's multiplications, at the rate of a matrix product on the same cores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mirnet_deploy.benchmarks.inputs import Image

SIDE = 2048
"""Side of the matrices: their product no longer gains by being larger, and takes a fraction of a second."""


def multiplications(path: Path, height: int, width: int) -> int:
    """Multiplications of a graph whose input is float32 [N,3,H,W], for one picture of that many pixels.

    Counted are those of Conv, ConvTranspose, Gemm and MatMul, as the graph has them, zeros at borders included: an
    engine that fuses or rewrites them may need fewer.

    Args:
        path: an ONNX file that takes the picture alone.
        height, width: sides that the network takes, in pixels.

    Raises:
        ValueError: shape inference leaves a shape open that the count needs.
    """
    import onnx

    model = onnx.load(path)
    (image,) = model.graph.input
    for side, length in zip(image.type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
        side.dim_value = length
    for result in model.graph.output:
        result.type.tensor_type.ClearField("shape")  # its sides have names, which the input no longer has
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes: dict[str, tuple[int, ...]] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
    return sum(_multiplications_of(node, shapes) for node in graph.node)


def _multiplications_of(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    first, second = (shapes.get(name, ()) for name in node.input[:2])
    result = shapes.get(node.output[0], ())
    if not all(first) or not all(second) or not all(result) or not (first and second and result):
        raise ValueError(f"the shapes of {node.name} ({node.op_type}) are not known")
    match node.op_type:
        case "Conv":  # weight [M, C/group, kernel...]: every value of the result takes so many
            return math.prod(result) * math.prod(second[1:])
        case "ConvTranspose":  # weight [C, M/group, kernel...]: every value of the input goes into so many
            return math.prod(first) * math.prod(second[1:])
        case "Gemm":
            transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            return math.prod(result) * first[0 if transposed else 1]
    return math.prod(result) * first[-1]


class MatrixProduct:
    """A product of two float32 matrices by torch, which is timed in turn with engines: the same cores, threads, clock.

    Args:
        side: rows and columns of both.
    """

    name = "matrix product"

    def __init__(self, side: int = SIDE) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        self._left, self._right = (torch.rand(side, side, generator=generator) for _ in range(2))
        self._result = torch.empty(side, side)
        self.multiplications = side**3

    def enhance(self, image: Image) -> Image:
        """Makes the product, whatever the picture is, and returns the picture."""
        import torch

        torch.mm(self._left, self._right, out=self._result)
        return image

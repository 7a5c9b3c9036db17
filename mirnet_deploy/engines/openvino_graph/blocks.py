"""Convolutions with one output, the gates of spatial attention, computed for blocks of pixels.

The kernels compute 16 channels at once, or 8, whether a convolution has as many or not. A convolution of stride B with
a larger kernel makes all pixels of BxB blocks as channels of one pixel: more products, but in vectors that are full.
(The last layer, with three outputs, gained nothing, and in bfloat16 its result was rounded before the input is added,
which cost 3 dB.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines.openvino_graph.nodes import all_of, channels, constant, dtype, is_map, readers, replace
from mirnet_deploy.engines.openvino_graph.sums import add_up

SIDES = (4, 2)
"""Of blocks, the larger ones first: 4x4 fill a vector of AVX-512 in float32."""


class _Tail(NamedTuple):
    """What stands between a convolution and the next layer, and is computed with it."""

    last: Any
    bias: NDArray[Any] | None
    is_sigmoid: bool


def compute_in_blocks(library: Any, model: Any) -> int:
    """Makes convolutions with one output for blocks of pixels; returns how many.

    Args:
        model: with fixed shapes. Sides that no block divides stay as they are.
    """
    opset, found = library.opset13, 0
    for node in all_of(model, "Convolution"):
        side, attributes = _side(node), node.get_attributes()
        kernel = constant(node.input_value(1)) if side > 1 else None
        if kernel is None:
            continue
        parts, tail = [], _tail(node)
        for value, weights in _inputs(node, _for_blocks(kernel, side)):
            kept = np.ascontiguousarray(weights, dtype(value))
            pads = attributes["pads_begin"], attributes["pads_end"]
            parts.append(opset.convolution(value, kept, [side, side], *pads, [1, 1]).output(0))
        made = add_up(opset, parts)
        if tail.bias is not None:
            made = opset.add(made, np.ascontiguousarray(tail.bias, dtype(node.output(0))))
        if tail.is_sigmoid:
            made = opset.sigmoid(made)
        replace(tail.last, opset.depth_to_space(made, "depth_first", side).output(0))
        found += 1
    return found


def _side(node: Any) -> int:
    """Of the blocks that a convolution is computed for; 1 where that wins nothing or cannot be."""
    attributes, shape = node.get_attributes(), node.get_output_partial_shape(0)
    outputs, _, *sides = node.input_value(1).get_partial_shape()
    is_plain = attributes["strides"] == attributes["dilations"] == [1, 1] and attributes["auto_pad"] == "explicit"
    wins_nothing = outputs != 1 or all(side == 1 for side in sides)
    if not is_plain or wins_nothing or not is_map(node.output(0)) or shape.is_dynamic:
        return 1
    return next((side for side in SIDES if shape[2].get_length() % side == shape[3].get_length() % side == 0), 1)


def _for_blocks(kernel: NDArray[Any], side: int) -> NDArray[Any]:
    """The kernel [1,C,H,W] for all pixels of blocks: [side side,C,H + side - 1,W + side - 1]."""
    _, inputs, height, width = kernel.shape
    large = np.zeros((side, side, inputs, height + side - 1, width + side - 1), kernel.dtype)
    for row, column in np.ndindex(side, side):
        large[row, column, :, row : row + height, column : column + width] = kernel[0]
    return large.reshape(-1, *large.shape[2:])


def _inputs(node: Any, kernel: NDArray[Any]) -> list[tuple[Any, NDArray[Any]]]:
    """What a convolution reads, and the weights for it. Of a concatenation: its parts, which need not be copied."""
    read = node.input_value(0)
    parts = read.get_node().input_values() if read.get_node().get_type_name() == "Concat" else [read]
    if not all(map(is_map, parts)) or sum(map(channels, parts)) != kernel.shape[1]:  # maps one beside the other
        return [(read, kernel)]
    ends = np.cumsum([channels(part) for part in parts])
    return list(zip(parts, np.split(kernel, ends[:-1], axis=1), strict=True))


def _tail(node: Any) -> _Tail:
    """A bias and a sigmoid behind a convolution with one output."""
    bias, last = None, node
    following = readers(node.output(0))
    if len(following) == 1 and following[0].get_type_name() == "Add":
        known = [value for value in map(constant, following[0].input_values()) if value is not None]
        if len(known) == 1 and known[0].shape == (1, 1, 1, 1):
            bias, last = known[0], following[0]
            following = readers(last.output(0))
    is_sigmoid = len(following) == 1 and following[0].get_type_name() == "Sigmoid"
    return _Tail(following[0] if is_sigmoid else last, bias, is_sigmoid)

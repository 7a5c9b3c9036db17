"""Means over channels and over pixels.

In bfloat16 OpenVINO keeps in float32 all that lies between an output of the model and the convolutions before it. That
is meant for the last layers; the output `statistics` is fed by every pool, and with it whole feature maps were turned
into float32 and another order, in each run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines.openvino_graph.nodes import (
    all_of,
    channels,
    constant,
    dtype,
    either_way,
    is_map,
    is_mean,
    readers,
    replace,
)
from mirnet_deploy.engines.openvino_graph.sums import add_up, is_doubling, terms, upsampling

CHANNELS, PIXELS = [1], [2, 3]
"""Axes of [N,C,H,W]."""


def replace_channel_means(library: Any, model: Any) -> int:
    """Makes means over channels by 1x1 convolutions, whose kernels read channels as they lie; returns how many."""
    opset = library.opset13
    found = [node for node in all_of(model, "ReduceMean") if is_mean(node, CHANNELS)]
    for node in found:
        read = node.input_value(0)
        kernel = np.full((1, channels(read), 1, 1), 1 / channels(read), dtype(read))
        replace(node, opset.convolution(read, kernel, [1, 1], [0, 0], [0, 0], [1, 1]).output(0))
    return len(found)


def replace_block_means(library: Any, model: Any) -> int:
    """Makes means over blocks of pixels by depthwise convolutions, at which float32 ends; returns how many."""
    opset = library.opset13
    found = _weighted_block_means(model)
    for node in found:
        read, sides, strides = node.input_value(0), node.get_attributes()["kernel"], node.get_attributes()["strides"]
        kernel = np.full((channels(read), 1, 1, *sides), 1 / np.prod(sides), dtype(read))
        replace(node, opset.group_convolution(read, kernel, strides, [0, 0], [0, 0], [1, 1]).output(0))
    return len(found)


def unweigh_means(model: Any) -> int:
    """Makes means over pixels plain ones where all pixels weigh 1, also where they are means over blocks first; returns
    how many.

    Args:
        model: without the inputs that weigh pixels: they have become constants.
    """
    from openvino.passes import ConstantFolding, Manager  # a module that `import openvino` leaves out

    manager = Manager()
    manager.register_pass(ConstantFolding())  # what the weights of all pixels come to
    manager.run_passes(model)
    found = 0
    for node in all_of(model, "ReduceMean"):
        weighted = node.input_value(0).get_node()
        if not is_mean(node, PIXELS) or weighted.get_type_name() != "Multiply":
            continue
        for value, weights in either_way(weighted):
            if is_map(value) and _are_ones(constant(weights), channels(value)):
                block = value.get_node()
                replace(weighted, block.input_value(0) if _is_of_blocks(block) else value)
                found += 1
                break
    return found


def split_means(library: Any, model: Any) -> int:
    """Makes the mean over the pixels of a sum, of which nothing else is made, as the sum of means, so that the sum need
    not be written; returns how many. A bilinear enlargement keeps the mean, so that of the smaller maps will do."""
    opset, found = library.opset13, 0
    for node in all_of(model, "ReduceMean"):
        summed = node.input_value(0)
        if not is_mean(node, PIXELS) or len(readers(summed)) != 1:
            continue
        parts = terms(summed)
        if len(parts) == 1:
            continue
        read = [value for part in parts for value in _of_equal_mean(part)]
        replace(node, add_up(opset, [opset.reduce_mean(value, np.array(PIXELS), True).output(0) for value in read]))
        found += 1
    return found


def _of_equal_mean(value: Any) -> list[Any]:
    """Feature maps whose means come to that of `value`."""
    if is_doubling(value.get_node()):
        return [value.get_node().input_value(0)]
    found = upsampling(value)
    return [value] if found is None else [found[0], found[1].input_value(0)]


def _are_ones(weights: NDArray[Any] | None, channels: int) -> bool:
    """Whether weights of pixels are all 1, and have no more channels than what they weigh."""
    if weights is None or weights.ndim != 4:
        return False
    return weights.shape[0] == 1 and weights.shape[1] in (1, channels) and bool((weights == 1).all())


def _is_of_blocks(node: Any) -> bool:
    """Whether a node is the mean of each block of pixels."""
    if node.get_type_name() != "AvgPool" or not is_map(node.input_value(0)):
        return False
    attributes = node.get_attributes()
    is_padded = any((*attributes["pads_begin"], *attributes["pads_end"]))
    return attributes["kernel"] == attributes["strides"] and not is_padded


def _weighted_block_means(model: Any) -> list[Any]:
    """The means over blocks of pixels of which nothing but a mean over all blocks is made, with weights."""
    found = []
    for node in all_of(model, "AvgPool"):
        weighted = readers(node.output(0))
        if len(weighted) != 1 or weighted[0].get_type_name() != "Multiply" or not _is_of_blocks(node):
            continue
        means = readers(weighted[0].output(0))
        if len(means) == 1 and is_mean(means[0], PIXELS):
            found.append(node)
    return found

"""Means over channels and over pixels.

In bfloat16 OpenVINO keeps in float32 all that lies between an output of the model and the convolutions before it. That
is meant for the last layers; the output `statistics` is fed by every pool, and with it whole feature maps were turned
into float32 and another order, in each run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mirnet_deploy.engines.openvino_graph.nodes import (
    all_of,
    channels,
    constant,
    dtype,
    is_map,
    is_mean,
    readers,
    replace,
)
from mirnet_deploy.engines.openvino_graph.sums import terms, upsampling

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
        read, attributes = node.input_value(0), node.get_attributes()
        sides, strides = attributes["kernel"], attributes["strides"]
        kernel = np.full((channels(read), 1, 1, *sides), 1 / np.prod(sides), dtype(read))
        replace(node, opset.group_convolution(read, kernel, strides, [0, 0], [0, 0], [1, 1]).output(0))
    return len(found)


def unweigh_means(model: Any) -> int:
    """Takes means over pixels that all weigh 1 as they are, not over blocks, not weighted; returns how many.

    Args:
        model: without the inputs that weigh pixels: they have become constants.
    """
    for node in _weighted_block_means(model):  # the mean of such means is the mean of all pixels
        replace(node, node.input_value(0))
    from openvino.passes import ConstantFolding, Manager  # a module that `import openvino` leaves out

    manager = Manager()
    manager.register_pass(ConstantFolding())  # what the weights of all pixels come to
    manager.run_passes(model)
    found = 0
    for node in all_of(model, "ReduceMean"):
        weighted = node.input_value(0).get_node()
        if not is_mean(node, PIXELS) or weighted.get_type_name() != "Multiply":
            continue
        for value, weights in (weighted.input_values(), weighted.input_values()[::-1]):
            ones = constant(weights)
            if is_map(value) and ones is not None and (ones == 1).all():
                replace(weighted, value)
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
        total, *others = [opset.reduce_mean(value, np.array(PIXELS), True) for value in read]
        for other in others:
            total = opset.add(total, other)
        replace(node, total.output(0))
        found += 1
    return found


def _of_equal_mean(value: Any) -> list[Any]:
    """Feature maps whose means come to that of `value`."""
    found = upsampling(value)
    return [value] if found is None else [found[0], found[1].input_value(0)]


def _weighted_block_means(model: Any) -> list[Any]:
    """The means over blocks of pixels of which nothing but a mean over all blocks is made, with weights."""
    found = []
    for node in all_of(model, "AvgPool"):
        said, weighted = node.get_attributes(), readers(node.output(0))
        if len(weighted) != 1 or weighted[0].get_type_name() != "Multiply" or not is_map(node.input_value(0)):
            continue
        means = readers(weighted[0].output(0))
        is_of_blocks = said["kernel"] == said["strides"] and not any((*said["pads_begin"], *said["pads_end"]))
        if is_of_blocks and len(means) == 1 and is_mean(means[0], PIXELS):
            found.append(node)
    return found

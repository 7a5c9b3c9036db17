"""Rewrites of a model for OpenVINO's kernels on the CPU. What each gives stands in benchmarks/CPU.md. They change no
value beyond rounding; in bfloat16 that is also the rounding of 1/C for C channels, which is none for powers of two.

In bfloat16 OpenVINO keeps in float32 all that lies between an output of the model and the convolutions before it. That
is meant for the last layers; the output `statistics` is fed by every pool, and with it whole feature maps were turned
into float32 and another order, in each run.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def for_plain_runs(library: Any, model: Any, result: str) -> None:
    """Changes a model, in place, for pictures alone: it makes only the output called `result`.

    Args:
        library: the module `openvino`.
        model: an `openvino.Model` with a context, whose inputs have become constants: all pixels have one weight.
    """
    for output in model.outputs:
        if result not in output.get_names():
            model.remove_result(output.get_node())
    for node in _weighted_block_means(model):  # where all weigh the same, their mean is the mean of all pixels
        _replace(node, node.input_value(0))
    replace_channel_means(library, model)


def for_given_means(library: Any, model: Any, precision: str) -> None:
    """Changes a model, in place, that is given means and reports some; `precision` is "fp32" or "bf16"."""
    replace_channel_means(library, model)
    if precision == "bf16":
        replace_block_means(library, model)


def replace_channel_means(library: Any, model: Any) -> int:
    """Makes means over channels by 1x1 convolutions, whose kernels read channels as they lie; returns how many."""
    opset = library.opset13
    found = [node for node in _all(model, "ReduceMean") if _axes(node) == [1] and _is_of_maps(node)]
    for node in found:
        channels, kind = _channels(node)
        kernel = np.full((1, channels, 1, 1), 1 / channels, kind)
        _replace(node, opset.convolution(node.input_value(0), kernel, [1, 1], [0, 0], [0, 0], [1, 1]).output(0))
    return len(found)


def replace_block_means(library: Any, model: Any) -> int:
    """Makes means over blocks of pixels by depthwise convolutions, at which float32 ends; returns how many."""
    opset = library.opset13
    found = _weighted_block_means(model)
    for node in found:
        (channels, kind), attributes = _channels(node), node.get_attributes()
        sides, strides = attributes["kernel"], attributes["strides"]
        kernel = np.full((channels, 1, 1, *sides), 1 / np.prod(sides), kind)
        blocks = opset.group_convolution(node.input_value(0), kernel, strides, [0, 0], [0, 0], [1, 1])
        _replace(node, blocks.output(0))
    return len(found)


def _all(model: Any, kind: str) -> list[Any]:
    return [node for node in model.get_ops() if node.get_type_name() == kind]


def _weighted_block_means(model: Any) -> list[Any]:
    """The means over blocks of pixels of which nothing but a mean over all blocks is made, with weights."""
    found = []
    for node in _all(model, "AvgPool"):
        weighted, attributes = _readers(node), node.get_attributes()
        means = [reader for each in weighted if each.get_type_name() == "Multiply" for reader in _readers(each)]
        is_of_blocks = attributes["kernel"] == attributes["strides"] and not any(
            (*attributes["pads_begin"], *attributes["pads_end"])
        )
        if is_of_blocks and len(means) == len(weighted) == 1 and _axes(means[0]) == [2, 3] and _is_of_maps(node):
            found.append(node)
    return found


def _is_of_maps(node: Any) -> bool:
    """Whether a node takes feature maps of floats, [N,C,H,W] with C known, and gives as many sides."""
    read = node.input_value(0).get_partial_shape()
    is_known = read.rank.is_static and read.rank.get_length() == 4 and read[1].is_static
    kept = node.get_output_partial_shape(0).rank == read.rank
    return bool(is_known and kept and node.get_input_element_type(0).is_real())


def _readers(node: Any) -> list[Any]:
    return [reader.get_node() for reader in node.output(0).get_target_inputs()]


def _channels(node: Any) -> tuple[int, Any]:
    """How many channels a node reads, and their type."""
    read = node.input_value(0)
    return read.get_partial_shape()[1].get_length(), read.get_element_type().to_dtype()


def _axes(node: Any) -> list[int]:
    """The axes of a mean; none where they are not constant, or the node is something else."""
    if node.get_type_name() != "ReduceMean" or node.input_value(1).get_node().get_type_name() != "Constant":
        return []
    return [int(axis) for axis in np.ravel(node.input_value(1).get_node().get_data())]


def _replace(node: Any, value: Any) -> None:
    """Gives the readers of a node's only output another value."""
    for reader in node.output(0).get_target_inputs():
        reader.replace_source_output(value)

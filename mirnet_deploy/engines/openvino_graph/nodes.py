"""What the rewrites ask of nodes, and how they exchange them. A value is an `openvino.Output`.

What nobody reads any more goes when Python's last reference to it does; until then it counts among the readers of what
it reads. A rewrite that asks for readers must therefore come after another one has returned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def all_of(model: Any, *types: str) -> list[Any]:
    """The nodes of these types, in an order in which they can run."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() in types]


def readers(value: Any) -> list[Any]:
    """The nodes that read a value, one for each time."""
    return [reader.get_node() for reader in value.get_target_inputs()]


def either_way(node: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The two values that a sum or a product reads, in both orders."""
    first, second = node.input_values()
    return (first, second), (second, first)


def constant(value: Any) -> NDArray[Any] | None:
    """What a value always is; None where that depends on the input. Through a conversion between floats too: weights
    may be kept in float16."""
    node = value.get_node()
    while node.get_type_name() == "Convert" and _is_float(node.output(0)) and _is_float(node.input_value(0)):
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data()) if node.get_type_name() == "Constant" else None


def is_map(value: Any) -> bool:
    """Whether a value is feature maps of floats, [N,C,H,W] with C known, and not one number a channel."""
    shape = _of_channels(value)
    return shape is not None and not _is_one_pixel(shape)


def is_one_per_channel(value: Any) -> bool:
    """Whether a value is floats [N,C,1,1] with C known."""
    shape = _of_channels(value)
    return shape is not None and _is_one_pixel(shape)


def _of_channels(value: Any) -> Any | None:
    """The shape of floats [N,C,H,W] with C known; None of anything else."""
    shape = value.get_partial_shape()
    is_known = shape.rank.is_static and shape.rank.get_length() == 4 and shape[1].is_static
    return shape if is_known and _is_float(value) else None


def _is_one_pixel(shape: Any) -> bool:
    # Not a loop over the shape: to list its dimensions takes far longer than to ask for two.
    height, width = shape[2], shape[3]
    return bool(height.is_static and width.is_static and height.get_length() == width.get_length() == 1)


def _is_float(value: Any) -> bool:
    """Whether a value is float32 or float16. (Of bfloat16 numpy knows nothing.)"""
    return value.get_element_type().get_type_name() in ("f32", "f16")


def channels(value: Any) -> int:
    """How many channels feature maps have."""
    return int(value.get_partial_shape()[1].get_length())


def dtype(value: Any) -> Any:
    """The numpy dtype of a value: float32 or float16."""
    return value.get_element_type().to_dtype()


def is_mean(node: Any, over: list[int]) -> bool:
    """Whether a node is the mean of feature maps over these axes, and keeps them as axes of length 1."""
    if node.get_type_name() != "ReduceMean" or not is_map(node.input_value(0)):
        return False
    axes = constant(node.input_value(1))
    return axes is not None and np.ravel(axes).tolist() == over and bool(node.get_attributes()["keep_dims"])


def is_made_by(value: Any, *types: str) -> bool:
    """Whether a value is made by a node of one of these types, perhaps with a bias."""
    node = value.get_node()
    if node.get_type_name() == "Add" and constant(node.input_value(1)) is not None:
        node = node.input_value(0).get_node()
    return node.get_type_name() in types


def replace(node: Any, value: Any) -> None:
    """Gives the readers of a node's only output another value."""
    for reader in node.output(0).get_target_inputs():
        reader.replace_source_output(value)

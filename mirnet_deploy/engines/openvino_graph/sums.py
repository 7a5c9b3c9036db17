"""Sums of feature maps, in the order in which OpenVINO writes the fewest of them."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from mirnet_deploy.engines.openvino_graph.nodes import (
    all_of,
    constant,
    either_way,
    is_made_by,
    is_map,
    is_one_per_channel,
    readers,
    replace,
)


def terms(value: Any) -> list[Any]:
    """What a value is the sum of: feature maps. A sum that something else reads too is one term, as `value` is where it
    is no sum at all."""
    found, left = [], [value]
    while left:
        part = left.pop(0)
        is_inner = part is value or len(readers(part)) == 1
        if is_inner and _is_sum(part.get_node()):
            left = part.get_node().input_values() + left
        else:
            found.append(part)
    return found


def is_doubling(node: Any) -> bool:
    """Whether a node doubles both sides of feature maps, bilinearly and so that every pixel has the same share in the
    result."""
    if node.get_type_name() != "Interpolate" or not is_map(node.input_value(0)):
        return False
    attributes, given = node.get_attributes(), [constant(value) for value in node.input_values()[1:]]
    factors_and_axes = [None if value is None else np.ravel(value).tolist() for value in given]
    return bool(
        node.get_type_info().version_id == "opset11"
        and attributes["mode"] in ("linear", "linear_onnx")
        and attributes["coordinate_transformation_mode"] == "half_pixel"
        and attributes["shape_calculation_mode"] == "scales"
        and not attributes["antialias"]
        and not any((*attributes["pads_begin"], *attributes["pads_end"]))
        and factors_and_axes in ([[1, 1, 2, 2]], [[1, 1, 2, 2], [0, 1, 2, 3]])
    )


def upsampling(value: Any) -> tuple[Any, Any] | None:
    """Of a + up(b), where up is a bilinear enlargement that nothing else reads: a, and the node up. Else None."""
    node = value.get_node()
    if not _is_sum(node):
        return None
    for enlarged, other in either_way(node):
        if is_doubling(enlarged.get_node()) and len(readers(enlarged)) == 1:
            return other, enlarged.get_node()
    return None


def share_upsampling(library: Any, model: Any) -> int:
    """Makes s1 (a1 + up(b1)) + s2 (a2 + up(b2)), where s is a factor for each channel, as s1 a1 + s2 a2 + up(s1 b1 +
    s2 b2); returns how many. That is how SKFF weighs the branches that come from below."""
    opset, found = library.opset13, 0
    for root in _roots(model):
        parts = [(term, _weighed_upsampling(term)) for term in terms(root.output(0))]
        weighed = [part for _, part in parts if part is not None]
        if len(weighed) < 2:
            continue
        large = [term for term, part in parts if part is None]
        large += [opset.multiply(other, factor).output(0) for factor, other, _ in weighed]
        small = [opset.multiply(enlarge.input_value(0), factor).output(0) for factor, _, enlarge in weighed]
        enlarge = weighed[0][2]
        enlarge.input(0).replace_source_output(add_up(opset, small))
        replace(root, add_up(opset, [*large, enlarge.output(0)]))
        found += 1
    return found


def add_convolutions_last(library: Any, model: Any) -> int:
    """Makes x + (a + convolution) as (x + a) + convolution: a convolution adds to what it is given as it writes, and
    what is added after that takes a pass of its own; returns how many sums have more than one other term."""
    found = 0
    for root in _roots(model):
        made: list[Any] = []
        others: list[Any] = []
        for part in terms(root.output(0)):
            (made if is_made_by(part, "Convolution", "GroupConvolution") else others).append(part)
        if made and len(others) > 1:
            replace(root, add_up(library.opset13, others + made))
            found += 1
    return found


def _roots(model: Any) -> list[Any]:
    """The sums of feature maps that are not themselves a term of a larger one."""
    found = []
    for node in all_of(model, "Add"):
        above = readers(node.output(0))
        if _is_sum(node) and not (len(above) == 1 and _is_sum(above[0])):
            found.append(node)
    return found


def _is_sum(node: Any) -> bool:
    """Of feature maps, of one shape: not a bias, nor anything else that is repeated."""
    if node.get_type_name() != "Add":
        return False
    first, second = node.input_values()
    return is_map(first) and is_map(second) and bool(first.get_partial_shape()[1] == second.get_partial_shape()[1])


def add_up(opset: Any, values: list[Any]) -> Any:
    """The sum of values, from the first to the last."""
    return reduce(lambda total, value: opset.add(total, value).output(0), values)


def _weighed_upsampling(term: Any) -> tuple[Any, Any, Any] | None:
    """Of s (a + up(b)), of which nothing else is made, with one factor s for each channel: s, a and the node up."""
    node = term.get_node()
    if node.get_type_name() != "Multiply" or len(readers(term)) != 1:
        return None
    for factor, value in either_way(node):
        found = upsampling(value) if is_one_per_channel(factor) and len(readers(value)) == 1 else None
        if found is not None:
            return factor, *found
    return None

"""Activations that OpenVINO does not compute within the layer before them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mirnet_deploy.engines.openvino_graph.nodes import all_of, constant, dtype, is_made_by, is_map, replace


def replace_prelus(library: Any, model: Any) -> int:
    """Makes PReLUs behind transposed convolutions, s x for x < 0, as x + (s - 1) min(x, 0); returns how many.

    Behind other convolutions a PReLU costs nothing. There it is a pass of its own, for which OpenVINO has a slower
    kernel than for sums and products, and it takes max(x, s x) for a PReLU again.
    """
    opset, found = library.opset13, 0
    for node in all_of(model, "PRelu"):
        slope, read = constant(node.input_value(1)), node.input_value(0)
        if slope is None or slope.size != 1 or not is_map(read) or not is_made_by(read, "ConvolutionBackpropData"):
            continue
        negative = opset.minimum(read, np.zeros((), dtype(read)))
        replace(node, opset.add(read, opset.multiply(negative, np.array(slope.item() - 1, dtype(read)))).output(0))
        found += 1
    return found

"""Which of OpenVINO's kernels compute a convolution, where those that it would take are not the fastest.

It takes those with the widest vectors that a processor has. AMD's Zen 4 computes vectors of 512 bits in two halves
(AMD, "Software Optimization Guide for the AMD Zen4 Microarchitecture"), so that AVX-512 multiplies no faster there than
AVX2, and in 1x1 and transposed convolutions of few channels its kernels come out slower (benchmarks/CPU.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mirnet_deploy.engines.openvino_graph.nodes import all_of

ZEN_4 = "AuthenticAMD 25"
"""Maker and family, as `machine.describe_processor` gives them on Linux. Zen 3 is of it too, without AVX-512."""
MIN_CHANNELS, MAX_CHANNELS = 4, 64
"""Layers are asked for if the smaller of their inputs and outputs is at least the first and below the second. AVX2's
kernels do not take the three channels of a picture, and what OpenVINO takes in their place has another order in memory,
which the layers behind it take over."""
TYPES = ("Convolution", "ConvolutionBackpropData")
"""Without depthwise convolutions, which gain nothing. (3x3 ones that are not transposed neither gain nor lose.)"""
KERNELS = "cpu:brgconv_avx2_1x1,cpu:brgconv_avx2,cpu:brgconv_avx512_1x1,cpu:brgconv_avx512"
"""What is asked for, the best first. If AVX-512's were not named, layers that AVX2's refuse would go on to others
(`jit_gemm`), and not to these, which OpenVINO takes where nothing is asked for."""

_KEY = "primitives_priority_0"
_CARRIER = f"""<net name="carrier" version="11">
 <layers>
  <layer id="0" name="in" type="Parameter" version="opset1">
   <data shape="1" element_type="f32"/>
   <rt_info><attribute name="primitives_priority" version="0" value="{KERNELS}"/></rt_info>
   <output><port id="0" precision="FP32"><dim>1</dim></port></output>
  </layer>
  <layer id="1" name="out" type="Result" version="opset1">
   <input><port id="0" precision="FP32"><dim>1</dim></port></input>
  </layer>
 </layers>
 <edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges>
</net>""".encode()
"""A model whose input has the attribute that names kernels: Python can copy it, but not make it. It must be written as
<rt_info>: the older form belongs to the library that reads models, which may be unloaded."""


def gains_from_avx2(processor: Mapping[str, Any], precision: str) -> bool:
    """Whether AVX2's kernels are to be asked for: where that was measured.

    Args:
        processor: of `machine.describe_processor`.
        precision: "fp32" or "bf16".
    """
    return precision == "fp32" and processor["family"] == ZEN_4 and "AVX-512" in (processor["instructions"] or ())


def prefer_avx2(library: Any, model: Any) -> int:
    """Asks for AVX2's kernels in the convolutions of few channels; returns in how many.

    Args:
        model: in its last form, since what a rewrite makes of a convolution is not asked for.
    """
    carrier = library.Core().read_model(_CARRIER, b"")
    attributes = carrier.get_parameters()[0].get_rt_info()
    if _KEY not in attributes:  # this OpenVINO does not know it
        return 0
    found = 0
    for node in all_of(model, *TYPES):
        shape = node.input_value(1).get_partial_shape()
        if not (shape[0].is_static and shape[1].is_static):
            continue
        if MIN_CHANNELS <= min(shape[0].get_length(), shape[1].get_length()) < MAX_CHANNELS:
            node.set_rt_info(attributes[_KEY], _KEY)
            found += 1
    return found

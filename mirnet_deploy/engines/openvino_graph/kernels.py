"""Which of OpenVINO's kernels compute a convolution, where those that it would take are not the fastest.

It takes those with the widest vectors that a processor has. AMD's Zen 4 computes vectors of 512 bits in two halves, so
that AVX-512 multiplies no faster there than AVX2, and on layers with few channels it comes out slower.
"""

from __future__ import annotations

from typing import Any

from mirnet_deploy.engines.openvino_graph.nodes import all_of

HALVED = ("AuthenticAMD 25",)
"""Processors on which this was measured (benchmarks/CPU.md): maker and family, as `machine.describe_processor` gives
them. Of AMD's family 25, Zen 3 has no AVX-512, and takes these kernels anyway."""
WIDE = 64
"""Inputs and outputs from which on the kernels with the widest vectors are the faster ones."""
LEAST = 4
"""Inputs and outputs of a layer whose kernels are asked for: AVX2's do not take the three channels of a picture, and
what OpenVINO takes in their place has another order in memory, which the layers behind it take over."""
TYPES = ("Convolution", "ConvolutionBackpropData")
"""Without depthwise convolutions, which gain nothing."""
KERNELS = "cpu:brgconv_avx2_1x1,cpu:brgconv_avx2,cpu:brgconv_avx512_1x1,cpu:brgconv_avx512"
"""What is asked for, the best first: where AVX2's refuse a layer, those that OpenVINO would take anyway."""

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
"""A model whose input has the attribute that prefers kernels: Python can hand one on, but not make one."""


def prefer_narrow_vectors(library: Any, model: Any) -> int:
    """Asks for AVX2's kernels in the convolutions of few channels, in float32; returns in how many. Where there are
    none for a layer, or OpenVINO does not know the attribute, it takes what it would have taken.

    Args:
        model: in its last form, since what a rewrite makes of a convolution is not asked for.
    """
    carrier = library.Core().read_model(_CARRIER, b"")
    source = carrier.get_parameters()[0].get_rt_info()
    if _KEY not in source:
        return 0
    found = 0
    for node in (node for kind in TYPES for node in all_of(model, kind)):
        shape = node.input_value(1).get_partial_shape()
        if not (shape[0].is_static and shape[1].is_static):
            continue
        if LEAST <= min(shape[0].get_length(), shape[1].get_length()) < WIDE:
            node.set_rt_info(source[_KEY], _KEY)
            found += 1
    return found

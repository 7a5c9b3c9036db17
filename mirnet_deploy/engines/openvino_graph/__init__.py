"""Rewrites of a model for OpenVINO's kernels on the CPU. What each gives stands in benchmarks/CPU.md.

They change no value beyond rounding; in bfloat16 that is also the rounding of 1/C for C channels, which is none for
powers of two, and of what stands between two layers now and did not before.
"""

from __future__ import annotations

from typing import Any

from mirnet_deploy.engines.openvino_graph.activations import replace_prelus
from mirnet_deploy.engines.openvino_graph.blocks import compute_in_blocks
from mirnet_deploy.engines.openvino_graph.kernels import gains_from_avx2, prefer_avx2
from mirnet_deploy.engines.openvino_graph.means import (
    replace_block_means,
    replace_channel_means,
    split_means,
    unweigh_means,
)
from mirnet_deploy.engines.openvino_graph.sums import add_convolutions_last, share_upsampling

__all__ = ["for_given_means", "for_plain_runs", "for_sides", "gains_from_avx2", "prefer_avx2"]


def for_plain_runs(library: Any, model: Any, result: str) -> None:
    """Changes a model, in place, for pictures alone: it makes only the output called `result`.

    Args:
        library: the module `openvino`.
        model: an `openvino.Model` with a context, whose inputs have become constants: all pixels have one weight.
    """
    for output in model.outputs:
        if result not in output.get_names():
            model.remove_result(output.get_node())
    unweigh_means(model)
    replace_channel_means(library, model)
    split_means(library, model)
    share_upsampling(library, model)
    add_convolutions_last(library, model)
    replace_prelus(library, model)


def for_given_means(library: Any, model: Any, precision: str) -> None:
    """Changes a model, in place, that is given means and reports some; `precision` is "fp32" or "bf16"."""
    replace_channel_means(library, model)
    if precision == "bf16":
        replace_block_means(library, model)
    add_convolutions_last(library, model)
    replace_prelus(library, model)


def for_sides(library: Any, model: Any) -> None:
    """Changes a model, in place, whose inputs have fixed shapes, after one of the above."""
    compute_in_blocks(library, model)

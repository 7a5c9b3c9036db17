"""The work of exports, as `bench --floor` counts it, in both interfaces and precisions: what ONNX Runtime executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from executed_nodes import bytes_of, executed_nodes, macs_of, picture_feed, repeated_bytes
from export_types import Export

from mirnet_deploy.artifacts.metadata import Interface, Precision
from mirnet_deploy.benchmarks.floor.graph import Graph


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("interface", ["float", "image"])
def test_the_work_of_an_export_is_what_onnx_runtime_executed(
    exported: Export, interface: Interface, precision: Precision, tmp_path: Path
) -> None:
    path = exported(interface, precision).path
    graph = Graph(path)
    for height, width in ((24, 32), (20, 44)):
        feeds = picture_feed(interface, height, width)
        nodes = executed_nodes(path, feeds, tmp_path)
        work = graph.work({name: array.shape for name, array in feeds.items()})
        assert work.macs == macs_of(nodes)
        if precision == "fp32":  # a CPU computes FP16 in FP32, with nodes that turn one into the other
            assert work.unfused_bytes == bytes_of(nodes) - repeated_bytes(path)
        else:
            whole = Graph(exported(interface, "fp32").path).work({name: array.shape for name, array in feeds.items()})
            assert whole.macs == work.macs
            assert 0.5 < work.constant_bytes / whole.constant_bytes < 0.6
            assert 0.5 < work.unfused_bytes / whole.unfused_bytes < 0.7

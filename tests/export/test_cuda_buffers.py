"""Exported graphs, as ONNX Runtime optimizes them for CUDA, leave no page-locked buffers behind (`onnx_graph`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from export_types import Export
from numpy.typing import NDArray
from torch import Tensor, nn

from mirnet_deploy.artifacts.metadata import Interface, Precision
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.onnx_graph import deferring_nodes
from mirnet_deploy.engines.onnxruntime_session import LEFT_OUT
from mirnet_deploy.export.onnx_file import export_onnx
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.export.tracing import trace
from mirnet_deploy.training.checkpoint import load_checkpoint, save_checkpoint
from mirnet_deploy.training.config import PRESETS, MIRNetConfig
from mirnet_deploy.training.context import OwnMeans, PoolContext
from mirnet_deploy.training.network import MIRNet

LITE = resolve_model("lite")


def left_behind(data: bytes, folder: Path, without: list[str]) -> list[str]:
    """The nodes that would leave buffers behind in the graph that ONNX Runtime makes of `data`."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    onnxruntime.InferenceSession(data, options, providers=providers, disabled_optimizers=without)
    return deferring_nodes((folder / "optimized.onnx").read_bytes())


class Pools(nn.Module):
    """More pools than a Concat takes by value, and nothing else."""

    def forward(self, x: Tensor, context: Tensor, mode: Tensor, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
        pools = PoolContext(context, mode, rows, cols)
        for _ in range(34):
            x = x + pools.mean(x, 0)
        return x, pools.statistics


def test_the_fusion_would_leave_buffers_behind(tmp_path: Path) -> None:
    """The guard can fail: it is this optimizer that makes the Splits."""
    assert any("Split" in name or not name for name in left_behind(LITE.read_bytes(), tmp_path, []))


def test_the_bundled_model_leaves_none(tmp_path: Path) -> None:
    assert left_behind(LITE.read_bytes(), tmp_path, LEFT_OUT) == []


@pytest.mark.parametrize("interface", ["float", "image"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_no_export_leaves_any(exported: Export, tmp_path: Path, interface: Interface, precision: Precision) -> None:
    assert left_behind(exported(interface, precision).path.read_bytes(), tmp_path, LEFT_OUT) == []


def test_statistics_of_many_pools_are_joined_in_groups(tmp_path: Path) -> None:
    model = trace(Pools(), "float", 20, 34 * 3)
    assert left_behind(model.SerializeToString(), tmp_path, LEFT_OUT) == []
    joins = sorted(len(node.input) for node in model.graph.node if node.op_type == "Concat")
    assert joins == [2, 2, 32]


def test_groups_are_the_same_values() -> None:
    pools = OwnMeans()
    parts = [torch.rand(2, 3, 4, 4) for _ in range(70)]
    for part in parts:
        pools.mean(part, 0)
    assert torch.equal(pools.statistics, torch.cat([part.mean(dim=(2, 3)) for part in parts], dim=1))


@pytest.mark.long
@pytest.mark.parametrize("preset", ["base", "paper"])
@pytest.mark.parametrize("interface", ["float", "image"])
def test_networks_of_every_depth_leave_none(
    tmp_path: Path, crops: list[NDArray[np.uint8]], preset: str, interface: Interface
) -> None:
    """Their graphs do not depend on the number of features, so there are few."""
    config = MIRNetConfig(8, PRESETS[preset].n_rrg, PRESETS[preset].n_msrb)
    save_checkpoint(tmp_path / "a.pt", {"config": config.to_dict(), "network": MIRNet(config).state_dict()})
    checkpoint = load_checkpoint(tmp_path / "a.pt")
    settings = ExportSettings(interface=interface, tile=64, halo=8)
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    for precision in precisions:
        path = tmp_path / f"{precision}.onnx"
        export_onnx(checkpoint, path, settings, precision, crops)
        assert left_behind(path.read_bytes(), tmp_path, LEFT_OUT) == []

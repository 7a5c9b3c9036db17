"""How far pixels reach: by the graph, and by given weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mirnet_deploy.export.samples import read_crops
from mirnet_deploy.training.checkpoint import load_checkpoint
from mirnet_deploy.training.config import PRESETS, MIRNetConfig
from mirnet_deploy.training.context import PoolContext
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.reach import CHANGE, THRESHOLD, FixedMeans, derived_halo, measured_reach, structural_reach

LITE = Path(__file__).parents[2] / "weights" / "lite.pt"


@pytest.fixture(scope="module")
def crops() -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(crop[:128, :128]) for crop in read_crops()]


@pytest.mark.parametrize(("preset", "reach"), [("lite", 116), ("base", 228), ("paper", 340)])
def test_structural_reach(preset: str, reach: int) -> None:
    """Three pixels more than design.md says, which counted from one place on the coarsest grid."""
    assert structural_reach(PRESETS[preset]) == reach


@pytest.mark.parametrize("seed", range(3))
def test_nothing_passes_the_structural_reach_and_something_comes_close(seed: int) -> None:
    """A large change in a network of random weights, in float64, where nothing drowns in rounding."""
    torch.manual_seed(seed)
    config = MIRNetConfig(8, 1, 1)
    network, reach = MIRNet(config).double().eval(), structural_reach(config)
    x = torch.rand(1, 3, 160, 8, dtype=torch.float64)
    farthest = 0
    for row in (80, 81, 82, 83):
        changed = x.clone()
        changed[:, :, row] += 1e3
        with torch.inference_mode():
            one, two = residual(network, x), residual(network, changed)
        rows = (one != two).any(dim=3).any(dim=1)[0].nonzero() - row
        farthest = max(farthest, int(rows.abs().max()))
    assert reach - 4 <= farthest <= reach


def residual(network: MIRNet, x: torch.Tensor) -> torch.Tensor:
    """What the network adds to `x`, in float64: its last sum is float32."""
    pools = FixedMeans(torch.full((1, network.config.context_size), 0.1, dtype=torch.float64))
    y = network.conv_in(x)
    for group in network.groups:
        y = group(y, network.dau_slope, pools)
    result: torch.Tensor = network.conv_out(y)
    return result


def test_the_bundled_model_looks_less_far_than_its_graph(crops: list[NDArray[np.uint8]]) -> None:
    network = load_checkpoint(LITE).network
    reach = measured_reach(network, crops)
    assert 4 < reach < 48
    assert derived_halo(network, crops) == -(-reach // 4) * 4 + 4


def test_the_measured_reach_is_where_the_output_stops_moving(crops: list[NDArray[np.uint8]]) -> None:
    """Beyond it no pixel moves by the threshold, on it at least one does: looked at for one pixel of one crop."""
    network = load_checkpoint(LITE).network
    reach = measured_reach(network, crops[:1])
    x = torch.from_numpy(crops[0]).permute(2, 0, 1)[None].float() / 255
    pools = PoolContext.plain(network.config.context_size)
    with torch.inference_mode():
        before = network(x, pools)
    moved = torch.zeros(128, 128)
    for place in (64, 65, 66, 67):
        changed = x.clone()
        changed[:, :, place, place] += CHANGE
        with torch.inference_mode():
            after = network(changed, FixedMeans(pools.statistics))
        moved = torch.maximum(moved, (after - before).abs().amax(dim=(0, 1)).roll((64 - place, 64 - place), (0, 1)))
    rows, cols = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    distance = torch.maximum((rows - 64).abs(), (cols - 64).abs())
    assert moved[distance > reach].max() < THRESHOLD
    assert moved[distance == reach].max() >= THRESHOLD


def test_a_crop_too_small_to_tell_gives_the_structural_reach() -> None:
    network = load_checkpoint(LITE).network
    assert measured_reach(network, [read_crops()[0][:16, :16].copy()]) == structural_reach(network.config)

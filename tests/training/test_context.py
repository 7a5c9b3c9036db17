"""Means that are given, measured or ignored; tiles that share them give the whole picture."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
import torch
from torch import Tensor

from mirnet_deploy.artifacts.context import GIVEN, MEASURED
from mirnet_deploy.tiling import Tile, TileGrid, make_grid
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.context import PoolContext
from mirnet_deploy.training.network import GlobalPool, MIRNet

TINY = MIRNetConfig(8, 1, 1)
REACH = 60
"""More than the structural reach of one MSRB."""
ONE = torch.ones(1, 1)


def make_network(seed: int, config: MIRNetConfig = TINY) -> MIRNet:
    torch.manual_seed(seed)
    return MIRNet(config).eval()


@pytest.fixture(scope="module")
def network() -> MIRNet:
    return make_network(0)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """float32 [1,3,184,240]. Its parts differ, so that a tile's own means are far from the whole picture's."""
    torch.manual_seed(1)
    height, width = 184, 240
    light = torch.linspace(0.02, 0.6, width) * torch.linspace(1, 0.3, height)[:, None]
    return (light + 0.1 * torch.rand(1, 3, height, width)).clamp(0, 1)


def measure(network: MIRNet, x: Tensor) -> tuple[Tensor, Tensor]:
    pools = PoolContext(torch.zeros(1, network.config.context_size), torch.tensor(MEASURED), ONE, ONE)
    with torch.no_grad():
        return network(x, pools), pools.statistics


def pooled(network: MIRNet, x: Tensor) -> list[Tensor]:
    """The output of every pool in a plain run, [N,C] each, in the order in which the pools run."""
    seen: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, inputs, output: seen.append(output.flatten(1)))
        for module in network.modules()
        if isinstance(module, GlobalPool)
    ]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return seen


def core_weights(tile: Tile) -> tuple[Tensor, Tensor]:
    weights = []
    for size, core in zip(tile.size, tile.core_in_tile, strict=True):
        weight = torch.zeros(1, size)
        weight[:, core] = 1
        weights.append(weight)
    return weights[0], weights[1]


def run_tiles(network: MIRNet, x: Tensor, grid: TileGrid, context: Tensor) -> tuple[Tensor, Tensor]:
    """One pass: the picture put together from cores, [1,3,H,W], and the means that the pass measured, [1,K]."""
    output, means = torch.empty_like(x), torch.zeros_like(context)
    for tile in grid:
        pools = PoolContext(context, torch.tensor(GIVEN), *core_weights(tile))
        with torch.no_grad():
            result = network(x[:, :, *tile.window], pools)
        output[:, :, *tile.core] = result[:, :, *tile.core_in_tile]
        means += pools.statistics * (tile.core_size[0] * tile.core_size[1] / (grid.height * grid.width))
    return output, means


@pytest.mark.parametrize("config", [TINY, MIRNetConfig(16, 2, 2), MIRNetConfig(8, 3, 2)])
def test_a_context_has_as_many_values_as_the_pools_have_channels(config: MIRNetConfig) -> None:
    means = pooled(MIRNet(config), torch.rand(1, 3, 8, 8))
    assert sum(mean.shape[1] for mean in means) == config.context_size


def test_reporting_the_means_changes_the_output_by_rounding_alone(network: MIRNet, picture: Tensor) -> None:
    with torch.no_grad():
        plain = network(picture)
    output, statistics = measure(network, picture)
    torch.testing.assert_close(output, plain, rtol=0, atol=1e-6)
    assert statistics.shape == (1, TINY.context_size)


def test_statistics_equal_the_outputs_of_the_pools(network: MIRNet, picture: Tensor) -> None:
    plain = torch.cat(pooled(network, picture), dim=1)
    torch.testing.assert_close(measure(network, picture)[1], plain, rtol=1e-5, atol=1e-6)


def test_giving_a_picture_its_own_means_changes_nothing(network: MIRNet, picture: Tensor) -> None:
    output, own = measure(network, picture)
    with torch.no_grad():
        again = network(picture, PoolContext(own, torch.tensor(GIVEN), ONE, ONE))
    assert torch.equal(again, output)


def test_other_means_change_the_output(network: MIRNet, picture: Tensor) -> None:
    output, own = measure(network, picture)
    with torch.no_grad():
        other = network(picture, PoolContext(2 * own, torch.tensor(GIVEN), ONE, ONE))
    assert (other - output).abs().max() > 0.01


def test_pixels_without_weight_do_not_count(picture: Tensor) -> None:
    """A pool's mean with weights for the core alone is the mean of the core cut out, at every level."""
    pool_rows, pool_cols = torch.zeros(1, 64), torch.zeros(1, 96)
    pool_rows[:, 8:40], pool_cols[:, 16:84] = 1, 1
    for level in range(3):
        scale = 2**level
        x = picture[:, :, : 64 // scale, : 96 // scale]
        pools = PoolContext(torch.zeros(1, 3), torch.tensor(MEASURED), pool_rows, pool_cols)
        core = x[:, :, 8 // scale : 40 // scale, 16 // scale : 84 // scale]
        torch.testing.assert_close(pools.mean(x, level), core.mean(dim=(2, 3), keepdim=True))


def test_tiles_with_the_true_means_give_the_whole_picture(network: MIRNet, picture: Tensor) -> None:
    whole, true = measure(network, picture)
    grid = make_grid(184, 240, tile=(160, 160), halo=REACH)
    assert len(grid) >= 6
    output, means = run_tiles(network, picture, grid, true)
    torch.testing.assert_close(output, whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(means, true, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("seed", "guess"), [(0, 0.0), (1, 1.0)])
def test_each_pass_makes_one_more_stage_exact(picture: Tensor, seed: int, guess: float) -> None:
    """From any guess and for any weights, after as many passes as stages the means are those of the whole picture."""
    network = make_network(seed)
    grid = make_grid(184, 240, tile=(160, 160), halo=REACH)
    whole, true = measure(network, picture)
    context = torch.full_like(true, guess)
    for _ in range(network.config.pool_stages):
        _, context = run_tiles(network, picture, grid, context)
    torch.testing.assert_close(context, true, atol=1e-4, rtol=1e-4)
    output, _ = run_tiles(network, picture, grid, context)
    torch.testing.assert_close(output, whole, atol=1e-5, rtol=0)


def depends(network: MIRNet, x: Tensor) -> list[set[int]]:
    """For every pool, the pools whose given means change what it measures. One pool's means are moved at a time."""
    _, own = measure(network, x)
    ends = list(accumulate(channels.shape[1] for channels in pooled(network, x)))
    spans = list(pairwise([0, *ends]))

    def given(context: Tensor) -> Tensor:
        pools = PoolContext(context, torch.tensor(GIVEN), ONE, ONE)
        with torch.no_grad():
            network(x, pools)
        return pools.statistics

    before, found = given(own), [set[int]() for _ in spans]
    for cause, (first, last) in enumerate(spans):
        for change in (-10, 10):  # behind a ReLU, a move in one direction may change nothing
            moved = own.clone()
            moved[:, first:last] += change
            changed = (given(moved) != before)[0]
            for effect, (left, right) in enumerate(spans):
                if changed[left:right].any():
                    found[effect].add(cause)
    return found


def test_the_longest_chain_of_pools_has_as_many_links_as_stages(picture: Tensor) -> None:
    config = MIRNetConfig(8, 1, 2)
    depth: list[int] = []
    for pool, causes in enumerate(depends(make_network(4, config), picture[:, :, :32, :32])):
        assert all(cause < pool for cause in causes)
        depth.append(1 + max((depth[cause] for cause in causes), default=0))
    assert max(depth) == config.pool_stages

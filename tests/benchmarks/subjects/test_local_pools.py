"""Pools that see only what is near, as in TLC."""

from __future__ import annotations

import pytest
import torch

from mirnet_deploy.benchmarks.subjects.local_pools import LocalPools
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet


@pytest.mark.parametrize("level", [0, 1, 2])
def test_local_means_are_those_of_the_square_around(level: int) -> None:
    torch.manual_seed(3)
    x = torch.rand(2, 3, 40, 52)
    means = LocalPools(16).mean(x, level)
    side = 16 >> level
    assert means.shape == x.shape
    top, left = 20, 31
    square = x[:, :, top - (side - 1) // 2 :, left - (side - 1) // 2 :][:, :, :side, :side]
    torch.testing.assert_close(means[:, :, top, left], square.mean(dim=(2, 3)))
    torch.testing.assert_close(means[:, :, 0, 0], x[:, :, :side, :side].mean(dim=(2, 3)))
    torch.testing.assert_close(means[:, :, -1, -1], x[:, :, -side:, -side:].mean(dim=(2, 3)))


def test_a_square_as_large_as_the_picture_is_the_plain_network() -> None:
    torch.manual_seed(0)
    network, picture = MIRNet(MIRNetConfig(8, 1, 1)).eval(), torch.rand(1, 3, 96, 120)
    with torch.inference_mode():
        plain, wide, narrow = (network(picture, pools) for pools in (None, LocalPools(240), LocalPools(64)))
    torch.testing.assert_close(wide, plain, rtol=1e-4, atol=1e-5)
    assert (narrow - plain).abs().max() > 1e-3

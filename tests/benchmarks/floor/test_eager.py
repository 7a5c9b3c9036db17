"""The work of networks in PyTorch: by hand, and against a run that computes."""

from __future__ import annotations

from pathlib import Path

import torch
from artifacts import FIXTURES
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mirnet_deploy.benchmarks.floor.eager import eager_work
from mirnet_deploy.benchmarks.floor.work import Work
from mirnet_deploy.training.checkpoint import load_checkpoint

TINY = Path(FIXTURES) / "published_layout" / "model.pth"


class Small(nn.Module):
    """Three operations and a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, bias=False)

    def forward(self, x: Tensor, pools: object) -> Tensor:
        return torch.relu(self.up(self.conv(x)).transpose(2, 3))


def test_a_small_network_is_counted_by_hand() -> None:
    x, w, a, u, b = 3 * 8 * 12, 4 * 3 * 9, 4 * 4 * 6, 4 * 3 * 4, 6 * 8 * 12
    work = eager_work(Small(), None, {"input": (1, 3, 8, 12)})
    macs = a * 3 * 9 + a * 3 * 4
    assert work == Work(macs, 4 * (w + u), 4 * (x + b), 4 * ((x + w + a) + (a + u + b) + 2 * b))
    assert eager_work(Small(), None, {"input": (2, 3, 8, 12)}).macs == 2 * macs


def test_the_network_takes_what_torch_counts_in_a_real_run_and_half_the_bytes_in_half_precision() -> None:
    network = load_checkpoint(TINY).network
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        network(torch.rand(1, 3, 24, 32), None)
    work = eager_work(network, None, {"input": (1, 3, 24, 32)})
    assert work.macs == counted.get_total_flops() // 2 > 0
    blurs = 9 * (8 + 16 + 8 + 16)  # kernels that are no parameters
    assert work.constant_bytes == 4 * (sum(each.numel() for each in network.state_dict().values()) + blurs)
    half = eager_work(network.half_with_islands(), None, {"input": (1, 3, 24, 32)})
    assert half.macs == work.macs
    assert 0.5 < half.constant_bytes / work.constant_bytes < 0.6
    assert 0.5 < half.unfused_bytes / work.unfused_bytes < 0.7

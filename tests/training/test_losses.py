"""Losses against skimage, numpy and their own properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from mirnet_deploy.artifacts.context import GIVEN, MEASURED
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.context import PoolContext
from mirnet_deploy.training.losses import LOSSES, align_brightness, charbonnier, ssim, thumbnail_difference
from mirnet_deploy.training.network import MIRNet


def pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(2, 3, 24, 28, generator=generator)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0.01, 1), target


def test_charbonnier_formula() -> None:
    output, target = pair()
    expected = np.sqrt((output.numpy() - target.numpy()) ** 2 + 1e-6).mean()
    assert charbonnier(output, target).item() == pytest.approx(expected, rel=1e-6)


def test_ssim_agrees_with_skimage() -> None:
    output, target = pair()
    expected = []
    for o, t in zip(output.double().numpy(), target.double().numpy(), strict=True):
        _, maps = structural_similarity(
            o,
            t,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected.append(maps[:, 5:-5, 5:-5].mean())  # ours takes whole windows only
    assert ssim(output.double(), target.double()).item() == pytest.approx(np.mean(expected), abs=1e-9)


def test_an_aligned_output_has_the_targets_mean() -> None:
    output, target = pair()
    bright = align_brightness(output * 0.3, target)
    torch.testing.assert_close(bright.mean((1, 2, 3)), target.mean((1, 2, 3)))
    torch.testing.assert_close(bright, align_brightness(output, target))


def test_gradients_of_a_black_output_are_finite() -> None:
    _, target = pair()
    black = torch.zeros_like(target, requires_grad=True)
    for loss in LOSSES.values():
        (gradient,) = torch.autograd.grad(loss(black, target), black)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["aligned", "aligned+ssim"])
def test_brightness_counts_half(name: str) -> None:
    """A picture that is wrong in its brightness alone costs half of the plain loss."""
    _, target = pair()
    dim = 0.5 * target
    floor = charbonnier(target, target)
    assert LOSSES[name](dim, target).item() == pytest.approx(
        (0.5 * charbonnier(dim, target) + 0.5 * floor).item(), rel=1e-3
    )


@pytest.mark.parametrize("name", LOSSES)
def test_the_target_itself_has_the_least_loss(name: str) -> None:
    output, target = pair()
    assert (
        LOSSES[name](target, target) < LOSSES[name](0.5 * output + 0.5 * target, target) < LOSSES[name](output, target)
    )


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_batch_is_the_mean_over_its_pictures(name: str) -> None:
    """This makes two processes equal to one with twice the batch."""
    output, target = pair()
    single = [LOSSES[name](output[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(LOSSES[name](output, target), torch.stack(single).mean())


@pytest.fixture
def network() -> MIRNet:
    torch.manual_seed(0)
    return MIRNet(MIRNetConfig(8, 1, 1))


def test_the_thumbnail_difference_is_the_change_by_a_first_guess_of_the_means(network: MIRNet) -> None:
    """By hand, as tiles do it. 40x52 pixels shrink to 10x13, of which the network takes 8x12."""
    low = torch.rand(2, 3, 40, 52)
    output = network(low)
    one = torch.ones(1, 1)
    with torch.no_grad():
        small = low.reshape(2, 3, 10, 4, 13, 4).mean(dim=(3, 5))[:, :, :8, :12]
        own = PoolContext(torch.zeros(1, network.config.context_size), torch.tensor(MEASURED), one, one)
        network(small, own)
        again = network(low, PoolContext(own.statistics, torch.tensor(GIVEN), one, one))
    found = thumbnail_difference(network, low, output)
    torch.testing.assert_close(found, charbonnier(again, output), rtol=1e-4, atol=1e-7)
    found.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_minimizing_the_thumbnail_difference_brings_the_guess_nearer(network: MIRNet) -> None:
    low = torch.rand(2, 3, 32, 32) * torch.linspace(0, 1, 32)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    differences = []
    for _ in range(30):
        difference = thumbnail_difference(network, low, network(low))
        optimizer.zero_grad()
        difference.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        differences.append(float(difference.detach()))
    assert differences[-1] < 0.5 * differences[0]

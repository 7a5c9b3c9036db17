"""How far pixels reach: by the structure of the network, and with given weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mirnet_deploy.export.samples import read_crops
from mirnet_deploy.tiling import BORDER_ERROR
from mirnet_deploy.training.checkpoint import load_checkpoint
from mirnet_deploy.training.config import PRESETS, MIRNetConfig
from mirnet_deploy.training.context import FixedMeans, OwnMeans
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.reach import border_error, derived_halo, structural_reach

LITE = Path(__file__).parents[2] / "weights" / "lite.pt"


@pytest.fixture(scope="module")
def crops() -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(crop[:128, :128]) for crop in read_crops(None)]


@pytest.mark.parametrize(("preset", "reach"), [("lite", 116), ("base", 228), ("paper", 340)])
def test_structural_reach(preset: str, reach: int) -> None:
    """Three pixels more than in design.md, which counts from one place on the coarsest grid."""
    assert structural_reach(PRESETS[preset]) == reach


@pytest.mark.parametrize("seed", range(3))
def test_nothing_passes_the_structural_reach_and_something_comes_close(seed: int) -> None:
    """A large change in a network of random weights, in float64, where rounding hides nothing."""
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
    """What the network adds to `x`, float64 [1,3,H,W]; the network itself would sum in float32."""
    pools = FixedMeans(torch.full((1, network.config.context_size), 0.1, dtype=torch.float64))
    y = network.conv_in(x)
    for group in network.groups:
        y = group(y, network.dau_slope, pools)
    result: torch.Tensor = network.conv_out(y)
    return result


def enhanced(network: MIRNet, crop: NDArray[np.uint8], pools: OwnMeans | FixedMeans) -> NDArray[np.float32]:
    x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return network(x, pools)[0].permute(1, 2, 0).clamp(0, 1).numpy()


def test_the_halo_is_the_least_that_keeps_the_allowed_error_of_borders(crops: list[NDArray[np.uint8]]) -> None:
    """At it, the error is at most what the prediction allows for borders; 4 pixels less would be more."""
    network = load_checkpoint(LITE).network.eval()
    halo = derived_halo(network, crops)
    assert 4 < halo < 48
    errors = [border_error(network, crop) for crop in crops]
    assert max(error[halo] for error in errors) <= BORDER_ERROR < max(error[halo - 4] for error in errors)


def test_the_error_of_a_border_is_that_of_a_tile(crops: list[NDArray[np.uint8]]) -> None:
    """One tile with its border in the middle of the crop, compared with the whole by hand, along both axes."""
    network, crop = load_checkpoint(LITE).network.eval(), crops[0]
    error = border_error(network, crop)
    assert len(error) == 48  # three eighths of 128
    assert (np.diff(error) <= 0).all()
    pools = OwnMeans()
    whole = enhanced(network, crop, pools)
    for tile, away in ((np.s_[64:], np.s_[8:]), (np.s_[:, :64], np.s_[:, :-8])):
        off = np.abs(enhanced(network, np.ascontiguousarray(crop[tile]), FixedMeans(pools.statistics)) - whole[tile])
        assert off[away].max() <= error[8]
        assert off.max() <= error[0]
    assert error[0] > 10 * error[40]


def test_borders_are_measured_from_both_sides_along_both_axes() -> None:
    """For a network that sees 5 pixels to one side alone, the farthest is found on whichever side it is."""
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for axis in (2, 3):
        for shift in (-5, 5):
            error = border_error(Shifted(shift, axis), crop)  # type: ignore[arg-type]
            assert error[4] > 0 == error[5]


class Shifted:
    """Gives every pixel the value `shift` pixels before it along `axis`, and black beyond the border."""

    config = MIRNetConfig(8, 1, 1)

    def __init__(self, shift: int, axis: int) -> None:
        self._shift, self._axis = shift, axis

    def __call__(self, x: torch.Tensor, pools: OwnMeans) -> torch.Tensor:
        pools.mean(x, 0)
        y = x.roll(self._shift, self._axis)
        side = x.shape[self._axis]
        y.narrow(self._axis, 0 if self._shift > 0 else side - 5, 5).zero_()
        return y


@pytest.mark.parametrize("side", [4, 8, 16])
def test_a_crop_too_small_to_measure_gives_the_structural_reach(side: int) -> None:
    network = load_checkpoint(LITE).network
    assert derived_halo(network, [read_crops(None)[0][:side, :side].copy()]) == structural_reach(network.config)

"""MIRNet is the network of the paper: size, ties, size requirements, FP32 islands."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mirnet_deploy.errors import UsageError
from mirnet_deploy.training.config import PRESETS, MIRNetConfig
from mirnet_deploy.training.network import DAU, SKFF, Blur, ChannelAttention, MIRNet, Up

TINY = MIRNetConfig(8, 1, 1)


@pytest.mark.parametrize(("preset", "count"), [("paper", 31_787_419), ("base", 5_299_581), ("lite", 663_615)])
def test_parameter_counts(preset: str, count: int) -> None:
    with torch.device("meta"):
        assert MIRNet(PRESETS[preset]).parameter_count() == count


def test_the_default_configuration_is_the_papers() -> None:
    assert MIRNetConfig() == PRESETS["paper"] == MIRNetConfig(64, 3, 2)


@pytest.mark.parametrize("values", [(0, 1, 1), (12, 1, 1), (8, 0, 1), (8, 1, -1), (8, 1, True), (8.0, 1, 1)])
def test_impossible_configurations_are_refused(values: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="expected"):
        MIRNetConfig(*values)


def test_the_error_for_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="paper, base, lite"):
        MIRNetConfig.preset("large")


@pytest.mark.parametrize(("height", "width"), [(4, 4), (4, 36), (20, 12), (64, 48)])
def test_sides_may_be_any_multiples_of_four(height: int, width: int) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        output = MIRNet(TINY)(torch.rand(2, 3, height, width))
    assert output.shape == (2, 3, height, width)
    assert output.dtype == torch.float32
    assert output.isfinite().all()


def test_the_number_of_pools_in_one_run() -> None:
    """60 global pools in one run of `paper`: 36 in DAUs, 24 in SKFFs. Counted by hooks, since modules run twice."""
    network, calls = MIRNet(MIRNetConfig(8, 3, 2)), {"dau": 0, "skff": 0}
    for module in network.modules():
        if isinstance(module, ChannelAttention | SKFF):
            kind = "dau" if isinstance(module, ChannelAttention) else "skff"
            module.pool.register_forward_hook(lambda *_, kind=kind: calls.update({kind: calls[kind] + 1}))
    with torch.no_grad():
        network(torch.rand(1, 3, 8, 8))
    assert calls == {"dau": 36, "skff": 24}


def test_every_dau_uses_the_one_slope() -> None:
    """Every use of a DAU takes the one parameter, and no DAU has a slope of its own."""
    network, given = MIRNet(TINY), []
    for module in network.modules():
        if isinstance(module, DAU):
            module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1]))
    with torch.no_grad():
        network(torch.rand(1, 3, 8, 8))
    assert len(given) == 6
    assert all(slope is network.dau_slope for slope in given)
    assert not any("act" in name for name, _ in DAU(8).named_parameters())
    assert [name for name, _ in MIRNet(TINY).named_parameters() if name == "dau_slope"] == ["dau_slope"]


def test_the_state_dict_holds_every_parameter_once() -> None:
    network = MIRNet(TINY)
    state = network.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == network.parameter_count()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)


def test_the_blur_is_the_binomial_filter() -> None:
    image = torch.rand(1, 8, 10, 12)
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = torch.outer(row, row)[None, None]
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    expected = torch.cat([F.conv2d(padded[:, c : c + 1], kernel, stride=2) for c in range(8)], dim=1)
    torch.testing.assert_close(Blur(8)(image), expected)


def test_up_convolves_before_it_interpolates_with_the_same_result() -> None:
    torch.manual_seed(1)
    up, image = Up(8), torch.rand(1, 8, 6, 10)
    top = up.conv3(up.act2(up.conv2(up.act1(up.conv1(image)))))
    paper = top + up.skip(F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False))
    torch.testing.assert_close(up(image), paper, atol=1e-6, rtol=1e-5)


def test_transposed_convolutions_start_without_a_checkerboard() -> None:
    torch.manual_seed(2)
    network = MIRNet(TINY)
    flat = network.groups[0].blocks[0].up10
    with torch.no_grad():
        inner = flat.conv2(torch.ones(1, 16, 8, 8))[:, :, 2:-2, 2:-2]
    assert (inner.amax((2, 3)) - inner.amin((2, 3))).max() < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_a_dark_picture_keeps_its_scale_through_an_untrained_network(seed: int) -> None:
    """torch's own initial weights fail this, and train slowly at first."""
    torch.manual_seed(seed)
    network, dark = MIRNet(PRESETS["lite"]), torch.rand(1, 3, 64, 64) * 0.1
    with torch.no_grad():
        residual = network(dark) - dark
    assert 1 < residual.std() / dark.std() < 10


def test_half_keeps_the_islands_in_float32() -> None:
    network = MIRNet(TINY).half_with_islands()
    dtypes = {name: parameter.dtype for name, parameter in network.named_parameters()}
    islands = {name for name, dtype in dtypes.items() if dtype == torch.float32}
    assert islands == {name for name in dtypes if ".channel." in name or ".skff." in name}
    assert any(dtype == torch.float16 for dtype in dtypes.values())


def test_autocast_leaves_the_islands_alone() -> None:
    network, seen = MIRNet(TINY), []
    for module in network.modules():
        if isinstance(module, ChannelAttention):
            module.excite.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        network(torch.rand(1, 3, 8, 8))
    assert seen
    assert set(seen) == {torch.float32}

"""`mirnet-deploy weights`: what is written can be read back, in 8 bits to half a step, and averages are correct."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import Tensor

from mirnet_deploy.cli import main
from mirnet_deploy.errors import CheckpointError
from mirnet_deploy.training.checkpoint import load_checkpoint, save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.stored import LARGE, SCALE
from mirnet_deploy.training.weights import keep_weights

CONFIG = MIRNetConfig(8, 1, 1)
LARGEST = "groups.0.blocks.0.dau.2.conv1.weight"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = MIRNet(CONFIG).state_dict()
    content = {"network": state, "ema": {name: 2 * value for name, value in state.items()}, "config": CONFIG.to_dict()}
    save_checkpoint(
        tmp_path / "last.pt", {**content, "describe": {"step": 7, "data": "442 pairs", "validation": {"psnr": 21.5}}}
    )
    return tmp_path / "last.pt"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["weights", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), "an error without a line"
    return f"{result.exit_code} {result.output}"


@pytest.mark.parametrize("int8", [False, True])
def test_stored_weights_are_read_back(checkpoint: Path, tmp_path: Path, int8: bool) -> None:
    target = tmp_path / "tiny.safetensors"
    assert run(checkpoint, target, *(["--int8"] if int8 else [])).startswith("0 ")
    before, after = load_checkpoint(checkpoint), load_checkpoint(target)
    assert (after.config, after.weights, after.layout) == (CONFIG, "ema", "safetensors")
    assert (after.describe["step"], after.describe["validation"]) == (7, {"psnr": 21.5})
    assert ("int8" in after.describe["stored"]) == int8
    for name, expected in before.network.state_dict().items():
        found = after.network.state_dict()[name]
        if int8 and expected.ndim == 4 and expected.numel() >= LARGE:
            half_a_step = expected.abs().amax(dim=(1, 2, 3), keepdim=True) / 127 / 2
            assert ((found - expected).abs() <= half_a_step * 1.001).all(), name
        else:
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


def without(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in stored.items() if name != LARGEST + SCALE}


def shortened(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return stored | {LARGEST + SCALE: torch.ones(3)}


@pytest.mark.parametrize("damage", [without, shortened])
def test_scales_that_do_not_fit_are_an_error(checkpoint: Path, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    target = tmp_path / "tiny.safetensors"
    run(checkpoint, target, "--int8")
    save_file(damage(load_file(target)), target)
    with pytest.raises(CheckpointError, match=f"{LARGEST} is stored in 8 bits"):
        load_checkpoint(target)


def test_nothing_is_overwritten_unasked(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny.safetensors"
    target.write_bytes(b"mine")
    assert run(checkpoint, target).startswith("2 ")
    assert target.read_bytes() == b"mine"
    assert run(checkpoint, target, "--force").startswith("0 ")
    assert run(checkpoint, tmp_path / "tiny.pth").startswith("2 ")
    assert run(checkpoint, tmp_path / "tiny.pt", "--int8").startswith("2 ")
    assert run(tmp_path / "none.pt", tmp_path / "x.safetensors").startswith("1 ")
    assert not (tmp_path / "x.safetensors").exists()


def other(path: Path, config: MIRNetConfig = CONFIG) -> Path:
    torch.manual_seed(1)
    save_checkpoint(path, {"network": MIRNet(config).state_dict(), "config": config.to_dict(), "describe": {}})
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_average_of_two_networks(checkpoint: Path, tmp_path: Path, suffix: str) -> None:
    """In the given shares. Validation figures of the first network do not hold for the average, and are left out."""
    second, target = other(tmp_path / "other.pt"), tmp_path / f"between{suffix}"
    assert run(checkpoint, target, "--average", second, 0.25).startswith("0 ")
    one, two, between = map(load_checkpoint, (checkpoint, second, target))
    for name, found in between.network.state_dict().items():
        expected = 0.75 * one.network.state_dict()[name] + 0.25 * two.network.state_dict()[name]
        torch.testing.assert_close(found, expected)
    assert between.weights == "ema"
    assert between.describe["average"] == {str(second): 0.25}
    assert between.describe["data"] == "442 pairs"
    assert "validation" not in between.describe


@pytest.mark.parametrize("shares", [(1.0,), (0.0,), (-0.5,), (0.5, 0.5)])
def test_shares_that_leave_nothing_are_refused(checkpoint: Path, tmp_path: Path, shares: tuple[float, ...]) -> None:
    options = [part for share in shares for part in ("--average", checkpoint, share)]
    said = run(checkpoint, tmp_path / "x.pt", *options)
    assert said.startswith("1 error: expected shares above 0")
    assert not (tmp_path / "x.pt").exists()


def test_a_share_that_is_no_number_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    assert "--average is nan; expected a finite number" in run(
        checkpoint, tmp_path / "x.pt", "--average", checkpoint, "nan"
    )
    with pytest.raises(CheckpointError, match="expected shares above 0"):
        keep_weights(checkpoint, tmp_path / "x.pt", int8=False, average=[(checkpoint, float("nan"))])
    assert not (tmp_path / "x.pt").exists()


def test_networks_of_two_sizes_are_not_averaged(checkpoint: Path, tmp_path: Path) -> None:
    larger = other(tmp_path / "other.pt", MIRNetConfig(16, 1, 1))
    said = run(checkpoint, tmp_path / "x.pt", "--average", larger, 0.5)
    assert said.startswith("1 ")
    assert "cannot be averaged" in said


def test_a_checkpoint_can_be_stored_without_its_trainer(checkpoint: Path, tmp_path: Path) -> None:
    """A .pt file has the weights, bit for bit, and their kind, and nothing that only a resumed run needs."""
    target = tmp_path / "kept.pt"
    assert run(checkpoint, target).startswith("0 ")
    before, after = load_checkpoint(checkpoint), load_checkpoint(target)
    assert (after.layout, after.weights, after.describe["step"]) == ("mirnet-deploy", "ema", 7)
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(after.network.state_dict()[name], tensor)
    assert target.stat().st_size < checkpoint.stat().st_size

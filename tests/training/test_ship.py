"""Weights to ship: a trunk that never saw the held-out pairs, and two ends of it that differ only in their pairs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from mirnet_deploy.cli import main
from mirnet_deploy.training.checkpoint import load_checkpoint, save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet

SIZES = "--trunk-crop 16 --trunk-batch 2 --crop 16 --batch 4 --precision fp32 --device cpu --validate-limit 1".split()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny network, to start from."""
    torch.manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MIRNet(MIRNetConfig(8, 1, 1))
    torch.nn.init.zeros_(network.conv_out.weight)  # gives the pictures back unchanged
    path: Path = tmp_path_factory.mktemp("start") / "tiny.pt"
    save_checkpoint(path, {"config": network.config.to_dict(), "network": network.state_dict()})
    return path


def run(data: Path, output: Path, start: Path, *more: str) -> Any:
    arguments = [str(data), "-o", str(output), "--init", str(start), "--minutes", "0.15", *SIZES, *more]
    return CliRunner().invoke(main, ["ship", *arguments])


@pytest.fixture(scope="module")
def shipped(lol_folder: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder: Path = tmp_path_factory.mktemp("ship")
    result = run(lol_folder, folder, start, "--lr", "0.00001", "--sharing", "0.5")
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_both_ends_start_from_the_trunk_and_differ_in_their_pairs(shipped: tuple[Path, str]) -> None:
    folder, output = shipped
    contents = {
        name: torch.load(folder / name / "last.pt", weights_only=True)["training"]["settings"]
        for name in ("trunk", "holdout", "all")
    }
    assert contents["trunk"]["data"] == contents["holdout"]["data"]
    assert contents["all"]["data"].startswith("7 pairs")
    for name in ("recipe", "steps", "seed", "network", "precision"):
        assert contents["holdout"][name] == contents["all"][name], name
    assert [contents[name]["recipe"]["sharing"] for name in ("trunk", "all")] == [0, 0.5]
    assert contents["trunk"]["recipe"]["decay"] == 0
    assert contents["all"]["recipe"]["decay"] == 1
    assert f"annealing: {contents['all']['steps']} steps each" in output
    assert "trunk: GT-mean PSNR" in output


def test_the_result_can_be_stored_as_any_checkpoint(shipped: tuple[Path, str], tmp_path: Path) -> None:
    target = tmp_path / "tiny.safetensors"
    result = CliRunner().invoke(main, ["weights", str(shipped[0] / "all" / "last.pt"), str(target), "--int8"])
    assert result.exit_code == 0, result.output
    assert load_checkpoint(target).describe["recipe"].startswith("ship, all: aligned with sharing 0.5, lr 1e-05,")


def test_a_trunk_that_diverged_is_refused(lol_folder: Path, start: Path, tmp_path: Path) -> None:
    result = run(lol_folder, tmp_path, start, "--lr", "30")
    assert result.exit_code == 1
    assert "diverged" in result.output or "not finite" in result.output
    assert not (tmp_path / "holdout").exists()


def test_nothing_is_overwritten(shipped: tuple[Path, str], lol_folder: Path, start: Path) -> None:
    result = run(lol_folder, shipped[0], start)
    assert result.exit_code == 2
    assert "holds a run already" in result.output


def test_a_size_and_a_start_exclude_each_other(lol_folder: Path, start: Path, tmp_path: Path) -> None:
    result = run(lol_folder, tmp_path, start, "--preset", "lite")
    assert (result.exit_code, result.output) == (2, "error: expected either --preset or --init\n")


def test_too_few_minutes_are_one_line_of_error(lol_folder: Path, start: Path, tmp_path: Path) -> None:
    result = run(lol_folder, tmp_path, start, "--minutes", "0.0001")
    assert result.exit_code == 1
    assert "no time for two steps; expected more than 0.0001 minutes" in result.output


@pytest.mark.parametrize("command", ["train", "ship"])
@pytest.mark.parametrize("module", ["tensorboard", "matplotlib", "skimage"])
def test_a_library_that_is_needed_later_is_missed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    options = ["--minutes", "1", "--preset", "lite"] if command == "ship" else []
    result = CliRunner().invoke(main, [command, str(tmp_path), "-o", str(tmp_path / "run"), *options])
    assert result.exit_code == 1
    assert result.output == f'error: training needs {module}: pip install "mirnet-deploy[train]"\n'


@pytest.mark.parametrize("minutes", ["nan", "inf", "1e400", "0", "-1"])
@pytest.mark.parametrize("command", ["train --max-minutes", "ship --minutes"])
def test_a_time_limit_is_a_finite_number(tmp_path: Path, command: str, minutes: str) -> None:
    words = [*command.split(), minutes, "-o", str(tmp_path / "run"), str(tmp_path)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "minutes" in result.output
    assert not (tmp_path / "run").exists()

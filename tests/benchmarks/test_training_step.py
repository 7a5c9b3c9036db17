"""The benchmark of a training step, on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from mirnet_deploy.artifacts.version import running_commit
from mirnet_deploy.cli import main


def test_ways_are_compared_with_the_first(tmp_path: Path) -> None:
    target = tmp_path / "step.json"
    options = "--preset lite --batch 1 --crop 16 --runs 2 --precision fp32 --device cpu --ways launched,captured"
    result = CliRunner().invoke(main, ["bench", "training-step", *options.split(), "--json", str(target)])
    assert result.exit_code == 0, result.output
    report = json.loads(target.read_text())
    assert (report["device"], report["preset"], report["crop"]) == ("cpu", "lite", 16)
    assert (report["commit"], report["machine"]["cores"] >= 1) == (running_commit(), True)
    assert [way["name"] for way in report["ways"]] == ["launched", "captured"]
    assert all(way["milliseconds"] > 0 and way["peak_gib"] is None for way in report["ways"])
    assert "launched:" in result.output
    assert "1.00 times" in result.output


def test_a_device_that_is_not_there_is_one_line_of_error() -> None:
    result = CliRunner().invoke(main, ["bench", "training-step", "--device", "cuda:9"])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1


def test_the_figures_can_go_to_standard_output() -> None:
    options = "--batch 1 --crop 16 --runs 1 --precision fp32 --device cpu --ways launched --json -"
    result = CliRunner().invoke(main, ["bench", "training-step", *options.split()])
    assert json.loads(result.stdout)["crop"] == 16
    assert "launched:" in result.stderr

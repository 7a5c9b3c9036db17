"""A run that is killed at any moment and resumed gives the result of an unbroken run, bit for bit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import KILLS, PACE, TINY, train

MIXED = ["--mixup", "0.5", "--synthetic", "0.5", "--lamps", "0.5"]


def tensors_of(value: Any, name: str = "") -> dict[str, Any]:
    """Every tensor and number of a checkpoint by its path, without the times."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {name: value}
    parts = [tensors_of(part, f"{name}/{key}") for key, part in items if key not in ("seconds", "minutes")]
    return {key: part for found in parts for key, part in found.items()}


def assert_same_run(left: Path, right: Path) -> None:
    a, b = (tensors_of(torch.load(folder / "last.pt", weights_only=True)) for folder in (left, right))
    assert a.keys() == b.keys()
    for name, value in a.items():
        same = torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name]
        assert same, name
    assert (left / "log.csv").read_bytes() == (right / "log.csv").read_bytes()


@pytest.fixture(scope="module")
def unbroken(request: pytest.FixtureRequest, lol_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param)
    arguments = [str(lol_folder), "-o", str(folder), "--recipe", request.param, *TINY, *PACE, *MIXED]
    code, output = train(*arguments)
    assert code == 0, output
    return folder


CASES = [("aligned", kill) for kill in KILLS]
CASES += [("plateau", kill) for kill in ("between two checkpoints", "between a row and its checkpoint")]
"""A recipe and the moment of a death. What "plateau" keeps besides is of its validations."""


@pytest.mark.parametrize(("unbroken", "kill"), CASES, indirect=["unbroken"])
def test_a_killed_run_resumes_bit_for_bit(unbroken: Path, lol_folder: Path, tmp_path: Path, kill: str) -> None:
    recipe = ["--recipe", "plateau" if "plateau" in unbroken.name else "aligned"]
    start = [str(lol_folder), "-o", str(tmp_path), *recipe, *TINY, *PACE, *MIXED]
    assert train(*start, kill=kill)[0] == -9
    if (tmp_path / "last.pt").exists():
        code, output = train(str(lol_folder), "-o", str(tmp_path), "--resume", "--threads", "1")
    else:
        code, output = train(*start)  # it was killed before there was anything to resume
    assert code == 0, output
    assert_same_run(unbroken, tmp_path)
    assert not list(tmp_path.glob(".*.partial")), "the half-written file of the killed run is still there"


@pytest.mark.parametrize("unbroken", ["aligned"], indirect=True)
def test_a_run_resumed_twice_gives_the_result_of_an_unbroken_one(
    unbroken: Path, lol_folder: Path, tmp_path: Path
) -> None:
    recipe = ["--recipe", "plateau" if "plateau" in unbroken.name else "aligned"]
    start = [str(lol_folder), "-o", str(tmp_path), *recipe, *TINY, *PACE, *MIXED]
    resume = [str(lol_folder), "-o", str(tmp_path), "--resume", "--threads", "1"]
    assert train(*start, kill="between two checkpoints")[0] == -9
    assert train(*resume, kill="in the last step")[0] == -9
    code, output = train(*resume)
    assert code == 0, output
    assert_same_run(unbroken, tmp_path)


@pytest.mark.parametrize("unbroken", ["aligned"], indirect=True)
def test_a_run_that_max_minutes_ended_can_be_resumed(unbroken: Path, lol_folder: Path, tmp_path: Path) -> None:
    recipe = ["--recipe", "plateau" if "plateau" in unbroken.name else "aligned"]
    start = [str(lol_folder), "-o", str(tmp_path), *recipe, *TINY, *PACE, *MIXED]
    code, output = train(*start, "--max-minutes", "0.0001")
    assert code == 0, output
    assert re.search(r"stopped at step [0-5] of 10", output)
    code, output = train(str(lol_folder), "-o", str(tmp_path), "--resume", "--threads", "1")
    assert code == 0, output
    assert_same_run(unbroken, tmp_path)


def test_a_run_that_a_signal_stopped_is_saved_and_says_so(lol_folder: Path, tmp_path: Path) -> None:
    code, said = train(str(lol_folder), "-o", str(tmp_path), *TINY, *PACE, kill="SIGTERM")
    assert code == 143, said
    assert "stopped at step 5 of 10; the same command with --resume goes on" in said
    assert 5 in tensors_of(torch.load(tmp_path / "last.pt", weights_only=True)).values()

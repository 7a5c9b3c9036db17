"""The suite for a borrowed GPU, rehearsed on a CPU: each step, and that what it leaves is complete."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "build" / "stand_in"
CPU = {"DEVICE": "cpu", "SIZES": "48x32", "RUNS": "1", "WARMUP": "0", "BATCH": "1", "CROP": "16"}


def suite(out: Path, *steps: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "benchmarks/gpu_suite.sh"), str(out), *steps]
    return subprocess.run(command, env=os.environ | CPU | environment, capture_output=True, text=True, check=False)


def test_the_tests_leave_a_line_each(tmp_path: Path) -> None:
    done = suite(tmp_path, "tests", TESTS_MARKED="not gpu", TESTS_IN="tests/mirnet_deploy/test_errors.py")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "tests.jsonl").read_text().splitlines()]
    assert len(lines[0]["collected"]) == len(lines) - 1 >= 2
    assert (tmp_path / "tests-summary.txt").read_text() == f"{len(lines) - 1} passed\n"


def test_a_step_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    done = suite(tmp_path, "benches")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no step benches; expected setup")


def test_what_the_budget_does_not_reach_is_named(tmp_path: Path) -> None:
    done = suite(tmp_path, "aborts", "tests", "training", "bench", BUDGET="0")
    assert done.returncode == 0, done.stdout + done.stderr
    names = done.stderr.strip().removeprefix("not reached in 0 s: ").split()
    assert names[:4] == ["aborts.json", "aborts-before", "tests", "tests-memory"]
    assert names[4:8] == ["training-lite", "training-base", "training-paper", "export-lite"]
    assert names[-2:] == ["bench-lite-torch", "ort-cuda-lite"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_the_benchmarks_and_the_training_leave_figures(tmp_path: Path) -> None:
    done = suite(tmp_path, "bench", "training", BENCH="60")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("bench-lite", "bench-lite-torch"):
        report = json.loads((tmp_path / f"{name}.json").read_text())
        assert report["ended"] == "whole"
        assert all(row["p50_ms"] for row in report["latency"])
    assert all(row["failure"] is None for row in json.loads((tmp_path / "ort-cuda.json").read_text())["rows"])
    for preset in ("lite", "base", "paper"):
        assert json.loads((tmp_path / f"training-{preset}.json").read_text())["preset"] == preset


@pytest.mark.stand_in
def test_the_abort_experiments_tell_the_two_ways_apart(tmp_path: Path) -> None:
    if not STAND_IN.is_dir():
        pytest.skip("there is no stand-in for CUDA; make it with `python tests/stand_in/build.py`")
    paths = {"LD_LIBRARY_PATH": f"{STAND_IN}/libraries", "PYTHONPATH": f"{STAND_IN}/packages"}
    paths["STAND_IN_DELAY_US"] = "20000"  # of host functions: the abort is a race without
    done = suite(tmp_path, "aborts", **paths)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "aborts.json").read_text())["closed"] == 12
    assert "with the fusion: ended with 134" in done.stdout
    assert "terminate called" in (tmp_path / "aborts-before.log").read_text()

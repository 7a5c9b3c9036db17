"""`bench cluster`: which commands are timed, and what their times come to."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from mirnet_deploy.benchmarks import cluster
from mirnet_deploy.benchmarks.cluster import Work, measure_cluster
from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.cli import main
from mirnet_deploy.errors import MirnetDeployError

WORK = Work("lite", Size(24, 16), 2, 6, 2, 2, ("--backend", "onnxruntime"))


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of the commands that were started. A command copies its pictures; plain takes 3 s and 1 s a picture,
    a cluster 10 s and 2 s, in the clock's time."""
    started: list[list[str]] = []
    clock = SimpleNamespace(now=0.0)

    def run(words: list[str], **_: Any) -> Any:
        started.append(words[3:])
        source, out = Path(words[4]), Path(words[6])
        out.mkdir()
        for path in source.iterdir():
            (out / path.name).write_bytes(path.read_bytes() + b"x" * ("--ray" in words and path.name == "0001.png"))
        count = len(list(source.iterdir()))
        clock.now += 10 + 2 * count if "--ray" in words else 3 + count
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return started


def test_the_start_is_told_from_the_steady_rate(commands: list[list[str]]) -> None:
    steps: list[int] = []
    figures = measure_cluster(WORK, lambda: steps.append(1))
    assert len(steps) == len(commands) == 8
    assert figures["pictures_per_second"] == {"plain": 1.0, "cluster": 0.5}
    assert figures["start_seconds"] == {"plain": 3.0, "cluster": 10.0}
    assert (figures["ratio"], figures["ratios"]) == (0.5, [0.5, 0.5])
    assert figures["equal"] == "5 of 6"
    assert json.loads(json.dumps(figures)) == figures
    ends = [words[4:] for words in commands[:2]]
    both = ["--model", "lite", "--backend", "onnxruntime", "--threads"]
    assert ends == [[*both, "2"], [*both, "1", "--actors", "2", "--ray", "local"]]


def test_commands_that_fail_or_do_not_take_longer_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "a\nerror: no such thing\n")
    monkeypatch.setattr(subprocess, "run", lambda words, **_: failed)
    with pytest.raises(MirnetDeployError, match=r"^plain failed: error: no such thing$"):
        measure_cluster(WORK, lambda: None)
    monkeypatch.setattr(cluster, "_run", lambda *_: 3.0)
    with pytest.raises(MirnetDeployError, match="many pictures took no longer than few"):
        measure_cluster(WORK, lambda: None)


def test_many_pictures_must_be_more() -> None:
    result = CliRunner().invoke(main, ["bench", "cluster", "--few", "4", "--many", "4"])
    assert result.exit_code == 2
    assert result.stderr == "error: --many is 4 and --few 4; expected more of the former\n"

"""Peak memory: a process of its own tells what it took, and one that dies is a line."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from mirnet_deploy.benchmarks import memory
from mirnet_deploy.benchmarks.latency import Size
from mirnet_deploy.benchmarks.subjects import SubjectSpec

SIZE = Size(32, 24)

CHILD = """
import numpy, sys
from mirnet_deploy.benchmarks.memory import peak_rss_mib
before = peak_rss_mib()
block = numpy.ones(200 << 20, numpy.uint8)
held = peak_rss_mib()
del block
print(before, held, peak_rss_mib())
"""


def test_the_peak_is_of_the_process_and_does_not_fall() -> None:
    ballast = np.ones(300 << 20, np.uint8)  # a parent's memory must not count
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    del ballast
    before, held, after = map(float, done.stdout.split())
    assert before < 250
    assert 195 < held - before < 230
    assert after >= held


def test_an_engine_that_cannot_be_opened_is_a_line() -> None:
    peak = memory.probe(SubjectSpec("no-such-model.onnx"), SIZE)
    assert peak.peak_rss_mib is None
    assert peak.failure is not None
    assert "no-such-model.onnx" in peak.failure
    assert "\n" not in peak.failure


def finished(returncode: int, stdout: str = "", stderr: str = "") -> Any:
    return lambda *_, **__: subprocess.CompletedProcess([], returncode, stdout, stderr)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (finished(-9), "killed by signal 9 (out of memory?)"),
        (finished(1, stderr="Traceback\nImportError: no such library"), "ended with 1: ImportError: no such library"),
        (finished(0, stdout="noise of a library\n"), "ended with 0: no output"),
    ],
)
def test_a_process_that_dies_is_a_line(monkeypatch: pytest.MonkeyPatch, outcome: Any, expected: str) -> None:
    monkeypatch.setattr(memory.subprocess, "run", outcome)
    assert expected in (memory.probe(SubjectSpec("lite"), SIZE).failure or "")

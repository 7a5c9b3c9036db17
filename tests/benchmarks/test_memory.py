"""Peak memory: a separate process reports what it took, and one that dies becomes one line."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pynvml
import pytest

from mirnet_deploy.benchmarks import memory
from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.subjects.base import SubjectSpec

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


def test_the_peak_is_that_of_one_process_and_does_not_fall() -> None:
    ballast = np.ones(300 << 20, np.uint8)  # memory of the parent, which must not count
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    del ballast
    before, held, after = map(float, done.stdout.split())
    assert before < 250
    assert 195 < held - before < 230
    assert after >= held - 1  # Linux counts resident pages in batches per core: exact to a few hundred KiB


def test_an_engine_that_cannot_be_opened_is_one_line() -> None:
    peak = memory.probe(SubjectSpec("no-such-model.onnx"), SIZE, None)
    assert peak.peak_rss_mib is None
    assert peak.failure is not None
    assert "no-such-model.onnx" in peak.failure
    assert "\n" not in peak.failure


class Opened:
    """A subject on a device that fills the GPU's memory while it works."""

    def __init__(self, device: str, gpu: Gpu) -> None:
        self.report, self.gpu = SimpleNamespace(device=device), gpu

    def enhance(self, image: np.ndarray) -> np.ndarray:
        self.gpu.bytes += 50 << 20
        return image

    def __enter__(self) -> Opened:
        self.gpu.bytes += 100 << 20
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.05)  # the watcher looks every 5 ms
        self.gpu.bytes = 300 << 20


class Gpu:
    """Stands in for NVML."""

    bytes = 300 << 20

    def used(self) -> int:
        return self.bytes


@pytest.mark.parametrize(("device", "expected"), [("cuda:0", 200.0), ("cpu", None)])
def test_gpu_memory_is_the_highest_rise_of_the_device(
    monkeypatch: pytest.MonkeyPatch, device: str, expected: float | None
) -> None:
    gpu = Gpu()
    monkeypatch.setattr(memory, "GpuMemory", lambda: gpu)
    monkeypatch.setattr(memory, "open_subject", lambda _: Opened(device, gpu))
    peak = memory.measure_here(SubjectSpec("lite"), SIZE, time.monotonic() - 5)
    assert peak.failure is None
    assert peak.peak_gpu_mib == expected
    assert peak.peak_rss_mib is not None
    assert peak.peak_rss_mib >= psutil.Process().memory_info().rss / 2**21, "of this very process"


def test_without_nvml_there_is_no_gpu_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(memory, "GpuMemory", absent)
    monkeypatch.setattr(memory, "open_subject", lambda _: Opened("cuda:0", Gpu()))
    peak = memory.measure_here(SubjectSpec("lite"), SIZE, time.monotonic() - 5)
    assert (peak.failure, peak.peak_gpu_mib) == (None, None)


def finished(returncode: int, stdout: str = "", stderr: str = "") -> Any:
    return lambda *_, **__: subprocess.CompletedProcess([], returncode, stdout, stderr)


def out_of_time(*_: Any, **__: Any) -> Any:
    raise subprocess.TimeoutExpired([], 1)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (finished(-9), "killed by signal 9 (out of memory?)"),
        (finished(1, stderr="Traceback\nImportError: no such library"), "ended with 1: ImportError: no such library"),
        (finished(0, stdout="noise of a library\n"), "ended with 0: no output"),
        (out_of_time, "its memory was not measured: the time was over"),
    ],
)
def test_a_process_that_dies_is_one_line(monkeypatch: pytest.MonkeyPatch, outcome: Any, expected: str) -> None:
    monkeypatch.setattr(subprocess, "run", outcome)
    assert expected in (memory.probe(SubjectSpec("lite"), SIZE, None).failure or "")

"""Peak memory and cold start of one engine at one size, measured in a process of its own.

Several engines in one process share its peak, and a peak never falls: only a process that loads one engine and
enhances one picture can say what that engine takes, and only a fresh process starts cold. The process is this module,
run with `python -m`. It also shields the measuring process: an engine that the kernel kills for its memory is only a
line in the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from mirnet_deploy.benchmarks.inputs import Size, one_line, sample_picture
from mirnet_deploy.benchmarks.subjects.base import SubjectSpec
from mirnet_deploy.benchmarks.subjects.opening import open_subject
from mirnet_deploy.errors import MissingDependencyError
from mirnet_deploy.settings import RuntimeSettings

MIB = 1 << 20
OUT_OF_TIME = "its memory was not measured: the time was over"


@dataclass(frozen=True)
class PeakMemory:
    """What a process that opened one engine and enhanced one picture twice took; no figures where `failure` is set."""

    peak_rss_mib: float | None = None
    peak_gpu_mib: float | None = None
    """Rise of the memory in use on all GPUs; None for engines on the CPU, and without NVML."""
    failure: str | None = None
    cold_start_s: float | None = None
    """From the start of the process to its first result: imports, opening, compiling and the first picture."""


def probe(spec: SubjectSpec, size: Size, seconds: float | None) -> PeakMemory:
    """Measures `spec` at `size` in a new process and waits for it, for so many seconds at most."""
    # monotonic() is one clock for all processes of a machine.
    request = json.dumps({"spec": asdict(spec), "size": str(size), "started": time.monotonic()})
    limit = None if seconds is None else min(seconds, 86_400.0)  # more than the system's clocks may overflow them
    # -P: the working directory must not shadow the installed package.
    command = [sys.executable, "-P", "-m", "mirnet_deploy.benchmarks.memory"]
    try:
        done = subprocess.run(command, input=request, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return PeakMemory(failure=OUT_OF_TIME)
    if done.returncode < 0:
        return PeakMemory(failure=f"the process was killed by signal {-done.returncode} (out of memory?)")
    try:
        return PeakMemory(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return PeakMemory(failure=f"the memory process ended with {done.returncode}: {last[:200]}")


def peak_rss_mib() -> float:
    """Largest resident set of this process so far, in MiB.

    Raises:
        MissingDependencyError: psutil is not installed (Windows only).
    """
    if sys.platform == "linux":
        # Not getrusage: its ru_maxrss survives exec and would report the parent's peak.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        try:
            import psutil
        except ImportError as error:
            raise MissingDependencyError('peak memory needs psutil: pip install "mirnet-deploy[bench]"') from error
        return float(psutil.Process().memory_info().peak_wset) / MIB
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


class GpuMemory:
    """Memory in use on all NVIDIA GPUs together, from NVML, which makes no CUDA context.

    Raises:
        pynvml.NVMLError: there is no driver, or it does not tell.
    """

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]

    def used(self) -> int:
        """Bytes in use on all devices."""
        return sum(int(self._nvml.nvmlDeviceGetMemoryInfo(device).used) for device in self._devices)


class _GpuRise:
    """Watches the memory in use on the GPUs every 5 ms while its block runs; `mib` is None where there is no NVML.

    What other processes allocate meanwhile counts as well: in containers NVML has no figures by process.
    """

    def __init__(self) -> None:
        import pynvml

        self._peak = self._before = 0
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        try:
            self._gpu: GpuMemory | None = GpuMemory()
            self._peak = self._before = self._gpu.used()
        except pynvml.NVMLError:
            self._gpu = None

    @property
    def mib(self) -> float | None:
        """Highest rise so far in MiB."""
        return None if self._gpu is None else (self._peak - self._before) / MIB

    def _watch(self) -> None:
        while self._gpu is not None and not self._stop.wait(0.005):
            self._peak = max(self._peak, self._gpu.used())

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watcher.join()


def measure_here(spec: SubjectSpec, size: Size, started: float) -> PeakMemory:
    """Opens the engine in this process, enhances one picture twice, and returns the peaks of the process.

    Args:
        started: the reading of `time.monotonic` from which the cold start counts.
    """
    try:
        with _GpuRise() as gpu, open_subject(spec) as subject:
            image = sample_picture(size)
            subject.enhance(image)
            cold_start = time.monotonic() - started
            subject.enhance(image)  # some libraries allocate their workspace in the second run
            on_gpu = subject.report.device.startswith("cuda")
            rss = peak_rss_mib()
    except Exception as error:  # reported to the parent in one line
        return PeakMemory(failure=one_line(error))
    return PeakMemory(rss, gpu.mib if on_gpu else None, cold_start_s=cold_start)


def _main() -> None:
    request: dict[str, Any] = json.load(sys.stdin)
    spec = SubjectSpec(request["spec"]["engine"], RuntimeSettings(**request["spec"]["settings"]))
    peak = measure_here(spec, Size.parse(request["size"]), request["started"])
    sys.stdout.write("\n" + json.dumps(asdict(peak)) + "\n")


if __name__ == "__main__":
    _main()

"""What else used the machine while engines were timed, and whether its clocks were held back.

Everything is read between runs, never during one: counters before the first run and after the last, clocks after a run
and at most every 0.2 s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

from mirnet_deploy.benchmarks.gpu_clocks import GpuClocks
from mirnet_deploy.machine import control_groups, lines_of

EVERY_S = 0.2
"""Between two readings of the clocks, at least."""
SHORTEST_S = 0.5
"""Runs together, without which there is no share of other processes: the kernel counts in hundredths of a second."""
MOST_OTHERS = 0.05
"""Share of other processes from which on there is a remark."""
MOST_CHANGE = 0.1
"""Of a clock, as a share of its median, from which on there is a remark."""
Range = tuple[float, float, float]
"""Least, median and most."""


@dataclass(frozen=True)
class Conditions:
    """What is known of the machine during the timed runs and their warm-ups; None where it cannot be read here."""

    cpu_mhz: Range | None
    """Of the fastest of the processors that this process may use."""
    other_cpu_share: float | None
    """Of the time of the processors that this process may use, the share that went to other processes or, in a virtual
    machine, to other machines: 0 to 1."""
    load_before: float | None
    """Load average of the last minute, before the first run."""
    throttled: bool | None
    """Whether the limit of the control group or the heat of a processor or GPU held it back."""
    gpu: Mapping[str, Any] | None
    """See `GpuClocks.found`; None without an engine on a GPU."""
    remarks: list[str]
    """What makes the figures less sure."""


class _Counters(NamedTuple):
    """What the system has counted so far."""

    busy_s: float
    """Of the processors that this process may use."""
    all_s: float
    """The same with their idle time."""
    own_s: float
    """Of this process and of its children that have ended."""
    throttled: int | None


class Watch:
    """Reads the conditions around blocks of timed runs: `with watch: …`, and in it `watch.look()` between the runs.

    Args:
        device: where the engines run; "cuda:N" for a GPU.
        root: where /proc and /sys lie.
    """

    def __init__(self, device: str, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._gpu = GpuClocks.of(device)
        self._mhz: list[float] = []
        self._looked = self._begun = -EVERY_S
        self._before: _Counters | None = None
        self._busy = self._all = self._own = 0.0
        self._throttled: int | None = None

    def __enter__(self) -> Self:
        self._before = self._counters()
        return self

    def __exit__(self, *_: object) -> None:
        before, after = self._before, self._counters()
        if before and after:
            self._busy += after.busy_s - before.busy_s
            self._all += after.all_s - before.all_s
            self._own += after.own_s - before.own_s
            if before.throttled is not None and after.throttled is not None:
                self._throttled = (self._throttled or 0) + after.throttled - before.throttled

    def look(self) -> None:
        """Reads the clocks, unless they were read just now."""
        if self._clock() - self._looked < EVERY_S:
            return
        self._looked = self._clock()
        if fastest := max(self._clocks(), default=0.0):
            self._mhz.append(fastest)
        if self._gpu:
            self._gpu.look()

    def found(self) -> Conditions:
        """What was read so far."""
        processors = max(1, len(_processors()))
        share = None
        if self._all >= SHORTEST_S * processors:
            share = min(1.0, max(0.0, (self._busy - self._own) / self._all))
        gpu = self._gpu.found() if self._gpu else None
        limits = [None if self._throttled is None else self._throttled > 0]
        if gpu:
            limits.append(bool(gpu["held_back_by"]))
        known = [each for each in limits if each is not None]
        mhz = spread(self._mhz)
        remarks = _remarks(mhz, share, self._throttled, gpu)
        return Conditions(mhz, share, self._load, any(known) if known else None, gpu, remarks)

    def _clocks(self) -> list[float]:
        """MHz of the processors that this process may use; none where the system does not tell."""
        found, usable, number = [], _processors(), -1
        for line in lines_of(self._root / "proc/cpuinfo"):
            key, _, value = line.partition(":")
            if key.strip() == "processor":
                number = int(value)
            elif key.strip() == "cpu MHz" and number in usable:
                found.append(float(value))
        return found

    def _counters(self) -> _Counters | None:
        """None where the system does not tell."""
        usable = {f"cpu{number}" for number in _processors()}
        busy = idle = 0
        for line in lines_of(self._root / "proc/stat"):
            name, *values = line.split()
            if name in usable:
                # user nice system idle iowait irq softirq steal; guests are counted in user (man 5 proc_stat).
                times = [int(value) for value in values[:8]]
                idle += times[3] + times[4]
                busy += sum(times) - times[3] - times[4]
        if not busy + idle:
            return None
        tick = os.sysconf("SC_CLK_TCK")
        return _Counters(busy / tick, (busy + idle) / tick, sum(os.times()[:4]), self._throttle_count())

    def _throttle_count(self) -> int | None:
        """How often processors were held back so far: by the quota of this process's control groups (of version 2 or 1)
        and by heat. None where no count can be read."""
        counts = []
        for group in control_groups("cpu", self._root):
            lines = dict(line.split() for line in lines_of(group / "cpu.stat"))
            if "nr_throttled" in lines:
                counts.append(int(lines["nr_throttled"]))
        for path in self._root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"):
            counts += [int(line) for line in lines_of(path)]
        return sum(counts) if counts else None


def spread(values: list[float]) -> Range | None:
    """Least, median and most; None of nothing.

    >>> spread([2600, 2400, 2500])
    (2400, 2500, 2600)
    """
    return (min(values), median(values), max(values)) if values else None


def _processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _remarks(
    mhz: Range | None, others: float | None, throttled: int | None, gpu: Mapping[str, Any] | None
) -> list[str]:
    remarks = []
    if others is not None and others > MOST_OTHERS:
        remarks.append(f"other processes took {others:.0%} of the processors' time while engines were timed")
    gpu_mhz = gpu["sm_mhz"] if gpu else None
    for name, clock in (("the processor's", mhz), ("the GPU's", gpu_mhz)):
        if clock and clock[2] - clock[0] > MOST_CHANGE * clock[1]:
            remarks.append(f"{name} clock changed while engines were timed: {clock[0]:.0f} to {clock[2]:.0f} MHz")
    if throttled:
        remarks.append("processors were held back while engines were timed, by a control group's quota or by heat")
    if gpu and gpu["held_back_by"]:
        remarks.append(f"the GPU was held back while engines were timed: {', '.join(gpu['held_back_by'])}")
    return remarks

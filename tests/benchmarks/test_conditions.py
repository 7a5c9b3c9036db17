"""What else used the machine: from files as Linux has them, and from a stand-in for NVML."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from mirnet_deploy.benchmarks import conditions
from mirnet_deploy.benchmarks.conditions import Conditions, Watch
from mirnet_deploy.benchmarks.cost_tables import conditions_line
from mirnet_deploy.benchmarks.gpu_clocks import GpuClocks, _handle

TICK = os.sysconf("SC_CLK_TCK")


class System:
    """/proc and /sys of a machine with four processors, of which this process may use two, and its clock."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.now, self.own = root, 0.0, 0.0
        monkeypatch.setattr(conditions, "_processors", lambda: {1, 2})
        monkeypatch.setattr(os, "times", lambda: (self.own, 0.0, 0.0, 0.0, self.now))
        monkeypatch.setattr(os, "getloadavg", lambda: (0.7, 5.0, 5.0))
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text("0::/a/b\n")
        (root / "sys/fs/cgroup/a/b").mkdir(parents=True)

    def clocks(self, *mhz: float) -> None:
        """Of the four processors."""
        blocks = (f"processor\t: {n}\nmodel name\t: X\ncpu MHz\t\t: {each}\n\n" for n, each in enumerate(mhz))
        (self.root / "proc/cpuinfo").write_text("".join(blocks))

    def seconds(self, user: float, idle: float, steal: float = 0, throttled: int = 0) -> None:
        """Counts of each of the two processors; of the others, and of fields that must not count, a hundredfold."""
        ticks = [round(TICK * each) for each in (user, idle, steal)]
        own = f"{ticks[0]} 0 0 {ticks[1]} 0 0 0 {ticks[2]} {ticks[0]} 0"
        other = f"{100 * ticks[0]} 0 0 0 0 0 0 0 0 0"
        lines = [f"cpu  {other}", f"cpu0 {other}", f"cpu1 {own}", f"cpu2 {own}", f"cpu3 {other}", "intr 1 2 3"]
        (self.root / "proc/stat").write_text("\n".join(lines))
        (self.root / "sys/fs/cgroup/a/cpu.stat").write_text(f"usage_usec 1\nnr_periods 9\nnr_throttled {throttled}\n")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    return System(tmp_path, monkeypatch)


def test_others_are_what_this_process_did_not_use_while_it_timed(system: System) -> None:
    watch = Watch("cpu", system.root, lambda: system.now)
    system.seconds(user=10, idle=10)
    with watch:
        system.own += 12
        system.seconds(user=17, idle=12, steal=1)  # of 2 x 10 s, busy 2 x 8, ours 12
    system.own += 50  # between the blocks nothing counts
    system.seconds(user=500, idle=12, steal=1)
    with watch:
        system.own += 4
        system.seconds(user=502, idle=20, steal=1)  # of 2 x 10 s, busy 2 x 2, ours 4
    found = watch.found()
    assert found.other_cpu_share == pytest.approx((16 - 12) / 40)
    assert (found.load_before, found.throttled, found.cpu_mhz, found.gpu) == (0.7, False, None, None)
    assert found.remarks == ["other processes took 10% of the processors' time while engines were timed"]
    line = conditions_line(found)
    assert "other processes 10%; load before 0.7; held back no" in line
    assert line.endswith("not to be read here, or too short a time: processor's clock")


def test_a_share_of_a_moment_is_not_told(system: System) -> None:
    watch = Watch("cpu", system.root, lambda: system.now)
    system.seconds(user=1, idle=1)
    with watch:
        system.seconds(user=1.3, idle=1.1)
    assert watch.found().other_cpu_share is None


def test_clocks_are_those_of_the_fastest_usable_processor_five_times_a_second(system: System) -> None:
    watch = Watch("cpu", system.root, lambda: system.now)
    for now, mhz in ((0.0, 3000), (0.1, 9999), (0.2, 2600), (0.39, 9999), (0.41, 2500)):
        system.now = now
        system.clocks(9000, mhz, 800, 9000)
        watch.look()
    found = watch.found()
    assert found.cpu_mhz == (2500, 2600, 3000)
    assert found.remarks == ["the processor's clock changed while engines were timed: 2500 to 3000 MHz"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_quota_that_was_reached_is_told(system: System, version: int) -> None:
    """Also that of a group around this process's own."""
    if version == 1:
        (system.root / "proc/self/cgroup").write_text("5:memory:/x\n4:cpu,cpuacct:/a\n0::/\n")
        (system.root / "sys/fs/cgroup/cpu").symlink_to(system.root / "sys/fs/cgroup")
    watch = Watch("cpu", system.root)
    system.seconds(user=1, idle=1, throttled=7)
    with watch:
        system.seconds(user=1, idle=9, throttled=9)
    found = watch.found()
    assert found.throttled is True
    assert found.remarks == [
        "processors were held back while engines were timed, by a control group's quota or by heat"
    ]


def test_what_cannot_be_read_is_none_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    watch = Watch("cpu", tmp_path)
    with watch:
        watch.look()
    found = watch.found()
    assert found == Conditions(None, None, None, None, None, [])
    assert conditions_line(found) == (
        "conditions: not to be read here, or too short a time: processor's clock, other processes, load before, "
        "held back"
    )


def test_this_machine_can_be_read() -> None:
    """Whatever it is, it tells what it used itself."""
    watch = Watch("cpu")
    with watch:
        watch.look()
    found = watch.found()
    assert found.cpu_mhz is None or 100 < found.cpu_mhz[1] < 10_000
    assert found.gpu is None


class Nvml:
    """Stands in for pynvml: one GPU whose clock falls, and which says why."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM

    def __init__(self) -> None:
        self.sm, self.reasons = [1980, 1980, 1500], [0x1 | 0x4, 0x2, 0x40]

    def nvmlDeviceGetClockInfo(self, device: object, kind: int) -> int:
        return self.sm.pop(0) if kind == self.NVML_CLOCK_SM else 2619

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, device: object) -> int:
        return self.reasons.pop(0)


def test_a_gpu_that_is_held_back_says_why(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GpuClocks, "of", lambda device: GpuClocks(Nvml(), object()))
    watch = Watch("cuda:0", system.root, lambda: system.now)
    for _ in range(3):
        watch.look()
        system.now += 1
    found = watch.found()
    assert found.gpu == {
        "sm_mhz": (1500, 1980, 1980),
        "memory_mhz": (2619, 2619, 2619),
        "held_back_by": ["software power cap", "hardware thermal slowdown"],
    }
    assert found.throttled is True
    assert found.remarks == [
        "the GPU's clock changed while engines were timed: 1500 to 1980 MHz",
        "the GPU was held back while engines were timed: software power cap, hardware thermal slowdown",
    ]


def test_the_names_of_reasons_are_nvmls() -> None:
    bits = {
        pynvml.nvmlClocksThrottleReasonSwPowerCap: "software power cap",
        pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
        pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "software thermal slowdown",
        pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "hardware thermal slowdown",
        pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "hardware power brake",
    }
    for bit, text in bits.items():
        nvml = Nvml()
        nvml.reasons = [bit]
        clocks = GpuClocks(nvml, object())
        clocks.look()
        assert clocks.found()["held_back_by"] == [text]


@pytest.mark.parametrize(
    ("visible", "asked"), [(None, ("index", 1)), ("3, 2", ("index", 2)), ("GPU-a,GPU-b", ("uuid", "GPU-b"))]
)
def test_the_gpu_is_cudas(monkeypatch: pytest.MonkeyPatch, visible: str | None, asked: tuple[str, object]) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = SimpleNamespace(
        nvmlDeviceGetHandleByIndex=lambda index: ("index", index), nvmlDeviceGetHandleByUUID=lambda name: ("uuid", name)
    )
    assert _handle(nvml, 1) == asked
    assert GpuClocks.of("cpu") is None

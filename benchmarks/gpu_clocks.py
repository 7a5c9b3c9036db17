"""The clocks of an NVIDIA GPU while engines are timed, and what holds them back, from NVML."""

from __future__ import annotations

import os
from statistics import median
from typing import Any, Self

REASONS = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""Bit of nvmlDeviceGetCurrentClocksThrottleReasons -> what it means (nvml.h). Idleness and clocks that somebody chose
are not among them."""


class GpuClocks:
    """Clocks and reasons of one GPU, as often as it is looked at.

    Args:
        nvml: the module `pynvml`, initialized.
        device: NVML's handle.
    """

    def __init__(self, nvml: Any, device: Any) -> None:
        self._nvml, self._device = nvml, device
        self._sm: list[float] = []
        self._memory: list[float] = []
        self._reasons = 0

    @classmethod
    def of(cls, device: str) -> Self | None:
        """Of "cuda:N"; None for a CPU, and where NVML cannot be asked."""
        if not device.startswith("cuda"):
            return None
        import pynvml

        try:
            pynvml.nvmlInit()
            return cls(pynvml, _handle(pynvml, int(device.partition(":")[2] or 0)))
        except (pynvml.NVMLError, ValueError, IndexError):
            return None

    def look(self) -> None:
        """Reads clocks and reasons."""
        nvml, device = self._nvml, self._device
        try:
            self._sm.append(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM))
            self._memory.append(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM))
            self._reasons |= nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)
        except nvml.NVMLError:
            pass  # not every GPU tells: what it did tell is kept

    def found(self) -> dict[str, Any]:
        """`sm_mhz` and `memory_mhz`, each least, median and most, or None; `held_back_by`, the texts of `REASONS`."""
        sm, memory = ((min(each), median(each), max(each)) if each else None for each in (self._sm, self._memory))
        reasons = [text for bit, text in REASONS.items() if self._reasons & bit]
        return {"sm_mhz": sm, "memory_mhz": memory, "held_back_by": reasons}


def _handle(nvml: Any, index: int) -> Any:
    """NVML's handle of CUDA's device `index`: NVML counts all GPUs, CUDA those of CUDA_VISIBLE_DEVICES.

    Raises:
        NVMLError, ValueError, IndexError: there is none, or the variable names GPUs in a way of its own.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = str(index) if visible is None else visible.split(",")[index].strip()
    if name.startswith("GPU-"):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    return nvml.nvmlDeviceGetHandleByIndex(int(name))

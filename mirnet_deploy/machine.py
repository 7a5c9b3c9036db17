"""What this machine has: processor, memory, GPUs and installed libraries. Imports neither torch nor TensorRT."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ORT_WHEELS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
"""Distributions that all install the same package, `onnxruntime`."""
TENSORRT_WHEELS = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx"),
}
"""Flavour -> the distributions that bring it; the one that users install comes first."""
TENSORRT_MODULES = {"tensorrt": ("tensorrt",), "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
"""Flavour -> its import names, best first."""
_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR. Source: cuda.h."""
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""Of a processor that computes in bfloat16."""
INSTRUCTIONS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AMX": ("amx_tile",),
    "bf16": BF16_FLAGS,
}
"""Set of vector instructions -> the flags each of which says that a processor has it."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU, as its driver describes it."""

    name: str
    memory_mib: int
    driver: str
    compute_capability: str


@dataclass(frozen=True)
class Machine:
    """This machine; a version is None where the library is not installed."""

    python: str
    os: str
    cpu: str
    cores: int
    """Logical processors that this process may use."""
    bf16: bool | None
    """Whether the processor computes in bfloat16; None where unknown."""
    memory_bytes: int | None
    gpus: tuple[Gpu, ...]
    onnxruntime: dict[str, str]
    """Distribution of `ORT_WHEELS` -> version. Where there are two, they have overwritten each other's files."""
    providers: tuple[str, ...]
    """Execution providers in the installed ONNX Runtime; () where it is missing or broken."""
    openvino: str | None
    tensorrt: dict[str, str]
    """Flavour (`tensorrt`, `tensorrt_rtx`) -> version."""
    pycuda: str | None
    torch: str | None
    onnx: str | None
    instructions: tuple[str, ...] | None = None
    """Those of `INSTRUCTIONS` that the processor has; None where unknown."""
    family: str | None = None
    """The processor's maker and family, such as "AuthenticAMD 25"; None where unknown."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for reports and JSON."""
        return asdict(self)


def describe_machine() -> Machine:
    """Describes this machine. Takes a fraction of a second, most of it for NVML and for importing ONNX Runtime."""
    processor = describe_processor()
    has = processor["instructions"]
    return Machine(
        python=platform.python_version(),
        os=platform.platform(terse=True),
        cpu=processor["name"],
        cores=processor["cores"],
        bf16=None if has is None else "bf16" in has,
        memory_bytes=_memory(),
        gpus=_gpus(),
        onnxruntime={name: found for name in ORT_WHEELS if (found := _version(name))},
        providers=_providers(),
        openvino=_version("openvino"),
        tensorrt=_tensorrt(),
        pycuda=_version("pycuda"),
        torch=_version("torch"),
        onnx=_version("onnx"),
        instructions=None if has is None else tuple(has),
        family=processor["family"],
    )


def cuda_devices() -> tuple[str, ...]:
    """Names of the GPUs that CUDA offers to this process, as the driver reports them; () without a driver."""
    return tuple(name for name, _ in _cuda())


def cuda_capabilities() -> tuple[str, ...]:
    """Compute capabilities of `cuda_devices`, in the same order, such as "sm89"."""
    return tuple(capability for _, capability in _cuda())


@cache
def _cuda() -> tuple[tuple[str, str], ...]:
    """Name and compute capability of every GPU that CUDA offers to this process.

    NVML would not do: it ignores `CUDA_VISIBLE_DEVICES`. Makes no CUDA context.
    """
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    found = []
    try:
        driver, count = ctypes.CDLL(library), ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return ()
        for index in range(count.value):
            device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
            if driver.cuDeviceGet(ctypes.byref(device), index) or driver.cuDeviceGetName(name, len(name), device):
                return ()
            capability = [ctypes.c_int(), ctypes.c_int()]
            for value, attribute in zip(capability, _CAPABILITY, strict=True):
                if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
                    return ()
            found.append((name.value.decode(errors="replace"), f"sm{capability[0].value}{capability[1].value}"))
    except (OSError, AttributeError):
        return ()
    return tuple(found)


def describe_processor() -> dict[str, Any]:
    """What decides how fast this processor runs a network, in plain values: its name, its maker and family, such as
    "AuthenticAMD 25", those of `INSTRUCTIONS` that it has and all flags that the system lists (each None where
    unknown), and the number of logical processors that this process may use."""
    name, family, flags = _processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    has = [kind for kind, marks in INSTRUCTIONS.items() if any(mark in (flags or ()) for mark in marks)]
    return {
        "name": name,
        "family": family,
        "instructions": None if flags is None else has,
        "flags": flags and sorted(flags),
        "cores": cores,
    }


def library_versions() -> dict[str, str]:
    """Distribution -> version, of the installed libraries that run ONNX files."""
    return {name: found for name in (*ORT_WHEELS, "openvino") if (found := _version(name))}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _tensorrt() -> dict[str, str]:
    found = {}
    for flavour, wheels in TENSORRT_WHEELS.items():
        versions = [value for wheel in wheels if (value := _version(wheel))]
        if versions and any(find_spec(module) for module in TENSORRT_MODULES[flavour]):
            found[flavour] = versions[0]
    return found


def _providers() -> tuple[str, ...]:
    try:
        import onnxruntime

        return tuple(onnxruntime.get_available_providers())
    except (ImportError, AttributeError):  # not installed, or broken by the removal of another wheel
        return ()


@cache
def _processor() -> tuple[str, str | None, list[str] | None]:
    """Model name, family and feature flags (None where the system lists none)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), None, None
    values = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    arm = " ".join(values[key] for key in ("cpu implementer", "cpu part") if key in values)  # which has no names here
    name = values.get("model name") or arm or platform.processor() or platform.machine()
    family = f"{values['vendor_id']} {values['cpu family']}" if {"vendor_id", "cpu family"} <= values.keys() else None
    flags = values.get("flags") or values.get("features")
    return name, family, None if flags is None else flags.split()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take: the least of what the machine and its control groups have left.

    None where unknown. `root` is the folder that holds /proc and /sys.
    """
    limits = [_left_in(group) for group in control_groups("memory", root)]
    for line in lines_of(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            limits.append(int(line.split()[1]) * 1024)
    return min((each for each in limits if each is not None), default=None)


def _left_in(group: Path) -> int | None:
    """Bytes that a control group of version 2 or 1 has left; None where it has no limit, or cannot be read."""
    for limit, usage, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            most = int((group / limit).read_text())  # "max" is no number
            stat = dict(line.split() for line in lines_of(group / "memory.stat"))
            # Memory that only caches files is reclaimed before an allocation is refused.
            taken = int((group / usage).read_text()) - int(stat.get(cached, 0))
            return max(0, most - taken)
    return None


def control_groups(controller: str, root: Path = Path("/")) -> list[Path]:
    """The folders of this process's control group and of those around it: of version 2, or of version 1 those of the
    `controller`, such as "cpu". What they lie in may be a part of what the machine has; `root` holds /proc and /sys."""
    found = []
    for line in lines_of(root / "proc/self/cgroup"):
        controllers, _, name = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controllers and controller)
        group = top / name.strip("/")
        found += [each for each in (group, *group.parents) if each.is_relative_to(top)]
    return found


def lines_of(path: Path) -> list[str]:
    """Those of a text file; none where it cannot be read."""
    with suppress(OSError):
        return path.read_text(errors="replace").splitlines()
    return []


def _gpus() -> tuple[Gpu, ...]:
    """Every GPU that NVML reports; () without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    found = []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):  # a GPU that does not answer hides no other
                device = pynvml.nvmlDeviceGetHandleByIndex(index)
                memory = pynvml.nvmlDeviceGetMemoryInfo(device).total >> 20
                major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(device)
                found.append(Gpu(pynvml.nvmlDeviceGetName(device), memory, driver, f"{major}.{minor}"))
    finally:
        pynvml.nvmlShutdown()
    return tuple(found)

"""What CUDA's driver says of its GPUs, on a stand-in for the driver's library."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirnet_deploy import machine
from mirnet_deploy.machine import cuda_capabilities, cuda_devices


class Driver:
    """libcuda with two GPUs. Functions return 0, or an error's number, and write their results where they are told."""

    gpus = (("NVIDIA L4", 8, 9), ("NVIDIA RTX PRO 6000", 12, 0))
    refuses = ""

    def __init__(self, name: str) -> None:
        assert name in ("libcuda.so.1", "nvcuda.dll")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def cuInit(self, flags: int) -> int:
        return 100 if self.refuses == "cuInit" else 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        name.value = self.gpus[device.value][0].encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = self.gpus[device.value][{75: 1, 76: 2}[attribute]]
        return 1 if self.refuses == "cuDeviceGetAttribute" else 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Driver]]:
    """The stand-in in the place of the library; nothing of it is remembered."""
    monkeypatch.setattr(ctypes, "CDLL", Driver)
    machine._cuda.cache_clear()
    yield Driver
    machine._cuda.cache_clear()


def test_gpus_have_their_names_and_compute_capabilities_in_one_order(driver: type[Driver]) -> None:
    assert cuda_devices() == ("NVIDIA L4", "NVIDIA RTX PRO 6000")
    assert cuda_capabilities() == ("sm89", "sm120")


@pytest.mark.parametrize("refused", ["cuInit", "cuDeviceGetAttribute"])
def test_a_driver_that_refuses_has_no_gpus(driver: type[Driver], refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "refuses", refused)
    assert cuda_devices() == cuda_capabilities() == ()


def test_without_a_driver_there_are_none(driver: type[Driver], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert cuda_devices() == ()


INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel name\t: Xeon\nflags\t\t: avx2 avx512f\n"
ARM = "processor\t: 0\nFeatures\t: asimd bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (INTEL, ("Xeon", "GenuineIntel 6", ["AVX2", "AVX-512"])),
        (ARM, ("0x41 0xd40", None, ["bf16"])),
    ],
)
def test_a_processor_is_known_by_its_name_family_and_instructions(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[Any, ...]
) -> None:
    machine._processor.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    found = machine.describe_processor()
    machine._processor.cache_clear()
    assert (found["name"], found["family"], found["instructions"]) == expected

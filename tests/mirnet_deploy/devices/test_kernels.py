"""The CUDA kernels, compiled for the CPU, against their namesakes in numpy: equal results of equal calls."""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mirnet_deploy.brightness import gain_for
from mirnet_deploy.consistency.prediction import difference
from mirnet_deploy.devices import kernels, nvrtc, result_kernels
from mirnet_deploy.devices.arguments import ARGUMENTS, CORE, ORIGIN, REPORT, TYPES, Arguments, typed
from mirnet_deploy.devices.base import DevicePicture, Driver, Kernel, Stream, Tensor
from mirnet_deploy.devices.host import HostDriver
from mirnet_deploy.devices.nvrtc import SOURCE, compiled
from mirnet_deploy.errors import EngineError

SHIM = """
#include <cmath>
#include <cstring>
using std::isfinite;
struct Dim { int x, y, z; };
static Dim blockIdx, blockDim = {1, 1, 1}, threadIdx = {0, 0, 0};
extern "C" void place(int x, int y, int z) { blockIdx = {x, y, z}; }
template <class T> static T atomicAdd(T *address, T value) { const T old = *address; *address += value; return old; }
static void atomicMax(int *address, int value) { if (value > *address) *address = value; }
static int __float_as_int(float value) { int bits; std::memcpy(&bits, &value, 4); return bits; }
#define __global__
#define __device__
"""

DTYPES = (np.uint8, np.uint16, np.float32)
TYPE_OF_C = {"int": np.int32, "long long": np.int64, "double": np.float64}
Launch = Callable[[Driver, Stream], None]


class CompiledDriver(HostDriver):
    """Launches the kernels of `kernels.cu`, thread by thread."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def launch(self, kernel: Kernel, size: tuple[int, int, int], arguments: Arguments, stream: Any) -> None:
        of_c = [np.ctypeslib.as_ctypes_type(value.dtype)(value.item()) for value in typed(arguments)]
        for x, y, z in itertools.product(*map(range, size)):
            self._library.place(x, y, z)
            self._library[kernel](*of_c)


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> CompiledDriver:
    """Drives the CUDA kernels on the CPU."""
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "shim.cpp").write_text(SHIM + SOURCE.read_text())
    # As on a device: no multiplication is fused with an addition, and no sum is reordered.
    command = ["g++", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "shim.cpp", "-o", "kernels.so"]
    subprocess.run(command, cwd=folder, check=True)
    return CompiledDriver(folder / "kernels.so")


def values(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def picture_of(array: NDArray[Any], bgr: bool = False) -> DevicePicture:
    """A `DevicePicture` over an array [H,W,C] of any row stride."""
    height, width, channels = array.shape
    return DevicePicture(array.ctypes.data, array.strides[0], height, width, array.dtype, channels, bgr)


def tensor_of(array: NDArray[Any]) -> Tensor:
    return Tensor(array.ctypes.data, array.shape, array.dtype)


def both(cuda: CompiledDriver, result: NDArray[Any], launch: Callable[[NDArray[Any]], Launch]) -> None:
    """Launches on both drivers, `launch(out)` with a copy `out` of `result` each, and compares what they write."""
    made = []
    for driver in (HostDriver(), cuda):
        out = result.copy()
        launch(out)(driver, driver.stream())
        made.append(out)
    np.testing.assert_array_equal(*made)
    assert not np.array_equal(made[0], result), "nothing was written"


@pytest.mark.parametrize("kernel", ARGUMENTS)
def test_python_knows_the_arguments_of_every_kernel(kernel: Kernel) -> None:
    """Names, order and types, since a slip would corrupt memory silently."""
    found = re.search(rf'extern "C" __global__ void {kernel}\(([^)]*)\)', SOURCE.read_text())
    assert found
    declared = []
    for text in found[1].split(","):
        kind, pointer, name = re.fullmatch(r"(?:const )?(.*?)\s(\*?)(\w+)", " ".join(text.split())).groups()  # type: ignore[union-attr]
        declared.append((name, np.uintp if pointer else TYPE_OF_C[kind]))
    arguments: Any = ARGUMENTS[kernel]
    assert list(zip(arguments._fields, TYPES[arguments], strict=True)) == declared


def test_every_kernel_has_its_arguments() -> None:
    assert set(re.findall(r"__global__ void (\w+)\(", SOURCE.read_text())) == set(ARGUMENTS)


@pytest.mark.parametrize(("name", "layout"), [("Origin", ORIGIN), ("Core", CORE)])
def test_python_knows_the_layout_of_every_structure(name: str, layout: np.dtype[Any]) -> None:
    found = re.search(rf"struct {name} {{ int ([^;]*); }};", SOURCE.read_text())
    assert found
    assert tuple(found[1].split(", ")) == layout.names
    assert layout.itemsize == 4 * len(layout.names)


def test_python_knows_the_layout_of_a_report(cuda: CompiledDriver) -> None:
    found = re.search(
        r"struct Report { double (.*); unsigned long long (.*); float (.*); int (.*); };", SOURCE.read_text()
    )
    assert found
    assert tuple(", ".join(found.groups()).split(", ")) == REPORT.names
    assert not any(REPORT[name].itemsize * 8 % 32 for name in REPORT.names or ())
    assert REPORT.itemsize == 32


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "bgr"), [(3, False), (3, True), (4, False), (4, True)])
@pytest.mark.parametrize("upside_down", [False, True])
def test_cut_gives_the_same_bytes(
    cuda: CompiledDriver, dtype: Any, channels: int, bgr: bool, upside_down: bool
) -> None:
    wide = values((13, 20, channels), dtype)[:, :18]  # rows of 18 pixels, 20 apart
    picture = picture_of(wide[::-1] if upside_down else wide, bgr)
    origins = np.array([(0, 0), (8, 12), (4, 8)], ORIGIN)
    for planar in (True, False) if dtype == np.uint8 else (True,):
        batch = np.zeros((3, 3, 8, 8) if planar else (3, 8, 8, 3), np.float32 if planar else np.uint8)
        both(
            cuda,
            batch,
            lambda out: lambda d, s: kernels.cut(d, s, picture, (16, 20), origins.ctypes.data, tensor_of(out)),
        )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 7)])
def test_cut_repeats_where_there_is_nothing_to_mirror(cuda: CompiledDriver, shape: tuple[int, int]) -> None:
    pixels, origins = values((*shape, 3), np.uint8), np.zeros(1, ORIGIN)
    both(
        cuda,
        np.zeros((1, 8, 8, 3), np.uint8),
        lambda out: lambda d, s: kernels.cut(d, s, picture_of(pixels), (8, 8), origins.ctypes.data, tensor_of(out)),
    )


def test_cut_mirrors_a_tile_that_lies_in_the_padding(cuda: CompiledDriver) -> None:
    pixels, origins = values((5, 5, 3), np.uint8), np.array([(4, 4), (0, 4), (4, 0)], ORIGIN)
    batch = np.zeros((3, 4, 4, 3), np.uint8)
    both(
        cuda,
        batch,
        lambda out: lambda d, s: kernels.cut(d, s, picture_of(pixels), (8, 8), origins.ctypes.data, tensor_of(out)),
    )
    kernels.cut(HostDriver(), HostDriver().stream(), picture_of(pixels), (8, 8), origins.ctypes.data, tensor_of(batch))
    np.testing.assert_array_equal(batch[0], pixels[4:0:-1, 4:0:-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "bgr"), [(3, False), (3, True), (4, False), (4, True)])
def test_put_gives_the_same_bytes(cuda: CompiledDriver, dtype: Any, channels: int, bgr: bool) -> None:
    source = values((13, 18, channels), dtype, 1)
    cores = np.array([(0, 0, 0, 0, 8, 4), (4, 0, 8, 4, 8, 8), (0, 4, 8, 16, 8, 4)], CORE)  # two stick out
    flaws = np.zeros(1, np.int32)
    batch = 1.4 * values((3, 3, 12, 12), np.float32) - np.float32(0.2)
    for results in (batch, values((3, 12, 12, 3), np.uint8)) if dtype == np.uint8 else (batch,):

        def launch(out: NDArray[Any], results: NDArray[Any] = results) -> Launch:
            ends = picture_of(source, bgr), picture_of(out, bgr), flaws.ctypes.data
            return lambda d, s: kernels.put(d, s, tensor_of(results), cores.ctypes.data, (8, 8, 3), *ends)

        both(cuda, np.zeros_like(source), launch)
    assert flaws[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_put_counts_nan_and_infinite_values_and_writes_black_and_white(cuda: CompiledDriver, dtype: Any) -> None:
    batch = np.full((1, 3, 4, 4), 0.5, np.float32)
    batch[0, 1, 2, 3], batch[0, 0, 0, 0], batch[0, 2, 1, 1] = np.nan, np.inf, -np.inf
    cores = np.array([(0, 0, 0, 0, 4, 4)], CORE)
    white = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    for driver in (HostDriver(), cuda):
        flaws, pixels = np.zeros(1, np.int32), np.full((4, 4, 3), 7, dtype)
        ends = picture_of(pixels), picture_of(pixels), flaws.ctypes.data
        kernels.put(driver, driver.stream(), tensor_of(batch), cores.ctypes.data, (4, 4, 1), *ends)
        assert flaws[0] == 3
        assert (pixels[2, 3, 1], pixels[0, 0, 0], pixels[1, 1, 2]) == (0, white, 0)
        assert ((pixels == 0).sum(), (pixels == white).sum()) == (2, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "bgr"), [(3, False), (4, True)])
def test_shrink_gives_the_means_of_areas(cuda: CompiledDriver, dtype: Any, channels: int, bgr: bool) -> None:
    pixels = values((67, 91, channels), dtype)
    for kind, most in ((np.float32, 1e-6), (np.uint8, 1)):
        results = []
        for driver in (HostDriver(), cuda):
            small = np.zeros((8, 12, 3), kind)
            kernels.shrink(driver, driver.stream(), picture_of(pixels, bgr), picture_of(small))
            results.append(small.astype(np.float64))
        # Sums are in another order: the last bits of a float may differ, and one level where a mean lies between two.
        np.testing.assert_allclose(*results, rtol=0, atol=most)
        if kind == np.uint8:
            assert (results[0] != results[1]).mean() < 0.01
        colours = pixels[..., 2::-1] if bgr else pixels[..., :3]
        white = (255 if kind == np.uint8 else 1) / (1 if dtype == np.float32 else np.iinfo(dtype).max)
        # The mean of the picture is the mean of its areas.
        np.testing.assert_allclose(results[0].mean((0, 1)), white * colours.mean((0, 1)), rtol=0.02)


def test_correct_and_defect_give_the_same_bytes(cuda: CompiledDriver) -> None:
    measured, defect = values((1, 5), np.float32, 1), values((1, 5), np.float32, 2)
    zeros = np.zeros((1, 5), np.float32)
    given = tensor_of(measured), tensor_of(defect)
    both(cuda, zeros, lambda out: lambda d, s: kernels.correct(d, s, *given, tensor_of(out)))
    statistics = values((3, 5), np.float32, 3)
    cores = np.array([(0, 0, 0, 0, 8, 4), (4, 0, 8, 4, 12, 8), (0, 4, 8, 16, 4, 4)], CORE)
    seen = tensor_of(statistics), cores.ctypes.data, 3, tensor_of(measured)
    both(cuda, zeros, lambda out: lambda d, s: kernels.defect(d, s, *seen, tensor_of(out)))
    out = zeros.copy()
    kernels.defect(cuda, cuda.stream(), *seen, tensor_of(out))
    expected = np.average(statistics, axis=0, weights=[32, 96, 16]) - measured[0]
    np.testing.assert_allclose(out[0], expected, atol=1e-6)


def test_check_counts_and_clear_forgets(cuda: CompiledDriver) -> None:
    seen = values((3, 7), np.float32)
    seen[0, 3], seen[2, 1], seen[2, 6] = np.nan, np.inf, -np.inf
    for driver in (HostDriver(), cuda):
        report = np.zeros(1, REPORT)
        for _ in range(2):
            result_kernels.check(driver, driver.stream(), tensor_of(seen), report.ctypes.data)
        assert report["flaws"] == 6
        report["low"] = report["squares"] = 5
        result_kernels.clear(driver, driver.stream(), report.ctypes.data, REPORT.itemsize)
        assert report.tobytes() == bytes(REPORT.itemsize)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_differ_tells_the_psnr_and_the_largest_difference(cuda: CompiledDriver, dtype: Any) -> None:
    one, step = values((9, 14, 3), dtype), 3 if dtype == np.uint8 else 3e-5
    two = np.clip(one.astype(np.float64) + step * np.sin(np.arange(one.size)).reshape(one.shape), 0, None).astype(dtype)
    reports = []
    for driver in (HostDriver(), cuda):
        report = np.zeros(1, REPORT)
        result_kernels.differ(driver, driver.stream(), picture_of(one), picture_of(two), report.ctypes.data)
        reports.append(report)
    np.testing.assert_array_equal(*reports)
    white = 255 if dtype == np.uint8 else 1
    psnr, largest = difference(one.astype(np.float32) / np.float32(white), two.astype(np.float32) / np.float32(white))
    mean = float(reports[0]["squares"][0]) / 2**42 / one.size
    assert -10 * np.log10(mean) == pytest.approx(psnr, abs=0.01)
    assert reports[0]["largest"][0] == pytest.approx(largest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("brightness", "channels", "bgr"), [(0.0, 3, False), (0.2, 4, True), (0.7, 3, False)])
def test_the_gain_and_the_toned_picture_are_those_of_the_host(
    cuda: CompiledDriver, dtype: Any, brightness: float, channels: int, bgr: bool
) -> None:
    """The gain as `brightness.gain_for` finds it; the rest byte for byte."""
    result, source = (
        values((13, 18, 3), np.uint16 if dtype == np.uint8 else dtype),
        values((13, 18, channels), dtype, 1),
    )
    expected = gain_for(brightness, result)
    made = []
    for driver in (HostDriver(), cuda):
        report, bins, sums = np.zeros(1, REPORT), np.ones(1 << 16, np.uint32), np.ones((64, 64))
        there = report.ctypes.data
        result_kernels.find_gain(
            driver, driver.stream(), picture_of(result), brightness, there, bins.ctypes.data, sums.ctypes.data
        )
        assert bins.sum() == result.size
        assert result_kernels.gain_of(report[0]) == pytest.approx(expected, rel=1e-6)  # as fine as float32
        out = np.zeros_like(source)
        lies = picture_of(result), picture_of(source, bgr), picture_of(out, bgr)
        result_kernels.tone(driver, driver.stream(), *lies, there, True, 0.6)
        made.append(out)
    np.testing.assert_array_equal(*made)
    if channels == 4:
        np.testing.assert_array_equal(made[0][..., 3], source[..., 3])


def test_tone_in_place_blends_with_the_source(cuda: CompiledDriver) -> None:
    result, source = values((6, 9, 4), np.uint8), values((6, 9, 4), np.uint8, 1)
    report = np.zeros(1, REPORT)

    def launch(out: NDArray[Any]) -> Launch:
        ends = picture_of(out), picture_of(source), picture_of(out)
        return lambda d, s: result_kernels.tone(d, s, *ends, report.ctypes.data, False, 0.5)

    both(cuda, result, launch)


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_89", "sm_90", "sm_120"])
def test_the_kernels_compile_for_every_gpu(architecture: str) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    code = compiled(architecture)
    assert code[:4] == b"\x7fELF"
    for kernel in ARGUMENTS:
        assert kernel.encode() in code


def test_a_kernel_that_does_not_compile_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    broken = tmp_path / "broken.cu"
    broken.write_text("__global__ void f() { one; two; three; }")
    monkeypatch.setattr(nvrtc, "SOURCE", broken)
    with pytest.raises(EngineError, match=r"NVRTC refused broken\.cu: .*error.*one") as caught:
        compiled("sm_80")
    assert "\n" not in str(caught.value)

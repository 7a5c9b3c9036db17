"""The CUDA kernels, compiled for the CPU, against their namesakes in numpy: the same bytes."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mirnet_deploy.devices import Frame, host
from mirnet_deploy.devices.base import Kernel
from mirnet_deploy.devices.cuda import SOURCE, compiled

SHIM = """
#include <cmath>
using std::isfinite;
struct Dim { int x, y, z; };
static Dim blockIdx, blockDim = {1, 1, 1}, threadIdx = {0, 0, 0};
extern "C" void place(int x, int y, int z) { blockIdx = {x, y, z}; }
static int atomicAdd(int *address, int value) { const int old = *address; *address += value; return old; }
#define __global__
#define __device__
"""

DTYPES = (np.uint8, np.uint16, np.float32)
Run = Callable[[Kernel, tuple[int, int, int], tuple[Any, ...]], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a kernel for every one of its threads: run(kernel, size, arguments)."""
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "shim.cpp").write_text(SHIM + SOURCE.read_text())
    # As on a device: no multiplication and addition is fused, no sum is reordered.
    command = ["g++", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "shim.cpp", "-o", "kernels.so"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "kernels.so"))

    def run_all(kernel: Kernel, size: tuple[int, int, int], arguments: tuple[Any, ...]) -> None:
        of_c = [np.ctypeslib.as_ctypes_type(value.dtype)(value.item()) for value in arguments]
        for x, y, z in itertools.product(*map(range, size)):
            library.place(x, y, z)
            library[kernel](*of_c)

    return run_all


def values(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def frame_of(array: NDArray[Any], bgr: bool = False) -> Frame:
    """An array [H,W,C], of any row stride, as a frame."""
    height, width, channels = array.shape
    return Frame(array.ctypes.data, array.strides[0], height, width, array.dtype, channels, bgr)


def address(array: NDArray[Any]) -> np.uintp:
    return np.uintp(array.ctypes.data)


def ints(*numbers: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(number) for number in numbers)


def both(run: Run, kernel: Kernel, size: tuple[int, int, int], result: NDArray[Any], arguments: Any) -> None:
    """Runs both, with `arguments(result)`, and compares what they make of `result`."""
    ours, theirs = result.copy(), result.copy()
    host.KERNELS[kernel](size, *(value.item() for value in arguments(ours)))
    run(kernel, size, arguments(theirs))
    np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(ours, result), "nothing was written"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "bgr"), [(3, False), (3, True), (4, False), (4, True)])
@pytest.mark.parametrize("upside_down", [False, True])
def test_cut(run: Run, dtype: Any, channels: int, bgr: bool, upside_down: bool) -> None:
    wide = values((13, 20, channels), dtype)[:, :18]  # rows of 18 pixels, 20 apart
    frame = frame_of(wide[::-1] if upside_down else wide, bgr)
    origins = np.array([[0, 0], [8, 12], [4, 8]], np.int32)
    for planar in (True, False) if dtype == np.uint8 else (True,):
        batch = np.zeros((3, 3, 8, 8) if planar else (3, 8, 8, 3), np.float32 if planar else np.uint8)
        both(
            run,
            "cut",
            (8, 8, 3),
            batch,
            lambda out, p=planar: (*frame.arguments, *ints(16, 20), address(origins), address(out), *ints(p, 8, 8)),
        )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 7)])
def test_cut_repeats_where_there_is_nothing_to_mirror(run: Run, shape: tuple[int, int]) -> None:
    picture, origins = values((*shape, 3), np.uint8), np.zeros((1, 2), np.int32)
    frame, batch = frame_of(picture), np.zeros((1, 8, 8, 3), np.uint8)
    rest = address(origins)
    both(run, "cut", (8, 8, 1), batch, lambda out: (*frame.arguments, *ints(8, 8), rest, address(out), *ints(0, 8, 8)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "bgr"), [(3, False), (3, True), (4, False), (4, True)])
def test_put(run: Run, dtype: Any, channels: int, bgr: bool) -> None:
    source = values((13, 18, channels), dtype, 1)
    cores = np.array([[0, 0, 0, 0, 8, 4], [4, 0, 8, 4, 8, 8], [0, 4, 8, 16, 8, 4]], np.int32)  # two stick out
    flaws = np.zeros(1, np.int32)
    for planar in (True, False) if dtype == np.uint8 else (True,):
        batch = 1.4 * values((3, 3, 12, 12), np.float32) - np.float32(0.2)
        results = batch if planar else values((3, 12, 12, 3), np.uint8)

        def arguments(out: NDArray[Any], planar: bool = planar, results: NDArray[Any] = results) -> tuple[Any, ...]:
            before = address(source), np.int64(source.strides[0])
            head = address(results), *ints(planar, 12, 12), address(cores), *before
            return *head, *frame_of(out, bgr).arguments, address(flaws)

        both(run, "put", (8, 8, 3), np.zeros_like(source), arguments)
    assert flaws[0] == 0


def test_put_counts_what_is_no_number(run: Run) -> None:
    batch = np.zeros((1, 3, 4, 4), np.float32)
    batch[0, 1, 2, 3], batch[0, 0, 0, 0] = np.nan, np.inf
    picture, cores = np.zeros((4, 4, 3), np.float32), np.array([[0, 0, 0, 0, 4, 4]], np.int32)
    for of_numpy in (True, False):
        flaws = np.zeros(1, np.int32)
        head = address(batch), *ints(1, 4, 4), address(cores), address(picture), np.int64(48)
        arguments = *head, *frame_of(picture).arguments, address(flaws)
        if of_numpy:
            host.KERNELS["put"]((4, 4, 1), *(value.item() for value in arguments))
        else:
            run("put", (4, 4, 1), arguments)
        assert flaws[0] == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "bgr"), [(3, False), (4, True)])
def test_shrink(run: Run, dtype: Any, channels: int, bgr: bool) -> None:
    picture = values((67, 91, channels), dtype)
    for small in (np.zeros((8, 12, 3), np.float32), np.zeros((8, 12, 3), np.uint8)):
        results = []
        for of_numpy in (True, False):
            out = small.copy()
            kind = np.int32(0 if out.dtype == np.uint8 else 2)
            rest = address(out), np.int64(out.strides[0]), *ints(8, 12), kind
            arguments = *frame_of(picture, bgr).arguments, *rest
            if of_numpy:
                host.KERNELS["shrink"]((12, 8, 1), *(value.item() for value in arguments))
            else:
                run("shrink", (12, 8, 1), arguments)
            results.append(out.astype(np.float64))
        # Sums in another order: the last bits of a float, and at most one level where a mean lies between two.
        np.testing.assert_allclose(*results, atol=1 if small.dtype == np.uint8 else 1e-6)
        assert (results[0] != results[1]).mean() < (0.01 if small.dtype == np.uint8 else 1.1)
        assert results[0].std() > 0


def test_correct_and_defect(run: Run) -> None:
    measured, lacking = values((5,), np.float32, 1), values((5,), np.float32, 2)
    both(
        run,
        "correct",
        (5, 1, 1),
        np.zeros(5, np.float32),
        lambda out: (address(measured), address(lacking), address(out), np.int32(5)),
    )
    statistics = values((3, 5), np.float32, 3)
    cores = np.array([[0, 0, 0, 0, 8, 4], [4, 0, 8, 4, 12, 8], [0, 4, 8, 16, 4, 4]], np.int32)
    both(
        run,
        "defect",
        (5, 1, 1),
        np.zeros(5, np.float32),
        lambda out: (address(statistics), address(cores), np.int32(3), address(measured), address(out), np.int32(5)),
    )
    out = np.zeros(5, np.float32)
    arguments = address(statistics), address(cores), np.int32(3), address(measured), address(out), np.int32(5)
    run("defect", (5, 1, 1), arguments)
    np.testing.assert_allclose(out, np.average(statistics, axis=0, weights=[32, 96, 16]) - measured, atol=1e-6)


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_89", "sm_90", "sm_120"])
def test_the_kernels_compile_for_every_gpu(architecture: str) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    code = compiled(architecture)
    assert code[:4] == b"\x7fELF"
    for kernel in host.KERNELS:
        assert kernel.encode() in code

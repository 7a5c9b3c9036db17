"""On a GPU: memory, CUDA contexts and refusals. Run as `test_gpu` is."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx, make_plan
from deferred import OpenGpu, picture

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.engines.tensorrt_library import import_library
from mirnet_deploy.errors import DeviceMemoryError, EngineError, MissingDependencyError

pytestmark = pytest.mark.gpu

SLACK = 32 << 20
"""Bytes of freed memory that a driver may keep."""


@contextmanager
def watched() -> Iterator[Callable[[], int]]:
    """Gives a function for the highest rise of the GPU's used memory in the block so far, in bytes."""
    from mirnet_deploy.benchmarks.memory import GpuMemory

    gpu, stop, peaks = GpuMemory(), threading.Event(), [0]
    before = gpu.used()

    def watch() -> None:
        while not stop.wait(0.001):
            peaks.append(gpu.used() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: max(peaks)
    finally:
        stop.set()
        thread.join()


def test_the_memory_plan_is_what_is_taken(new_on_gpu: OpenGpu, current: Any) -> None:
    new_on_gpu(tile=256).enhance(picture(8, 8))  # the libraries' own memory is there from now on
    with watched() as peak:
        runtime = new_on_gpu(tile=512)
        image = picture(1200, 1800)
        planned = runtime.memory_plan(*image.shape[:2])
        runtime.enhance(image)
        taken = peak()
    assert taken <= planned.total <= 1.3 * taken + SLACK


@pytest.mark.slow
def test_a_thousand_pictures_and_fifty_runtimes_leave_the_memory_where_it_was(
    new_on_gpu: OpenGpu, current: Any
) -> None:
    sizes = [(40, 60), (64, 64), (300, 270)]
    runtime = new_on_gpu()
    for size in sizes * 4:
        runtime.enhance(picture(*size))
    before = current.mem_get_info()[0]
    for count in range(1000):
        runtime.enhance(picture(*sizes[count % 2]))
    assert abs(before - current.mem_get_info()[0]) <= SLACK
    for count in range(50):
        with new_on_gpu() as each:
            each.enhance(picture(64, 64))
        if count == 4:
            before = current.mem_get_info()[0]
    assert before - current.mem_get_info()[0] <= SLACK


def test_out_of_memory_leads_to_a_retreat_with_a_warning_or_an_error_with_a_remedy(
    new_on_gpu: OpenGpu, current: Any
) -> None:
    runtime = new_on_gpu(tile=512, batch=1)
    runtime.enhance(picture(64, 64))
    image = picture(1200, 1800)
    free = current.mem_get_info()[0]
    hog = current.mem_alloc(max(1, free - (300 << 20)))
    refused = ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            runtime.enhance(image)
        except DeviceMemoryError as error:
            refused = str(error)
        finally:
            hog.free()
    assert refused or said, "the memory did not run out"
    assert len(said) <= 1
    assert not refused or "close what else" in refused
    again = new_on_gpu(tile=512).enhance(image)
    assert np.abs(runtime.enhance(image).astype(int) - again).max() <= 2  # other tiles


def test_no_cuda_context_is_left_current(new_on_gpu: OpenGpu) -> None:
    cuda = ctypes.CDLL("libcuda.so.1")
    there = ctypes.c_void_p()
    runtime = new_on_gpu()
    runtime.enhance(picture())
    assert cuda.cuCtxGetCurrent(ctypes.byref(there)) == 0
    assert there.value is None
    runtime.close()
    assert cuda.cuCtxGetCurrent(ctypes.byref(there)) == 0
    assert there.value is None


def test_a_plan_of_another_gpu_is_refused(tmp_path: Path) -> None:
    try:
        version = import_library("tensorrt_rtx", "this test").__version__
    except MissingDependencyError as error:
        pytest.skip(str(error))
    path = make_plan(tmp_path / "a.plan", builder_version=version, targets=["sm75"])
    with pytest.raises(EngineError, match="was built for sm75, and this one is sm"):
        MIRNetRuntime(path, device="cuda:0")


def test_nan_and_infinite_values_are_an_error(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "nan.onnx", "nan")
    with MIRNetRuntime(path, device="cuda:0", tile=64) as runtime, pytest.raises(EngineError, match="NaN or infinite"):
        runtime.enhance(picture())


def test_nan_and_infinite_values_are_told_of_pictures_on_the_device(tmp_path: Path, current: Any) -> None:
    path, image = make_onnx(tmp_path / "nan.onnx", "nan"), picture()
    source, target = (current.mem_alloc(image.nbytes) for _ in range(2))
    current.memcpy_htod(source, image)
    height, width, _ = image.shape
    there = [DevicePicture(int(each), 3 * width, height, width, image.dtype) for each in (source, target)]
    stream = current.Stream(1)
    with MIRNetRuntime(path, device="cuda:0", tile=64) as runtime:
        enqueued = runtime.enhance_device(*there, stream=stream.handle)
        with pytest.raises(EngineError, match="NaN or infinite"):
            enqueued.info()


def test_a_permanent_error_ends_the_runtime() -> None:
    """In a separate process, which cannot use CUDA after such an error."""
    code = """
import numpy as np
from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.errors import EngineError
runtime = MIRNetRuntime("lite", device="cuda:0", tile=256)
image = np.zeros((300, 300, 3), np.uint8)
runtime.enhance(image)
nowhere, elsewhere = (DevicePicture(address, 900, 300, 300, np.dtype(np.uint8)) for address in (256, 1 << 20))
said = []
for _ in range(3):
    try:
        runtime.enhance_device(nowhere, elsewhere, stream=2)  # the stream of this thread
        runtime.enhance(image)
    except EngineError as error:
        said.append(str(error))
runtime.close()
assert len(said) == 3 and all("start the process anew" in text for text in said[1:]), said
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr

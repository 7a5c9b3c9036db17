"""What an embedding program relies on: any buffer is taken, no needless copy is made, other threads go on."""

from __future__ import annotations

import re
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from deferred import Open, picture

import mirnet_deploy
from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.errors import EngineError, ImageError


@pytest.mark.parametrize("on_device", [False, True])
def test_buffers_that_are_not_arrays_are_taken(pair: Open, on_device: bool) -> None:
    runtime = pair()[on_device]
    image, out = picture(), bytearray(picture().nbytes)
    view = memoryview(out).cast("B", picture().shape)
    result = runtime.enhance(memoryview(image), out=view)
    np.testing.assert_array_equal(result, runtime.enhance(image))
    np.testing.assert_array_equal(np.frombuffer(out, np.uint8).reshape(image.shape), result)


@pytest.mark.parametrize("wrong", [None, [[[1, 2, 3]]], "picture.png", 3])
def test_objects_that_are_not_buffers_are_refused(pair: Open, wrong: Any) -> None:
    with pytest.raises(ImageError, match="is not a picture; expected a buffer"):
        pair()[0].enhance(wrong)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("interface", ["float", "image"])
def test_bgr_pictures(pair: Open, interface: str, on_device: bool) -> None:
    rgb = picture()
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    expected = pair(interface=interface)[0].enhance(rgb)
    runtime = pair(interface=interface, channel_order="bgr")[on_device]
    out = np.zeros_like(bgr)
    assert runtime.enhance(bgr, out=out) is out
    np.testing.assert_array_equal(out, expected[..., ::-1])
    turned = pair(interface=interface)[0].enhance(rgb[::-1, ::-1])
    np.testing.assert_array_equal(runtime.enhance(bgr[::-1, ::-1]), turned[..., ::-1])
    (frame,) = runtime.frames([bgr])
    np.testing.assert_array_equal(frame.pixels, out)


@pytest.mark.parametrize("on_device", [False, True], ids=["host", "device"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("rows", [slice(None), slice(None, None, 2)], ids=["contiguous", "strided"])
def test_no_copy_of_a_picture_is_made_on_the_host(pair: Open, on_device: bool, order: str, rows: slice) -> None:
    """Staging memory is allocated in the first runs; numpy reports every array to tracemalloc."""
    runtime = pair("identity", consistency="local", tile=128, channel_order=order)[on_device]
    image = picture(1200, 900)[rows]
    out = np.zeros((1200, 900, 3), np.uint8)[rows]
    for _ in range(3):
        runtime.enhance(image, out=out)
    tracemalloc.start()
    try:
        runtime.enhance(image, out=out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(out, image)
    assert peak < image.nbytes / 4


def test_other_threads_go_on_during_a_picture() -> None:
    ticks = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    with MIRNetRuntime("lite", device="cpu", tile="none", threads=1) as runtime:
        runtime.enhance(picture(64, 64))
        thread = threading.Thread(target=tick)
        thread.start()
        start = time.perf_counter()
        runtime.enhance(picture(240, 240))
        end = time.perf_counter()
        stop.set()
        thread.join()
    within = [start, *(at for at in ticks if start < at < end), end]
    assert np.diff(within).max() < (end - start) / 2


def test_no_module_waits_for_a_whole_device_or_uses_its_default_stream() -> None:
    """A runtime shares the device with the program around it, so it waits only for its own streams."""
    forbidden = re.compile(r"(Ctx|Device|Context\.|device_)[sS]ynchronize|cuda\.synchronize|autoinit|Stream\(\)")
    files = sorted(Path(mirnet_deploy.__file__).parent.rglob("*.py"))
    assert len(files) > 50
    driver = next(path for path in files if path.name == "cuda.py").read_text()
    assert "Stream(NON_BLOCKING)" in driver
    for path in files:
        for line in path.read_text().splitlines():
            host = "HostStream()" in line
            assert host or not forbidden.search(line), f"{path}: {line}"


def test_a_real_photograph_in_opencvs_channel_order(pair: Open) -> None:
    path = Path(__file__).parents[2] / "examples" / "pairs" / "low" / "1.jpg"
    bgr = cv2.imread(str(path))
    expected = pair("blur", tile=128)[0].enhance(np.ascontiguousarray(bgr[..., ::-1]))
    np.testing.assert_array_equal(pair("blur", tile=128, channel_order="bgr")[1].enhance(bgr), expected[..., ::-1])


@pytest.mark.parametrize("on_device", [False, True])
def test_a_sink_that_cannot_take_the_result_is_not_written(pair: Open, on_device: bool) -> None:
    runtime, image = pair()[on_device], picture(16, 24)
    sealed = np.zeros_like(image)
    sealed.flags.writeable = False
    for sink, said in (
        (sealed, "read-only"),
        (np.zeros((8, 12, 3), np.uint8), "expected uint8"),
        (np.zeros(image.shape, np.uint16), "out is uint16"),
        (image, "share memory"),
    ):
        with pytest.raises(ImageError, match=said):
            runtime.enhance_into(image, sink)
    with pytest.raises(ImageError, match=r"expected \[H,W,3\]"):
        runtime.enhance_into(image[..., 0], np.zeros_like(image[..., 0]))
    assert not sealed.any()


def test_pictures_of_a_gpu_are_refused_where_runs_go_through_host_memory(
    pair: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime on a GPU without pycuda: the host's kernels would read the GPU's pointers."""
    runtime = pair()[0]
    monkeypatch.setattr(runtime.engine, "device", "cuda:0")
    on_gpu = DevicePicture(64, 72, 16, 24, np.dtype(np.uint8), 3, False)
    with pytest.raises(EngineError, match="by way of host memory"):
        runtime.enhance_device(on_gpu, on_gpu, stream=1)

"""On a GPU: the pipeline and its entry points, with every engine that runs there, against the CPU provider.

Run by `pytest -m gpu`; `benchmarks/gpu_suite.sh` prepares a machine without network for it. benchmarks/GPU.md says what
has been run.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from deferred import Driver, Engine, OnDevice, OpenGpu, picture
from numpy.typing import NDArray

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.errors import ImageError

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
NIGHT = np.ascontiguousarray(cv2.imread(str(ROOT / "examples" / "pairs" / "low" / "1.jpg"))[..., ::-1])


@pytest.fixture(scope="session")
def expected() -> Callable[..., NDArray[Any]]:
    """The CPU provider's results in FP32, by picture and settings; each is made once."""
    held: dict[Any, NDArray[Any]] = {}

    def result(image: NDArray[Any], **settings: Any) -> NDArray[Any]:
        key = image.tobytes(), str(settings)
        if key not in held:
            with MIRNetRuntime("lite", device="cpu", **{"tile": 256, **settings}) as cpu:
                held[key] = cpu.enhance(image)
        return held[key]

    return result


def agrees(result: NDArray[Any], reference: NDArray[Any], runtime: MIRNetRuntime) -> None:
    """Compares FP32 to 1e-4, plus a level where results are rounded; FP16 to 45 dB."""
    white = 1.0 if reference.dtype == np.float32 else float(np.iinfo(reference.dtype).max)
    error = np.abs(result.astype(np.float64) - reference) / white
    if runtime.info.metadata.precision == "fp32":
        assert error.max() <= 1e-4 + (0 if reference.dtype == np.float32 else 1 / white)
    else:
        assert 10 * np.log10(1 / np.mean(error**2)) >= 45


def equals(result: NDArray[Any], other: NDArray[Any], runtime: MIRNetRuntime) -> None:
    """Compares two results of one picture bit by bit. FP32 of ONNX Runtime's CUDA provider differs from run to run by
    a level at a few pixels of a million (benchmarks/GPU.md)."""
    if runtime.info.metadata.precision == "fp32" and "onnxruntime" in runtime.info.backend:
        assert np.abs(result.astype(np.int64) - other).max() <= 1
        assert (result != other).mean() < 1e-4
    else:
        np.testing.assert_array_equal(result, other)


# Values


@pytest.mark.parametrize(
    ("dtype", "consistency", "graphs"),
    [(np.uint8, "exact", True), (np.uint16, "fast", True), (np.float32, "local", True), (np.uint8, "local", False)],
)
def test_a_picture_in_host_memory(on_gpu: OpenGpu, expected: Any, dtype: Any, consistency: str, graphs: bool) -> None:
    runtime = on_gpu(consistency=consistency, graphs=graphs)
    image = NIGHT if dtype == np.uint8 else (NIGHT / 255 * (1 if dtype == np.float32 else 65535)).astype(dtype)
    if runtime.info.metadata.interface == "image" and dtype != np.uint8:
        pytest.skip("the interface takes uint8")
    for _ in range(3):  # run and captured, replayed
        agrees(runtime.enhance(image), expected(image, consistency=consistency), runtime)
    assert runtime.graphs == ("on" if graphs else "off")


def test_whole_pictures_of_small_sizes(on_gpu: OpenGpu, expected: Any) -> None:
    runtime = on_gpu()
    for size in ((1, 1), (7, 3), (61, 200), (128, 128)):
        agrees(runtime.enhance(picture(*size)), expected(picture(*size)), runtime)


def test_strided_and_bgr_pictures(on_gpu: OpenGpu, expected: Any) -> None:
    runtime, turned = on_gpu(), on_gpu(channel_order="bgr")
    strided = NIGHT[::-2, ::-1]
    agrees(runtime.enhance(strided), expected(np.ascontiguousarray(strided)), runtime)
    bgr = np.ascontiguousarray(NIGHT[..., ::-1])
    equals(turned.enhance(bgr)[..., ::-1], runtime.enhance(NIGHT), runtime)


def test_a_video_gives_the_same_results_again(on_gpu: OpenGpu) -> None:
    runtime = on_gpu()
    frames = [np.roll(NIGHT, 5 * step, axis=1) for step in range(8)]
    streamed = list(runtime.frames(frames, 3))
    again = list(runtime.frames(frames, 3))
    assert len(streamed) == 8
    for one, other in zip(streamed, again, strict=True):
        equals(one.pixels, other.pixels, runtime)
    agrees(streamed[0].pixels, runtime.enhance(NIGHT), runtime)


def test_bands_give_what_a_resident_picture_gives(on_gpu: OpenGpu) -> None:
    runtime = on_gpu(consistency="local")
    image = np.tile(NIGHT, (3, 3, 1))
    planned = runtime.memory_plan(*image.shape[:2])
    banded = on_gpu(consistency="local", max_memory=planned.total - planned.pictures // 2)
    assert banded.memory_plan(*image.shape[:2]).banded
    equals(banded.enhance(image), runtime.enhance(image), runtime)


def test_threads_share_a_runtime(on_gpu: OpenGpu) -> None:
    runtime = on_gpu()
    images = [np.roll(NIGHT, 9 * step, axis=0) for step in range(12)]
    serial = [runtime.enhance(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        for one, other in zip(threads.map(runtime.enhance, images), serial, strict=True):
            equals(one, other, runtime)


# Pictures on the device


def enqueued_on_host(settings: dict[str, Any]) -> tuple[Any, NDArray[np.uint8]]:
    """What is said of NIGHT, and its pixels, from the same passes by the CPU provider in FP32."""
    driver = Driver()
    source, target = OnDevice(driver, NIGHT), OnDevice(driver, NIGHT)
    with MIRNetRuntime(Engine(resolve_model("lite"), driver), tile=256, **settings) as runtime:
        stream = driver.callers_stream().handle
        info = runtime.enhance_device(source.picture, target.picture, stream=stream).info()
        pixels = target.pixels.copy()
        for each in (source, target):
            each.memory.free()
    return info, pixels


class OnGpu:
    """A picture in the GPU's memory, its rows `pitch` bytes apart; the bytes between them are poisoned."""

    def __init__(self, cuda: Any, image: NDArray[Any], pitch: int, poison: int, bgr: bool = False) -> None:
        height, width, channels = image.shape
        self._cuda, self.pitch = cuda, pitch
        self.rows: NDArray[np.uint8] = np.full((height, pitch), poison, np.uint8)
        self.used = width * channels * image.itemsize
        self.rows[:, : self.used] = image.reshape(height, -1).view(np.uint8)
        self.memory = cuda.mem_alloc(self.rows.nbytes)
        cuda.memcpy_htod(self.memory, self.rows)
        self.shape, self.dtype = image.shape, image.dtype
        self.picture = DevicePicture(int(self.memory), pitch, height, width, image.dtype, channels, bgr)

    def back(self) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """The picture [H,W,C], and the bytes between its rows, uint8 [H,n]."""
        rows = np.empty_like(self.rows)
        self._cuda.memcpy_dtoh(rows, self.memory)
        pixels = np.ascontiguousarray(rows[:, : self.used]).view(self.dtype).reshape(self.shape)
        return pixels, rows[:, self.used :]


@pytest.mark.parametrize(("channels", "bgr"), [(3, False), (3, True), (4, False), (4, True)])
@pytest.mark.parametrize("poison", [0x00, 0xA5])
def test_device_pictures_of_any_pitch_and_order_have_every_byte_written(
    on_gpu: OpenGpu, current: Any, channels: int, bgr: bool, poison: int
) -> None:
    runtime = on_gpu()
    colours = NIGHT[..., ::-1] if bgr else NIGHT
    image = np.dstack([colours, NIGHT[..., :1]]) if channels == 4 else np.ascontiguousarray(colours)
    pitch = (image.shape[1] * channels + 511) // 512 * 512
    source = OnGpu(current, image, pitch, 7, bgr)
    target = OnGpu(current, np.full_like(image, poison), pitch, poison, bgr)
    stream = current.Stream(1)
    for _ in range(3):
        runtime.enhance_device(source.picture, target.picture, stream=stream.handle)
    stream.synchronize()
    pixels, margins = target.back()
    assert (margins == poison).all()
    result = pixels[..., :3][..., ::-1] if bgr else pixels[..., :3]
    assert np.abs(result.astype(int) - runtime.enhance(NIGHT)).max() <= 2  # a fixed number of passes
    if channels == 4:
        np.testing.assert_array_equal(pixels[..., 3], image[..., 3])
    np.testing.assert_array_equal(source.back()[0], image)


@pytest.mark.parametrize("settings", [{"brightness": 0.5}, {"brightness": 0.3, "strength": 0.6}, {"strength": 0.4}])
def test_device_pictures_are_finished_and_their_error_is_predicted(
    on_gpu: OpenGpu, current: Any, settings: dict[str, Any]
) -> None:
    runtime = on_gpu(**settings)
    source, target = OnGpu(current, NIGHT, NIGHT.strides[0], 0), OnGpu(current, NIGHT, NIGHT.strides[0], 0)
    stream = current.Stream(1)
    enqueued = [runtime.enhance_device(source.picture, target.picture, stream=stream.handle) for _ in range(3)]
    expected, pixels = enqueued_on_host(settings)
    for each in enqueued:
        info = each.info()
        assert info.gain == pytest.approx(
            expected.gain, rel=1e-3 if runtime.info.metadata.precision == "fp32" else 1e-2
        )
        assert info.predicted_psnr == pytest.approx(expected.predicted_psnr, abs=1)
    stream.synchronize()
    agrees(target.back()[0], pixels, runtime)


def test_pictures_of_other_libraries(on_gpu: OpenGpu) -> None:
    runtime = on_gpu(consistency="local")
    reference = runtime.enhance(NIGHT)
    cupy = pytest.importorskip("cupy")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        source, target = cupy.asarray(NIGHT), cupy.zeros(NIGHT.shape, cupy.uint8)
        runtime.enhance_device(source, target, stream=stream.ptr)
        doubled = target.astype(cupy.int32) * 2  # the caller's next work follows ours
        stream.synchronize()
        equals(cupy.asnumpy(target), reference, runtime)
        np.testing.assert_array_equal(cupy.asnumpy(doubled), cupy.asnumpy(target).astype(np.int32) * 2)
        target[...] = 0
        runtime.enhance_device(DlpackAlone(source), DlpackAlone(target), stream=stream.ptr)
        stream.synchronize()
        equals(cupy.asnumpy(target), reference, runtime)
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        night, result = torch.from_numpy(NIGHT).cuda(), torch.zeros(NIGHT.shape, dtype=torch.uint8, device="cuda")
        runtime.enhance_device(night, result, stream=torch.cuda.current_stream().cuda_stream)
        equals(result.cpu().numpy(), reference, runtime)


class DlpackAlone:
    """A CuPy array that offers nothing but DLPack."""

    def __init__(self, array: Any) -> None:
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__


def described(array: Any, **values: Any) -> Any:
    """A CuPy array with other values in its `__cuda_array_interface__`."""
    return SimpleNamespace(__cuda_array_interface__={**array.__cuda_array_interface__, **values}, kept=array)


def test_a_read_only_picture_is_read_and_never_written(on_gpu: OpenGpu) -> None:
    runtime, cupy = on_gpu(consistency="local"), pytest.importorskip("cupy")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        source, target = cupy.asarray(NIGHT), cupy.zeros(NIGHT.shape, cupy.uint8)
        kept = described(source, data=(source.data.ptr, True))
        runtime.enhance_device(kept, target, stream=stream.ptr)
        stream.synchronize()
        equals(cupy.asnumpy(target), runtime.enhance(NIGHT), runtime)
        with pytest.raises(ImageError, match="dst is read-only"):
            runtime.enhance_device(target, kept, stream=stream.ptr)


def test_the_work_waits_for_the_producers_stream(on_gpu: OpenGpu) -> None:
    """The picture is copied into place after a second of multiplications, on a stream that nothing else waits for."""
    runtime, cupy = on_gpu(consistency="local"), pytest.importorskip("cupy")
    reference = runtime.enhance(NIGHT)
    producer, consumer = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    source, target, night = (
        cupy.zeros(NIGHT.shape, cupy.uint8),
        cupy.zeros(NIGHT.shape, cupy.uint8),
        cupy.asarray(NIGHT),
    )
    runtime.enhance_device(source, target, stream=consumer.ptr)  # the first picture of a shape may wait
    square = cupy.zeros((8192, 8192), cupy.float32)
    cupy.cuda.Device().synchronize()
    with producer:
        for _ in range(40):
            cupy.matmul(square, square, out=cupy.empty_like(square))
        source[...] = night
        assert not producer.done, "the producer was too fast for this test to say anything"
    runtime.enhance_device(described(source, stream=producer.ptr), target, stream=consumer.ptr)
    consumer.synchronize()
    equals(cupy.asnumpy(target), reference, runtime)


def test_pictures_that_lie_elsewhere_are_refused(on_gpu: OpenGpu) -> None:
    runtime, cupy = on_gpu(consistency="local"), pytest.importorskip("cupy")
    there = cupy.asarray(NIGHT)
    with pytest.raises(ImageError, match="is on the CPU, and this runtime on cuda:0"):
        runtime.enhance_device(NIGHT, there, stream=1)
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is no second GPU")
    with cupy.cuda.Device(1):
        other = cupy.asarray(NIGHT)
    for picture_of in (described, DlpackAlone):
        with pytest.raises(ImageError, match="is on cuda:1, and this runtime on cuda:0"):
            runtime.enhance_device(picture_of(other), there, stream=1)


def test_enqueueing_returns_before_the_work_is_done(on_gpu: OpenGpu, current: Any) -> None:
    runtime = on_gpu(consistency="local")
    image = np.tile(NIGHT, (3, 3, 1))
    pitch = image.shape[1] * 3
    source, target = OnGpu(current, image, pitch, 0), OnGpu(current, np.zeros_like(image), pitch, 0)
    stream, begun, ended = current.Stream(1), current.Event(), current.Event()
    for _ in range(2):
        runtime.enhance_device(source.picture, target.picture, stream=stream.handle)
        stream.synchronize()
    begun.record(stream)
    runtime.enhance_device(source.picture, target.picture, stream=stream.handle)
    ended.record(stream)
    assert not ended.query(), "the call waited for the work"
    stream.synchronize()

"""The pipeline on a device whose streams run as late or as early as they may (`deferred`), against the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from deferred import OnDevice, Open, picture
from numpy.typing import NDArray

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.engines.base import HostEngine
from mirnet_deploy.errors import EngineError, ImageError
from mirnet_deploy.pipeline.work import Started, Work

NIGHT = Path(__file__).parents[3] / "examples" / "pairs" / "low" / "1.jpg"
EAGER = pytest.mark.parametrize("eager", [(), (0,), (1,), (0, 1)], ids=["late", "even", "odd", "all"])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("consistency", "batch"), [("local", 1), ("fast", 3), ("exact", 1), ("exact", 3)])
@EAGER
def test_a_device_gives_the_results_of_the_host(
    pair: Open, dtype: Any, consistency: str, batch: int, eager: tuple[int, ...]
) -> None:
    host, device, _ = pair(consistency=consistency, batch=batch, eager=eager)
    image = picture(dtype=dtype)
    expected, result = host.enhance_with_info(image), device.enhance_with_info(image)
    np.testing.assert_array_equal(result.pixels, expected.pixels)
    assert result.info.passes == expected.info.passes
    assert result.info.tiles > 6


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (64, 64), (61, 200)])
def test_any_size(pair: Open, shape: tuple[int, int]) -> None:
    _, device, _ = pair("identity")
    np.testing.assert_array_equal(device.enhance(picture(*shape)), picture(*shape))


def test_the_image_interface_and_odd_strides(pair: Open) -> None:
    host, device, _ = pair(interface="image")
    image = picture(300, 220)[::-2, ::-1]
    np.testing.assert_array_equal(device.enhance(image), host.enhance(image))


@EAGER
def test_a_picture_that_does_not_fit_on_the_device_goes_through_in_bands(pair: Open, eager: tuple[int, ...]) -> None:
    image = picture(600, 400)
    host, device, driver = pair(most=5_000_000, eager=eager)
    np.testing.assert_array_equal(device.enhance(image), host.enhance(image))
    resident = sum(driver.held.values())
    small, other, banded = pair(most=1_500_000, eager=eager)
    np.testing.assert_array_equal(other.enhance(image), small.enhance(image))
    assert sum(banded.held.values()) < resident - image.nbytes


def test_a_band_is_uploaded_while_the_one_before_it_is_computed(pair: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    _, device, driver = pair("identity", consistency="local", most=1_500_000)
    log: list[str] = []
    upload, ended = driver.upload, Work._ended
    rows = 400 * 3

    def logged_upload(host: NDArray[Any], address: int, pitch: int, stream: Any) -> None:
        if host.shape[1] == rows:
            log.append("up")
        upload(host, address, pitch, stream)

    def logged_end(self: Work, started: Started) -> Any:
        log.append("wait")
        return ended(self, started)

    monkeypatch.setattr(driver, "upload", logged_upload)
    monkeypatch.setattr(Work, "_ended", logged_end)
    device.enhance(picture(600, 400))
    bands = log.count("up")
    assert bands > 5
    assert log == ["up", *["up", "wait"] * (bands - 1), "wait"]


def test_nan_values_are_an_error(pair: Open) -> None:
    _, device, _ = pair("nan")
    with pytest.raises(EngineError, match="values that are NaN or infinite"):
        device.enhance(picture())


def test_nan_means_are_an_error(pair: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the interface `image`, only they show an overflow."""
    host = pair("mean", interface="image")[0]
    assert isinstance(host.engine, HostEngine)
    run = host.engine.run_pooled

    def overflowed(batch: Any, pools: Any) -> Any:
        result, statistics = run(batch, pools)
        return result, statistics * np.float32(np.nan)

    monkeypatch.setattr(host.engine, "run_pooled", overflowed)
    with pytest.raises(EngineError, match="values that are NaN or infinite"):
        host.enhance(picture())


def test_memory_stays_constant_and_is_freed_at_the_end(pair: Open) -> None:
    _, device, driver = pair()
    device.enhance(picture())
    held = dict(driver.held)
    for _ in range(3):
        device.enhance(picture())
    assert driver.held == held
    device.close()
    assert driver.held == {}
    assert driver.closed == 1
    with pytest.raises(EngineError, match="closed"):
        device.enhance(picture())


# Pictures on the device


@pytest.mark.parametrize("interface", ["float", "image"])
@pytest.mark.parametrize(("channels", "bgr"), [(3, False), (3, True), (4, False), (4, True)])
@EAGER
def test_a_picture_on_the_device_is_enhanced_in_the_order_of_the_callers_stream(
    pair: Open, interface: str, channels: int, bgr: bool, eager: tuple[int, ...]
) -> None:
    host, device, driver = pair(interface=interface, eager=eager)
    image = picture(88, 107, channels=channels)
    colours = image[..., :3][..., ::-1] if bgr else image[..., :3]
    expected = host.enhance(np.ascontiguousarray(colours))
    source, target = OnDevice(driver, np.zeros_like(image), bgr), OnDevice(driver, np.zeros_like(image), bgr)
    callers = driver.callers_stream()
    callers.enqueue(lambda: np.copyto(source.pixels, image))  # enqueued by the caller before the call
    device.enhance_device(source.picture, target.picture, stream=callers.handle)
    waits = [stream.waits for stream in driver.streams.values()]
    after = []
    callers.enqueue(lambda: after.append(target.pixels.copy()))
    assert eager or not target.pixels.any(), "nothing has happened yet"
    device.enhance_device(source.picture, target.picture, stream=callers.handle)
    assert [stream.waits for stream in driver.streams.values()] == waits, "a known shape waits for nothing"
    callers.synchronize()
    result = after[0][..., :3][..., ::-1] if bgr else after[0][..., :3]
    assert np.abs(result.astype(int) - expected).max() <= 1  # a fixed number of passes
    if channels == 4:
        np.testing.assert_array_equal(after[0][..., 3], image[..., 3])
    assert (target.margins() == 0xA5).all()
    for each in (source, target):
        each.memory.free()


def test_a_second_pass_comes_closer(pair: Open) -> None:
    """The artifact "mean" has one stage, so the second pass takes exact means."""
    host, device, driver = pair()
    whole = MIRNetRuntime(host.info.path, device="cpu", tile="none").enhance(picture(dtype=np.float32))
    source = OnDevice(driver, picture(dtype=np.float32))
    errors = []
    for passes in (1, 2):
        target = OnDevice(driver, np.zeros((150, 203, 3), np.float32))
        callers = driver.callers_stream()
        device.enhance_device(source.picture, target.picture, stream=callers.handle, passes=passes)
        callers.synchronize()
        errors.append(float(np.abs(target.pixels - whole).max()))
        target.memory.free()
    source.memory.free()
    assert errors[1] < 1e-6 < errors[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"height": 149}, "dst is"),
        ({"channels": 4}, "dst is"),
        ({"bgr": True}, "dst is"),
        ({"dtype": np.dtype(np.uint16)}, "dst is"),
    ],
)
def test_device_pictures_that_differ_are_refused(pair: Open, change: dict[str, Any], said: str) -> None:
    _, device, driver = pair()
    picture_there = OnDevice(driver, picture())
    with pytest.raises(ImageError, match=said):
        device.enhance_device(picture_there.picture, replace(picture_there.picture, **change), stream=1)
    picture_there.memory.free()


def test_a_real_picture(pair: Open) -> None:
    """A real photograph, for the geometry; with the bundled model it would take minutes here."""
    host, device, _ = pair("blur", tile=128)
    image = cv2.cvtColor(cv2.imread(str(NIGHT)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(device.enhance(image), host.enhance(image))

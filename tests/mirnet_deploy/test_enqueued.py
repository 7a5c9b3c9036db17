"""Pictures on the deferred device: what is done to results after the network, and what is known without waiting."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from deferred import Driver, Engine, OnDevice, Open, picture
from numpy.typing import NDArray

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.consistency.prediction import difference
from mirnet_deploy.devices.result_kernels import HISTOGRAM_BYTES, SUMS_BYTES
from mirnet_deploy.errors import EngineError
from mirnet_deploy.pipeline.reports import Reports
from mirnet_deploy.pipeline.slots import Observer, Slot


def enhanced_there(runtime: MIRNetRuntime, driver: Driver, image: NDArray[Any], **how: Any) -> tuple[NDArray[Any], Any]:
    """The result of `enhance_device`, and what it returned."""
    source, target = OnDevice(driver, image), OnDevice(driver, np.zeros_like(image))
    callers = driver.callers_stream()
    enqueued = runtime.enhance_device(source.picture, target.picture, stream=callers.handle, **how)
    assert driver.eager or not enqueued.done()
    info = enqueued.info()
    assert enqueued.done()
    callers.synchronize()
    result = target.pixels.copy()
    source.memory.free()
    target.memory.free()
    return result, info


EAGER = pytest.mark.parametrize("eager", [(), (0,), (0, 1)], ids=["late", "even", "all"])
"""Which streams work as soon as something is enqueued."""


@EAGER
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "settings",
    [{"brightness": 0.4}, {"strength": 0.3}, {"brightness": 0.7, "strength": 0.5}, {"brightness": 0.0}],
)
def test_brightness_and_strength_are_those_of_the_host(
    pair: Open, settings: dict[str, Any], dtype: Any, eager: tuple[int, ...]
) -> None:
    host, device, driver = pair("blur", consistency="local", eager=eager, **settings)
    image = picture(88, 107, dtype)
    expected = host.enhance_with_info(image)
    result, info = enhanced_there(device, driver, image)
    if dtype == np.float32:
        np.testing.assert_allclose(result, expected.pixels, atol=1e-6)
    else:
        assert np.abs(result.astype(int) - expected.pixels).max() <= 1  # gains agree as floats do, and may round apart
        assert (result != expected.pixels).mean() < 5e-3
    if "brightness" in settings:
        assert info.gain == pytest.approx(expected.info.gain, rel=1e-6)
    else:
        assert info.gain is None


def test_the_fourth_channel_is_kept_beside_a_tone_curve(pair: Open) -> None:
    _, device, driver = pair("identity", consistency="local", brightness=0.5)
    image = picture(channels=4)
    result, _ = enhanced_there(device, driver, image)
    np.testing.assert_array_equal(result[..., 3], image[..., 3])
    assert result[..., :3].mean() == pytest.approx(0.5 * 255, rel=0.01)


def test_the_interface_image_is_finished_in_place(pair: Open) -> None:
    host, device, driver = pair(interface="image", consistency="local", brightness=0.6)
    result, _ = enhanced_there(device, driver, picture())
    np.testing.assert_allclose(result, host.enhance(picture()), atol=1)


@EAGER
def test_the_error_is_predicted(pair: Open, eager: tuple[int, ...]) -> None:
    """The artifact "mean" has one stage: the second pass takes exact means, the first does not."""
    host, device, driver = pair(eager=eager)
    image = picture(dtype=np.float32)
    with MIRNetRuntime(host.info.path, device="cpu", tile="none") as whole:
        reference = whole.enhance(image)
    infos = []
    for passes in (1, 2):
        result, info = enhanced_there(device, driver, image, passes=passes)
        infos.append(info)
        assert info.predicted_psnr <= difference(result, reference)[0] + 1e-9
        assert info.predicted_max_abs >= np.abs(result - reference).max()
        assert (info.passes, info.tiles) == (passes, host.enhance_with_info(image).info.tiles)
    assert infos[0].predicted_psnr < 70
    assert infos[1].predicted_psnr > 100
    assert infos[1].within_tolerance


def test_nothing_is_predicted_where_no_means_are_shared(pair: Open) -> None:
    _, device, driver = pair(consistency="local")
    info = enhanced_there(device, driver, picture())[1]
    assert info.predicted_psnr is info.predicted_max_abs is info.within_tolerance is info.gain is None


@pytest.mark.parametrize("consistency", ["exact", "local"])
def test_nan_values_are_an_error_of_the_info(pair: Open, consistency: str) -> None:
    _, device, driver = pair("nan", consistency=consistency)
    source, target = OnDevice(driver, picture()), OnDevice(driver, picture())
    enqueued = device.enhance_device(source.picture, target.picture, stream=driver.callers_stream().handle)
    with pytest.raises(EngineError, match="NaN or infinite"):
        enqueued.info()
    source.memory.free()
    target.memory.free()


def test_each_picture_keeps_its_own_report(pair: Open) -> None:
    _, device, driver = pair("identity", consistency="local", brightness=0.5)
    images = [np.full((20, 30, 3), level, np.uint8) for level in (20, 60, 180)]
    there = [(OnDevice(driver, image), OnDevice(driver, image)) for image in images]
    callers = driver.callers_stream()
    pending = [device.enhance_device(a.picture, b.picture, stream=callers.handle) for a, b in there]
    gains = [each.info().gain for each in reversed(pending)][::-1]
    assert gains == pytest.approx([255 / 20 - 1, 255 / 60 - 1, 255 / 180 - 1], rel=1e-3)
    callers.synchronize()
    for pictures in there:
        for each in pictures:
            each.memory.free()


def test_the_memory_of_a_report_is_used_again_when_its_download_is_done(tmp_path: Path) -> None:
    engine = Engine(make_onnx(tmp_path / "a.onnx"), Driver())
    slot, reports = Slot(engine, Observer()), Reports(engine.driver)
    reports.download(slot)  # dropped at once, and not done: its memory must not be handed out again
    gc.collect()
    kept = [reports.download(slot) for _ in range(63)]
    assert not reports._free
    late = reports.download(slot)  # takes new memory
    assert len(reports._free) == 63
    kept[0].wait()  # the stream has passed the first, too
    reports.download(slot)
    assert len(reports._free) == 63
    assert not late.done()
    slot.close()
    reports.close()
    assert engine.driver.events == len(kept) + 1, "of those in use alone"
    del kept, late
    gc.collect()
    assert engine.driver.events == 0
    engine.close()


def test_a_report_outlives_its_runtime(pair: Open) -> None:
    _, device, driver = pair("identity", consistency="local", brightness=0.5)
    source, target = OnDevice(driver, picture()), OnDevice(driver, picture())
    enqueued = device.enhance_device(source.picture, target.picture, stream=driver.callers_stream().handle)
    device._enhancer.close()  # waits for the work
    assert enqueued.info().gain > 0
    del enqueued
    gc.collect()
    assert driver.events == 0
    source.memory.free()
    target.memory.free()


@pytest.mark.parametrize("settings", [{"consistency": "local"}, {}, {"brightness": 0.4, "strength": 0.5}])
def test_the_memory_that_a_picture_takes_is_within_the_plan(pair: Open, settings: dict[str, Any]) -> None:
    _, device, driver = pair(**settings)
    image = picture(600, 403)
    source, target = OnDevice(driver, image), OnDevice(driver, image)
    before = sum(driver.held.values())
    planned: list[int] = []
    fitting = device._enhancer._fitting
    fitted = fitting._plan

    def plan(*arguments: Any) -> Any:
        planned.append(fitted(*arguments).total)
        return fitted(*arguments)

    fitting._plan, fitting._most = plan, 1 << 40  # type: ignore[method-assign]
    driver.peak = 0
    device.enhance_device(source.picture, target.picture, stream=driver.callers_stream().handle).info()
    taken = driver.peak - before
    assert taken <= planned[0] <= 1.6 * taken + HISTOGRAM_BYTES + SUMS_BYTES  # which are planned in any case
    source.memory.free()
    target.memory.free()

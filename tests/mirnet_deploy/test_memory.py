"""Memory: the memory plan against what is allocated, limits that are kept, and the retreat where memory runs out."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from deferred import Driver, Engine, OnDevice, Open, picture
from numpy.typing import NDArray

from mirnet_deploy import MIRNetRuntime, enhancing
from mirnet_deploy.consistency import patches
from mirnet_deploy.engines.base import BatchShape
from mirnet_deploy.errors import DeviceMemoryError, EngineError, MirnetDeployWarning, OtherTilesWarning
from mirnet_deploy.pipeline import limits

FULL = DeviceMemoryError("the device is full")


def quiet(each: MIRNetRuntime, image: NDArray[Any]) -> NDArray[Any]:
    """The result of a call that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return each.enhance(image)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((150, 203), {"consistency": "local"}),
        ((150, 203), {"batch": 3}),
        ((600, 403), {"tile": 128}),
        ((600, 403), {"tile": 128, "batch": 4, "consistency": "fast"}),
        ((90, 90), {"tile": "none"}),
    ],
)
def test_the_memory_plan_is_what_is_allocated(pair: Open, size: tuple[int, int], settings: Any, dtype: Any) -> None:
    _, device, driver = pair(**settings)
    planned = device.memory_plan(*size, dtype).total
    device.enhance(picture(*size, dtype))
    assert driver.peak <= planned <= 1.3 * driver.peak


def test_the_memory_plan_of_a_picture_that_is_sampled(pair: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "SAMPLE_COST", 9.0)
    monkeypatch.setattr(patches, "FEWEST", 1)
    _, device, driver = pair(tile=128)
    planned = device.memory_plan(600, 403).total
    assert device.enhance_with_info(picture(600, 403)).info.sampled > 0
    assert driver.peak <= planned <= 1.3 * driver.peak


def test_the_memory_plan_of_bands_is_what_is_allocated(pair: Open) -> None:
    _, device, driver = pair(most=3_000_000)
    planned = device.memory_plan(600, 700)
    assert planned.banded
    device.enhance(picture(600, 700))
    assert driver.peak <= planned.total <= 1.3 * driver.peak


CHILD = """
import json, re, sys
import numpy as np
from mirnet_deploy import MIRNetRuntime, enhancing
def of(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
height, width, tile = json.loads(sys.argv[1])
image = np.random.default_rng(0).integers(0, 40, (height, width, 3), dtype=np.uint8)
with MIRNetRuntime("lite", device="cpu", tile=tile, tolerance=20.0) as runtime:  # in few passes
    import cv2
    before = of("VmRSS")
    planned = runtime.memory_plan(height, width).total
    runtime.enhance(image)
    print(json.dumps([of("VmHWM") - before, planned]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("asked", [(500, 400, "none"), (300, 400, 256)])
def test_the_memory_plan_of_the_bundled_model_is_what_the_process_takes(asked: tuple[Any, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, json.dumps(asked)], capture_output=True, text=True, check=True)
    taken, planned = json.loads(done.stdout)
    assert taken <= planned <= 1.3 * taken


def test_the_memory_plan_counts_what_brightness_takes(tmp_path: Path) -> None:
    """In 16 bits: a copy of the picture, and the result before it becomes 8 bits again."""
    path = make_onnx(tmp_path / "a.onnx", "mean")
    peaks, plans = [], []
    image = picture(1200, 900)
    for brightness in ("auto", 0.5):
        with MIRNetRuntime(path, device="cpu", tile=64, brightness=brightness) as runtime:  # type: ignore[arg-type]
            runtime.enhance(picture(30, 30))
            tracemalloc.start()
            runtime.enhance(image)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            plans.append(runtime.memory_plan(1200, 900).pictures)
            assert runtime.memory_plan(1200, 900, np.uint16).pictures == plans[0] + 3 * 1200 * 900
    assert plans[1] - plans[0] == 12 * 1200 * 900
    assert peaks[1] - peaks[0] == pytest.approx(plans[1] - plans[0], rel=0.3)


def test_max_memory_is_kept(pair: Open) -> None:
    image = picture(600, 403)
    free, most = pair(tile=256, batch=4)[1:], 4_000_000
    quiet(free[0], image)
    assert free[1].peak > most
    host, device, driver = pair(tile=256, batch=4, max_memory=most)
    planned = device.memory_plan(600, 403)
    assert planned.total <= most
    result = device.enhance_with_info(image)
    assert driver.peak <= most
    assert result.info.tile_size == planned.tile_size
    assert result.info.within_tolerance
    np.testing.assert_array_equal(quiet(device, picture(30, 30)), host.enhance(picture(30, 30)))


def test_a_max_memory_that_cannot_be_kept_is_an_error(pair: Open) -> None:
    _, device, _ = pair(max_memory=100_000)
    with pytest.raises(DeviceMemoryError, match=r"203x150 takes at least \d+ MiB, and max_memory is 0 MiB; .*n_feat"):
        device.enhance(picture())


def test_tiles_get_smaller_with_one_warning_where_memory_runs_out(pair: Open) -> None:
    image = picture(600, 403)
    smaller = pair(tile=128)[0].enhance(image)
    _, device, driver = pair(tile=256, batch=2, most=2_300_000)
    with pytest.warns(MirnetDeployWarning, match="out of memory; from now on one run at a time") as said:
        result = device.enhance_with_info(image)
    assert [each.filename for each in said] == [__file__], "the warning points at the caller's line"
    assert max(result.info.tile_size) < 256
    assert np.abs(result.pixels.astype(int) - smaller).max() <= 1
    again = quiet(device, image)  # later pictures start with the smaller tiles
    np.testing.assert_array_equal(again, result.pixels)
    device.close()
    assert driver.held == {}


def test_one_failed_allocation_keeps_the_tile_size(pair: Open) -> None:
    host, device, driver = pair(batch=2)
    driver.refused = [FULL]
    with pytest.warns(MirnetDeployWarning, match="one run at a time, batches of 2, tiles of 64x64"):
        result = device.enhance(picture())
    np.testing.assert_array_equal(result, host.enhance(picture()))


def test_out_of_memory_without_tiles_names_the_remedy(pair: Open) -> None:
    _, device, _ = pair("identity", tile="none", most=600_000)
    with pytest.raises(DeviceMemoryError, match=r"300x400 does not fit into .*; use tile='auto'"):
        device.enhance(picture(400, 300))
    np.testing.assert_array_equal(device.enhance(picture(40, 30)), picture(40, 30))


def test_pictures_on_the_device_retreat_too(pair: Open) -> None:
    host, device, driver = pair(consistency="local")
    source, target = OnDevice(driver, picture()), OnDevice(driver, np.zeros_like(picture()))
    callers = driver.callers_stream()
    driver.refused = [FULL]
    with pytest.warns(MirnetDeployWarning, match="one run at a time"):
        device.enhance_device(source.picture, target.picture, stream=callers.handle)
    callers.synchronize()
    np.testing.assert_array_equal(target.pixels, host.enhance(picture()))
    source.memory.free()
    target.memory.free()


def test_threads_that_run_out_of_memory_together_give_the_right_results(pair: Open) -> None:
    host, device, _ = pair("blur", consistency="local", most=430_000)
    images = [np.roll(picture(), step, axis=0) for step in range(12)]
    with ThreadPoolExecutor(6) as threads, pytest.warns(MirnetDeployWarning, match="ran out of memory"):
        results = list(threads.map(device.enhance, images))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result, host.enhance(image))


def test_a_permanent_error_ends_the_runtime(pair: Open) -> None:
    _, device, driver = pair()
    device.enhance(picture())
    driver.broken = "CUDA failed before (an illegal memory access); start the process anew"
    for _ in range(2):
        with pytest.raises(EngineError, match=r"illegal memory access.*start the process anew"):
            device.enhance(picture())
    closing = threading.Thread(target=device.close)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    assert driver.held == {}


def test_a_thousand_pictures_leave_memory_where_it_was(pair: Open) -> None:
    _, device, driver = pair("identity", consistency="local")
    for size in (1, 30, 70, 64):
        device.enhance(picture(size, 70))
    held, graphs = dict(driver.held), driver.captures
    for count in range(1000):
        device.enhance(picture((1, 30, 70, 64)[count % 4], 70))
    assert driver.held == held
    assert driver.captures <= graphs + 8


def test_fifty_runtimes_leave_nothing(tmp_path: Any) -> None:
    path = make_onnx(tmp_path / "a.onnx")
    for _ in range(50):
        driver = Driver()
        with MIRNetRuntime(Engine(path, driver), tile=64) as each:
            each.enhance(picture(70, 30))
            assert driver.held
        assert driver.held == {}
        assert driver.closed == 1


RETREAT = """
import resource, sys, warnings
import numpy as np
from mirnet_deploy import MIRNetRuntime, enhancing
image = np.random.default_rng(0).integers(0, 40, (520, 520, 3), dtype=np.uint8)
with MIRNetRuntime("lite", device="cpu", tile=512, threads=1, consistency="local") as runtime:
    runtime.enhance(image[:200, :200])
    held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (200 << 20),) * 2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = runtime.enhance_with_info(image)
    print(result.info.tile_size, [str(each.message) for each in said])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_process_that_gets_no_more_memory_retreats() -> None:
    done = subprocess.run([sys.executable, "-c", RETREAT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "(256, 256) ['cpu ran out of memory; from now on one run at a time, batches of 1, tiles"
    )


SCRATCH = 10_000_000
"""Bytes that each runner of `Scratch` allocates, as those of TensorRT do."""


class Scratch(Engine):
    """An engine whose runners take memory of their own."""

    def footprint(self, *shapes: BatchShape) -> int:
        return SCRATCH

    def runner(self, stream: Any) -> Any:
        runner, memory = super().runner(stream), self.driver.allocate(SCRATCH)
        close = runner.close

        def close_and_free() -> None:
            close()
            memory.free()

        runner.close = close_and_free
        return runner


@pytest.mark.parametrize(
    ("size", "settings", "slots", "banded"),
    [
        ((60, 3000), {"max_memory": 12_000_000}, 1, True),
        ((60, 3000), {}, 2, False),
        ((600, 400), {"max_memory": 24_000_000, "batch": 200}, 2, True),
        ((600, 400), {"max_memory": 21_500_000, "batch": 200}, 1, True),
    ],
)
def test_the_memory_plan_counts_the_slots_that_are_made(
    tmp_path: Path, size: tuple[int, int], settings: dict[str, Any], slots: int, banded: bool
) -> None:
    engine = Scratch(make_onnx(tmp_path / "a.onnx", "mean"))
    with MIRNetRuntime(engine, tile=64, consistency="local", **settings) as each:
        plan = each.memory_plan(*size)
        assert (plan.slots, plan.banded) == (slots, banded)
        each.enhance(picture(*size))
        assert engine.driver.peak <= plan.total <= 1.3 * engine.driver.peak
        assert plan.total <= settings.get("max_memory", plan.total)


def test_a_retreat_to_tiles_is_said_to_be_another_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that ran whole, though larger than a tile, runs in tiles afterwards."""
    monkeypatch.setattr(enhancing, "whole_budget", lambda engine, most, alone: 8 * 700 * 700)
    engine = Engine(make_onnx(tmp_path / "a.onnx", "mean"), Driver())
    with MIRNetRuntime(engine, consistency="local") as each:
        engine.driver.refused = [FULL] * 3
        with pytest.warns(OtherTilesWarning, match=r"ran out of memory") as said:
            result = each.enhance_with_info(picture(700, 600))
        assert result.info.tiles > 1
        assert str(said[0].message).endswith("and other tiles are another result")


def test_whole_pixels_decide_alone_which_pictures_run_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 1 << 20)  # too little for any
    model = make_onnx(tmp_path / "a.onnx", "mean")
    with MIRNetRuntime(model, device="cpu", consistency="local", whole_pixels=720 * 600) as each:
        assert each.info.tile_size == (464, 464)
        assert each.enhance_with_info(picture(720, 600)).info.tiles == 1
        assert each.enhance_with_info(picture(724, 600)).info.tiles > 1
    with MIRNetRuntime(model, device="cpu", consistency="local", backend="onnxruntime") as each:
        assert each.enhance_with_info(picture(720, 600)).info.tiles > 1


def test_what_an_attempt_has_written_is_taken_back(pair: Open) -> None:
    """So that in every pass the numbers add up to the picture."""
    device = pair("identity", consistency="local")[1]
    told: list[int] = []

    def advance(pixels: int) -> None:
        told.append(pixels)
        if len(told) == 5:
            raise FULL

    image = picture(150, 203)
    with pytest.warns(MirnetDeployWarning, match="ran out of memory"):
        device.enhance_into(image, np.empty_like(image), advance)
    assert told[5] == -sum(told[:5]) < 0
    assert sum(told) == 150 * 203

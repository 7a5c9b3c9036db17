"""CUDA graphs on the deferred device: a replay does what enqueueing would have done."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from deferred import Driver, Engine, Open, picture

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.devices.base import Tensor
from mirnet_deploy.errors import DeviceMemoryError, EngineError, MirnetDeployWarning


@pytest.mark.parametrize("eager", [(), (0,), (0, 1)], ids=["late", "even", "all"])
@pytest.mark.parametrize("settings", [{}, {"batch": 3}, {"consistency": "local"}, {"tile": "none"}])
@pytest.mark.parametrize("at_once", [False, True])
def test_replayed_graphs_give_the_results_of_the_host(
    pair: Open, settings: dict[str, Any], eager: tuple[int, ...], at_once: bool
) -> None:
    host, device, driver = pair(eager=eager, at_once=at_once, **settings)
    for step in range(4):
        image = np.roll(picture(), 30 * step, axis=1)
        np.testing.assert_array_equal(device.enhance(image), host.enhance(image))
    assert device.graphs == "on"
    assert driver.launches > driver.captures > 0


@pytest.mark.parametrize("at_once", [False, True])
def test_changing_shapes_do_not_replay_each_others_graphs(pair: Open, at_once: bool) -> None:
    host, device, driver = pair(at_once=at_once)
    for step in range(3):
        for size in ((150, 203), (70, 30), (64, 300), (150, 203), (300, 200)):
            image = np.roll(picture(*size), 7 * step, axis=0)
            np.testing.assert_array_equal(device.enhance(image), host.enhance(image))
    assert driver.launches


@pytest.mark.parametrize("at_once", [False, True])
def test_a_device_that_cannot_capture_warns_once_and_goes_on(pair: Open, at_once: bool) -> None:
    host, device, driver = pair(at_once=at_once)
    driver.capturable = False
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            np.testing.assert_array_equal(device.enhance(picture()), host.enhance(picture()))
    assert [str(each.message) for each in said] == [
        "CUDA graphs are off, and every kernel is launched by itself: the test's device captures nothing"
    ]
    assert device.graphs == "refused: the test's device captures nothing"


def test_a_batch_is_captured_once_right_after_its_first_run(pair: Open) -> None:
    """So that its shape is never run again the slow way."""
    _, device, driver = pair(at_once=True, consistency="local", batch=1)
    runs = 0

    def count(pixels: int) -> None:
        nonlocal runs
        runs += 1

    image = picture(64, 300)
    for _ in range(3):
        device.enhance_into(image, np.empty_like(image), count)
    assert 0 < driver.captures <= 2  # slots
    assert driver.launches == runs - driver.captures


def test_pictures_of_one_size_take_one_graph_for_each_shape(pair: Open) -> None:
    """Buffers have their last size before the first run, and shared means lie in each slot's own: no shape is captured
    twice, which takes seconds."""
    _, device, driver = pair(at_once=True, batch=1)
    for _ in range(4):
        device.enhance(picture(600, 800))
    shapes = 2  # of tiles and of the thumbnail
    assert driver.captures <= shapes + 1, "the second slot has tiles only"


class Refusing:
    """A graph of a device that has failed."""

    def launch(self, stream: Any) -> None:
        raise EngineError("broken")

    def close(self) -> None:
        raise EngineError("broken")


def test_a_runner_is_closed_although_its_graphs_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    engine = Engine(make_onnx(tmp_path / "a.onnx"), Driver(), at_once=True)
    monkeypatch.setattr(engine.driver, "capture", lambda stream, enqueue: Refusing())
    runner = engine.runner(engine.driver.stream())
    monkeypatch.setattr(runner._runner, "close", lambda: closed.append("runner"))
    tensors = {"input": Tensor(64, (1, 3, 8, 8)), "output": Tensor(4096, (1, 3, 8, 8))}
    runner.enqueue(tensors)
    with pytest.raises(EngineError, match="broken"):
        runner.close()
    assert closed == ["runner"]


@pytest.mark.parametrize("at_once", [False, True])
def test_a_lack_of_memory_is_not_taken_for_a_refusal_of_graphs(pair: Open, at_once: bool) -> None:
    host, device, driver = pair(consistency="local", at_once=at_once)
    driver.refused_captures = [DeviceMemoryError("full")]
    with pytest.warns(MirnetDeployWarning, match="ran out of memory"):
        result = device.enhance(picture())
    np.testing.assert_array_equal(result, host.enhance(picture()))
    assert device.graphs == "on"


def test_graphs_can_be_turned_off(tmp_path: Path) -> None:
    driver = Driver()
    with MIRNetRuntime(Engine(make_onnx(tmp_path / "a.onnx"), driver, graphs=False), tile=64) as each:
        for _ in range(3):
            each.enhance(picture())
        assert each.graphs == "off"
        assert not driver.captures


def test_a_cpu_has_no_graphs(pair: Open) -> None:
    assert pair()[0].graphs == "off"

"""CUDA graphs on the deferred device: a replay does what enqueueing would have done."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from deferred import Driver, Engine, Open, picture

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.devices.base import Tensor
from mirnet_deploy.engines.graphs import MOST, GraphPolicy, GraphRunner
from mirnet_deploy.errors import DeviceMemoryError, EngineError, MirnetDeployWarning


@pytest.mark.parametrize("eager", [(), (0,), (0, 1)], ids=["late", "even", "all"])
@pytest.mark.parametrize("settings", [{}, {"batch": 3}, {"consistency": "local"}, {"tile": "none"}])
@pytest.mark.parametrize("one_shape", [False, True])
def test_replayed_graphs_give_the_results_of_the_host(
    pair: Open, settings: dict[str, Any], eager: tuple[int, ...], one_shape: bool
) -> None:
    host, device, driver = pair(eager=eager, one_shape=one_shape, **settings)
    for step in range(4):
        image = np.roll(picture(88, 107), 30 * step, axis=1)
        np.testing.assert_array_equal(device.enhance(image), host.enhance(image))
    assert device.graphs == "on"
    assert driver.launches > driver.captures > 0


@pytest.mark.parametrize("one_shape", [False, True])
def test_changing_shapes_do_not_replay_each_others_graphs(pair: Open, one_shape: bool) -> None:
    host, device, driver = pair(one_shape=one_shape)
    for step in range(3):
        for size in ((150, 203), (70, 30), (64, 300), (150, 203), (300, 200)):
            image = np.roll(picture(*size), 7 * step, axis=0)
            np.testing.assert_array_equal(device.enhance(image), host.enhance(image))
    assert driver.launches


@pytest.mark.parametrize("one_shape", [False, True])
def test_a_device_that_cannot_capture_warns_once_and_goes_on(pair: Open, one_shape: bool) -> None:
    host, device, driver = pair(one_shape=one_shape)
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
    _, device, driver = pair(one_shape=True, consistency="local", batch=1)
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
    _, device, driver = pair(one_shape=True, batch=1)
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
    engine = Engine(make_onnx(tmp_path / "a.onnx"), Driver(), one_shape=True)
    monkeypatch.setattr(engine.driver, "capture", lambda stream, enqueue: Refusing())
    runner = engine.runner(engine.driver.stream())
    monkeypatch.setattr(runner._runner, "close", lambda: closed.append("runner"))
    tensors = {"input": Tensor(64, (1, 3, 8, 8)), "output": Tensor(4096, (1, 3, 8, 8))}
    runner.enqueue(tensors)
    with pytest.raises(EngineError, match="broken"):
        runner.close()
    assert closed == ["runner"]


@pytest.mark.parametrize("one_shape", [False, True])
def test_a_lack_of_memory_is_not_taken_for_a_refusal_of_graphs(pair: Open, one_shape: bool) -> None:
    host, device, driver = pair(consistency="local", one_shape=one_shape)
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


class Twins:
    """A `Capturable` whose twins are counted, and that lacks memory while `full` is set and another twin is open."""

    one_shape = True

    def __init__(self, log: list[str], of: list[Twins] | None = None) -> None:
        self.log, self.open = log, [] if of is None else of
        self.full = False

    def enqueue(self, tensors: Any) -> None:
        if self.full and len(self.open) > 1:
            raise DeviceMemoryError("full")
        self.log.append(f"runs {tensors['input'].shape[2]}")

    def capturable(self) -> bool:
        return True

    def twin(self) -> Twins:
        twin = Twins(self.log, self.open)
        twin.full = self.full
        self.open.append(twin)
        return twin

    def close(self) -> None:
        if self in self.open:
            self.open.remove(self)
            self.log.append("closed")


def graph_runner(log: list[str]) -> tuple[GraphRunner, Twins]:
    twins = Twins(log)

    def capture(stream: Any, enqueue: Any) -> Any:
        enqueue()
        return SimpleNamespace(launch=lambda stream: log.append("replayed"), close=lambda: log.append("graph closed"))

    driver: Any = SimpleNamespace(capture=capture)
    stream: Any = SimpleNamespace(synchronize=lambda: None)
    return GraphRunner(twins, driver, stream, GraphPolicy(True)), twins


def of_side(side: int, address: int = 4096) -> dict[str, Tensor]:
    return {"input": Tensor(address, (1, 3, side, side)), "output": Tensor(1 << 20, (1, 3, side, side))}


def test_each_shape_has_a_runner_of_its_own_and_the_oldest_goes() -> None:
    """Graph before runner: what the graph runs is the runner's."""
    log: list[str] = []
    runner, twins = graph_runner(log)
    for side in range(MOST + 1):
        runner.enqueue(of_side(side))
    assert len(twins.open) == MOST
    assert log[-4:] == ["graph closed", "closed", f"runs {MOST}", f"runs {MOST}"]
    runner.enqueue(of_side(1))
    assert log[-1] == "replayed"


def test_a_batch_at_other_addresses_is_captured_anew_by_the_same_runner() -> None:
    log: list[str] = []
    runner, twins = graph_runner(log)
    runner.enqueue(of_side(8))
    runner.enqueue(of_side(8, address=8192))
    runner.enqueue(of_side(8, address=8192))
    assert log == ["runs 8", "runs 8", "runs 8", "graph closed", "runs 8", "replayed"]
    assert len(twins.open) == 1


def test_the_memory_of_other_shapes_is_freed_before_a_lack_of_it_is_told() -> None:
    log: list[str] = []
    runner, twins = graph_runner(log)
    runner.enqueue(of_side(4))
    twins.full = True
    runner.enqueue(of_side(8))
    assert log[2:] == ["graph closed", "closed", "runs 8", "runs 8"]
    twins.open.append(Twins(log))  # somebody else's, which nobody here can close
    with pytest.raises(DeviceMemoryError):
        runner.enqueue(of_side(8, address=8192))

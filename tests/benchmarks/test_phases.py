"""Phases: from a file to a file, and copies and runs on a device."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from deferred import Driver, Engine
from numpy.typing import NDArray

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.benchmarks import latency, phases
from mirnet_deploy.benchmarks.inputs import Size, sample_picture
from mirnet_deploy.benchmarks.overlap import Watch
from mirnet_deploy.benchmarks.phases import DeviceTimes, measure_phases
from mirnet_deploy.images.reading import read_image
from mirnet_deploy.images.writing import encode_image

PICTURE = sample_picture(Size(64, 48))


class Clock:
    """A clock in nanoseconds that only what is measured moves."""

    now = 0

    def __call__(self) -> int:
        return self.now

    def wait(self, ms: float) -> None:
        self.now += int(ms * 1e6)


class Waiter:
    """An engine that takes the given times, one after the other, and keeps the pictures that it gets."""

    def __init__(self, name: str, clock: Clock, *times: float) -> None:
        self.name, self.clock, self.times, self.seen = name, clock, [*times], list[NDArray[np.uint8]]()

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.seen.append(image)
        if not self.times:
            raise MemoryError("no room")
        self.clock.wait(self.times.pop(0))
        return 255 - image


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Reading takes 2 ms, and encoding 5."""
    clock = Clock()

    def slow_read(path: Path) -> Any:
        clock.wait(2)
        return read_image(path)

    def slow_encode(*arguments: Any, **options: Any) -> bytes:
        clock.wait(5)
        return encode_image(*arguments, **options)

    monkeypatch.setattr(phases, "read_image", slow_read)
    monkeypatch.setattr(phases, "encode_image", slow_encode)
    return clock


def test_a_picture_goes_from_a_file_to_a_file(clock: Clock) -> None:
    engines, steps = [Waiter("a", clock, 10, 30, 11), Waiter("b", clock, 7)], itertools.count()
    found, failures = measure_phases(
        engines, PICTURE, 3, advance=lambda: next(steps), is_over=lambda: False, clock=clock
    )
    assert found == {
        0: {"read": 2, "upload": None, "compute": 11, "download": None, "write": 5, "end_to_end": 18},
    }
    assert failures == {1: "MemoryError: no room"}
    assert next(steps) == 6
    for image in engines[0].seen:  # JPEG of quality 95: the photograph, and not exactly
        assert image.shape == PICTURE.shape
        assert 0 < np.abs(image.astype(int) - PICTURE).mean() < 5


def test_between_engines_threads_come_to_rest(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """As between timed runs; one engine alone waits for nobody."""
    waits: list[float] = []
    monkeypatch.setattr(latency, "time", SimpleNamespace(sleep=waits.append))
    for engines, expected in ((1, 0), (2, 4)):
        several = [Waiter(f"{number}", clock, 10, 10) for number in range(engines)]
        measure_phases(several, PICTURE, 2, advance=lambda: None, is_over=lambda: False, clock=clock)
        assert waits == [latency.PAUSE_S] * expected


def test_nothing_begins_when_the_time_is_over(clock: Clock) -> None:
    steps, over = itertools.count(), iter([False, True, True])
    engines = [Waiter("a", clock, 10, 30, 11)]
    found, failures = measure_phases(
        engines, PICTURE, 3, advance=lambda: next(steps), is_over=lambda: next(over), clock=clock
    )
    assert (found[0]["compute"], failures, next(steps)) == (10, {}, 3)
    assert measure_phases(engines, PICTURE, 3, advance=lambda: None, is_over=lambda: True) == ({}, {})


def test_on_a_device_copies_and_runs_are_told_apart(tmp_path: Path) -> None:
    """Of a picture whose uploads take 1 tick, runs 10 and downloads 100, on a clock of the device."""
    driver = Driver()
    ticks, lengths = [0.0], {"upload": 1.0, "download": 100.0, "engine": 10.0}
    watch = Watch()
    note = watch._note

    def lengthening(kind: Any, stream: Any, enqueue: Callable[[], None]) -> None:
        def longer() -> None:
            enqueue()
            stream.enqueue(lambda: ticks.append(ticks[-1] + lengths[kind]))

        note(kind, stream, longer)

    watch._note = lengthening  # type: ignore[method-assign]

    def mark(stream: Any) -> Callable[[], float]:
        reached: list[float] = []
        stream.enqueue(lambda: reached.append(ticks[-1]))
        return lambda: reached[0]

    with MIRNetRuntime(Engine(make_onnx(tmp_path / "a.onnx", "mean"), driver, graphs=False), observer=watch) as each:
        each.enhance(PICTURE)  # the table of tiles is uploaded once
        times = DeviceTimes(watch, driver, lambda driver: mark)
        found = times.of(lambda: each.enhance(PICTURE))
        assert found == {"upload": 1, "compute": 10, "download": 200}, "of the result, and of the count of flaws"
        before = len(ticks)
        each.enhance(PICTURE)
        assert watch.spans()["engine"] == [], "afterwards nothing is noted"
        assert len(ticks) > before

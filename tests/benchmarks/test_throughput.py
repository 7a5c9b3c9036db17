"""Throughput: how many pictures, how many of them at once, and engines that fail or take one at a time."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.throughput import ThroughputRow, measure_throughput

IMAGE = np.zeros((100, 200, 3), np.uint8)


class Counting:
    """An engine that knows how many threads were in it at once: each waits for `together` of them."""

    name, batch, concurrent = "a", 4, True

    def __init__(self, together: int = 1, fail_at: int = 0) -> None:
        self.calls, self.fail_at, self._barrier = 0, fail_at, threading.Barrier(together, timeout=10)
        self._lock = threading.Lock()

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with self._lock:
            self.calls += 1
            if self.calls == self.fail_at:
                raise MemoryError("no room")
        self._barrier.wait()
        return image


def measured(subject: Any, in_flight: int, runs: int = 1, over: Any = lambda: False) -> ThroughputRow | None:
    """With a clock on which every stretch takes half a second."""
    clock = iter([10.0, 10.5])
    return measure_throughput(subject, IMAGE, in_flight, runs, over, lambda: next(clock))


@pytest.mark.parametrize(("in_flight", "runs", "counted"), [(1, 1, 3), (1, 8, 8), (2, 1, 6), (2, 9, 10), (3, 4, 9)])
def test_so_many_are_under_way_at_once(in_flight: int, runs: int, counted: int) -> None:
    subject = Counting(together=in_flight)
    row = measured(subject, in_flight, runs)
    assert row == ThroughputRow("a", "200x100", 4, in_flight, counted / 0.5, counted / 0.5 * 0.02, counted)
    assert subject.calls == counted + 2 * in_flight, "two for each are not counted"


def test_what_was_done_when_the_time_was_over_counts() -> None:
    subject = Counting()
    row = measured(subject, 1, runs=99, over=lambda: subject.calls == 2 + 5)
    assert row is not None
    assert (row.runs, row.images_per_s) == (5, 10)
    assert measured(Counting(), 1, over=lambda: True) is None


def test_an_engine_that_fails_is_a_row() -> None:
    row = measured(Counting(fail_at=5), 1)
    assert row == ThroughputRow("a", "200x100", 4, 1, failure="MemoryError: no room")


def test_an_engine_for_one_thread_is_not_given_two() -> None:
    subject = SimpleNamespace(name="a", batch=1, concurrent=False)
    row = measured(subject, 2)
    assert row == ThroughputRow("a", "200x100", 1, 2, failure="it takes one picture at a time")

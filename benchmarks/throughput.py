"""Pictures per second when several are under way at once, each in a thread of its own."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from mirnet_deploy.benchmarks.inputs import Image, Size, one_line
from mirnet_deploy.benchmarks.subjects.base import Subject

WARMING = 2
"""Pictures before the counted ones, for each one in flight: every slot plans its kernels in its first run."""
LEAST_EACH = 3
"""Counted pictures for each one in flight, at least: the first and the last have idle neighbours."""


@dataclass(frozen=True)
class ThroughputRow:
    """One engine at one size with so many pictures under way. Where `failure` is set there are no figures."""

    engine: str
    size: str
    batch: int
    """Tiles in one run; a picture that runs whole is one tile."""
    in_flight: int
    """Pictures under way at once."""
    images_per_s: float | None = None
    """Pictures divided by the time from the first one's begin to the last one's end."""
    megapixels_per_s: float | None = None
    runs: int = 0
    """Pictures that were counted."""
    failure: str | None = None


def measure_throughput(
    subject: Subject,
    image: Image,
    in_flight: int,
    runs: int,
    is_over: Callable[[], bool],
    clock: Callable[[], float] = time.perf_counter,
) -> ThroughputRow | None:
    """Enhances `image` over and over, in `in_flight` threads. No picture begins once `is_over()`.

    Args:
        runs: pictures to count, at least; there are `LEAST_EACH` for each one in flight, and as many for each.

    Returns:
        None where no picture was counted before the time was over.
    """
    size = Size(image.shape[1], image.shape[0])
    row = ThroughputRow(subject.name, str(size), subject.batch, in_flight)
    if in_flight > 1 and not subject.concurrent:
        return replace(row, failure="it takes one picture at a time")
    total = max(LEAST_EACH, -(-runs // in_flight)) * in_flight
    try:
        _enhanced(subject, image, in_flight, WARMING * in_flight, is_over)
        start = clock()
        done = _enhanced(subject, image, in_flight, total, is_over)
        seconds = clock() - start
    except Exception as error:  # any library's out-of-memory: the others go on
        return replace(row, failure=one_line(error))
    if not done:
        return None
    per_second = done / seconds
    return replace(row, images_per_s=per_second, megapixels_per_s=per_second * size.megapixels, runs=done)


def _enhanced(subject: Subject, image: Image, in_flight: int, total: int, is_over: Callable[[], bool]) -> int:
    """Enhances `image` up to `total` times, in `in_flight` threads, and returns how often it did."""
    numbers, stop = itertools.count(), threading.Event()

    def work() -> int:
        done = 0
        while not stop.is_set() and next(numbers) < total and not is_over():
            subject.enhance(image)
            done += 1
        return done

    if in_flight == 1:
        return work()
    with ThreadPoolExecutor(in_flight, "mirnet-bench") as executor:
        try:
            return sum(executor.map(lambda _: work(), range(in_flight)))
        finally:
            stop.set()  # after an error or an interrupt the others end with the picture that they are at

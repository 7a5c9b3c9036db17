"""Latency of several engines, one run of each in turn, so that a drifting clock or a warm CPU affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.inputs import Image, Size, one_line

PERCENTILES = (50, 90, 99)


class Enhancer(Protocol):
    """What is timed: it has a name, and turns a picture into another one of the same shape."""

    @property
    def name(self) -> str: ...

    def enhance(self, image: Image) -> NDArray[Any]: ...


@dataclass(frozen=True)
class LatencyRow:
    """One engine at one size. Where `failure` is set there are no figures."""

    engine: str
    size: str
    times_ms: tuple[float, ...] = ()
    """Every timed run, in order."""
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    images_per_s: float | None = None
    """Runs divided by the sum of their times: one picture at a time, no overlap."""
    megapixels_per_s: float | None = None
    ratio: float | None = None
    """p50 divided by the first engine's p50 at this size: 2 is twice as slow; None where the first engine failed."""
    peak_rss_mib: float | None = None
    """Of a separate process that loads only this engine; see `memory.py`."""
    peak_gpu_mib: float | None = None
    """Rise of the GPU memory in use meanwhile; None where it was not measured, as on the CPU."""
    failure: str | None = None
    memory_failure: str | None = None
    """Why its memory could not be measured; None where it was, or was not asked for."""


def percentiles(times: Sequence[float]) -> tuple[float, float, float]:
    """The 50th, 90th and 99th percentile, linearly interpolated between order statistics (type 7 of Hyndman & Fan).

    The q-th percentile of n sorted values stands at index q/100 (n - 1), counted from 0.

    >>> percentiles([10, 30, 20])
    (20.0, 28.0, 29.8)
    """
    p50, p90, p99 = np.percentile(np.asarray(times, dtype=np.float64), PERCENTILES, method="linear")
    return float(p50), float(p90), float(p99)


def time_interleaved(
    engines: Sequence[Enhancer],
    image: Image,
    *,
    runs: int,
    warmup: int,
    advance: Callable[[], None],
    is_over: Callable[[], bool],
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[dict[int, list[float]], dict[int, str]]:
    """Times `enhance(image)` of every engine, round robin: `warmup` rounds that are not kept, then `runs` that are.

    An engine that fails drops out; the others go on. `clock` is in nanoseconds. `advance` is called once per run, also
    for the runs that a dropped engine skips. No round begins once `is_over()`.

    Returns:
        Milliseconds of every timed run, and one line for each engine that failed: both by position in `engines`. An
        engine without a timed run is in neither.
    """
    times: dict[int, list[float]] = {position: [] for position in range(len(engines))}
    failures: dict[int, str] = {}
    for turn in range(warmup + runs):
        if is_over():
            break
        for position, engine in enumerate(engines):
            if position not in failures:
                try:
                    start = clock()
                    engine.enhance(image)
                    elapsed = (clock() - start) / 1e6
                except Exception as error:  # any library's out-of-memory: the others go on
                    failures[position] = one_line(error)
                else:
                    if turn >= warmup:
                        times[position].append(elapsed)
            advance()
    return {position: values for position, values in times.items() if values and position not in failures}, failures


def summarise(engine: str, size: Size, times_ms: Sequence[float], first_p50_ms: float | None) -> LatencyRow:
    """The figures of one engine at one size. `first_p50_ms` is the first engine's median; None where it has none."""
    p50, p90, p99 = percentiles(times_ms)
    per_second = 1000 * len(times_ms) / sum(times_ms)
    return LatencyRow(
        engine=engine,
        size=str(size),
        times_ms=tuple(times_ms),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        images_per_s=per_second,
        megapixels_per_s=per_second * size.megapixels,
        ratio=p50 / first_p50_ms if first_p50_ms else None,
    )


def latency_rows(
    names: Sequence[str], size: Size, times: Mapping[int, Sequence[float]], failures: Mapping[int, str]
) -> list[LatencyRow]:
    """One row for each name with times or a failure; keys of `times` and `failures` are positions in `names`."""
    first = percentiles(times[0])[0] if 0 in times else None
    return [
        summarise(name, size, times[position], first)
        if position in times
        else LatencyRow(name, str(size), failure=failures[position])
        for position, name in enumerate(names)
        if position in times or position in failures
    ]

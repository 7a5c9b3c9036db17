"""Latency of several engines: rounds of one run each, so that a drifting clock or a warm CPU affects all of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.inputs import Image, Size, one_line
from mirnet_deploy.benchmarks.ratios import ratio_interval
from mirnet_deploy.benchmarks.warmup import Warmup, WarmupSetting, most_rounds, settled

PERCENTILES = (50, 90, 99)
PAUSE_S = 0.05
"""Between runs of different engines: threads that spin for more work would take the next one's cores. ONNX Runtime's do
for 20 ms."""


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
    std_ms: float | None = None
    """Standard deviation of the sample (divided by n - 1); None of a single run."""
    ratio_interval: tuple[float, float] | None = None
    """Of the ratio, 95 %; see `ratios.ratio_interval`. None for the first engine and in too few rounds."""
    warmup_runs: int = 0
    """Runs before the timed ones."""
    warmup_stable: bool | None = None
    """Whether the run time was settled at its end (`warmup.settled`); None where there were too few runs to tell."""
    cold_start_s: float | None = None
    """From the start of a fresh process to its first result; see `memory.py`. None where that process was not run."""
    phases_ms: Mapping[str, float | None] | None = None
    """Phase -> median; see `phases.py`. None where they were not measured."""
    peak_rss_mib: float | None = None
    """Of a separate process that loads only this engine; see `memory.py`."""
    peak_gpu_mib: float | None = None
    """Rise of the GPU memory in use meanwhile; None where it was not measured, as on the CPU."""
    failure: str | None = None
    memory_failure: str | None = None
    """Why its memory could not be measured; None where it was, or was not asked for."""
    phases_failure: str | None = None
    """Why its phases could not be measured; None where they were, or the time was over."""


class Timed(NamedTuple):
    """What came of timing engines in turn; all by position in the engines."""

    times: dict[int, list[float]]
    """Milliseconds of every timed run. An engine without one, or that failed, is not in it."""
    failures: dict[int, str]
    """One line for each engine that failed."""
    warmups: dict[int, Warmup]


class Turns:
    """Engines that take turns, one run each, and what came of it so far: also where an interrupt ended it.

    Each round has an order of its own, drawn from a fixed seed: an engine may find memory that the one before it has
    given back, or a processor that it has heated, and in one order for all rounds that would always be the same one.
    An engine that fails drops out; the others go on.

    Args:
        advance: is called once per run, also for the runs that a dropped engine or a shorter warm-up skips.
        is_over: no round begins once it is true.
        clock: in nanoseconds.
    """

    def __init__(
        self,
        engines: Sequence[Enhancer],
        image: Image,
        *,
        advance: Callable[[], object],
        is_over: Callable[[], bool],
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._engines, self._image = engines, image
        self._advance, self._is_over, self._clock = advance, is_over, clock
        self._warming, self._times = ({position: list[float]() for position in range(len(engines))} for _ in range(2))
        self._failures: dict[int, str] = {}
        self._order = random.Random(0)

    def take(self, runs: int, warmup: WarmupSetting) -> None:
        """Rounds of warm-up, then `runs` rounds that are kept.

        With `warmup` "auto" the warm-up ends with the round after which all engines are settled (`warmup.settled`) at
        the same time, after `warmup.most_rounds` at the latest.
        """
        rounds, most = 0, most_rounds(warmup, runs)
        while rounds < most and not self._is_over():
            self._round(self._warming)
            rounds += 1
            left = [times for position, times in self._warming.items() if position not in self._failures]
            if warmup == "auto" and all(settled(times) for times in left):
                break
        for _ in range((most - rounds) * len(self._engines)):
            self._advance()
        for _ in range(runs):
            if self._is_over():
                break
            self._round(self._times)

    def timed(self) -> Timed:
        """What there is so far."""
        warmups = {position: Warmup(len(each), settled(each)) for position, each in self._warming.items()}
        kept = {at: values for at, values in self._times.items() if values and at not in self._failures}
        return Timed(kept, self._failures, warmups)

    def _round(self, times: Mapping[int, list[float]]) -> None:
        """Runs each engine that has not failed once, and adds its milliseconds to `times`."""
        for position in self._order.sample(range(len(self._engines)), len(self._engines)):
            if position not in self._failures:
                pause_between(self._engines)
                try:
                    start = self._clock()
                    self._engines[position].enhance(self._image)
                    times[position].append((self._clock() - start) / 1e6)
                except Exception as error:  # any library's out-of-memory: the others go on
                    self._failures[position] = one_line(error)
            self._advance()


def pause_between(engines: Sequence[object]) -> None:
    """Waits for `PAUSE_S` where several engines take turns."""
    if len(engines) > 1:
        time.sleep(PAUSE_S)


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
    warmup: WarmupSetting,
    advance: Callable[[], object],
    is_over: Callable[[], bool],
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Timed:
    """Times `enhance(image)` of every engine, once a round: rounds of warm-up that are not kept, then `runs` that are.

    See `Turns`, which is for those who want what there is after an interrupt too.
    """
    turns = Turns(engines, image, advance=advance, is_over=is_over, clock=clock)
    turns.take(runs, warmup)
    return turns.timed()


def summarise(
    engine: str, size: Size, times_ms: Sequence[float], first_ms: Sequence[float], warmup: Warmup
) -> LatencyRow:
    """The figures of one engine at one size. `first_ms` are the first engine's times, none where it failed."""
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
        ratio=p50 / percentiles(first_ms)[0] if first_ms else None,
        std_ms=stdev(times_ms) if len(times_ms) > 1 else None,
        ratio_interval=ratio_interval(times_ms, first_ms) if times_ms is not first_ms else None,
        warmup_runs=warmup.runs,
        warmup_stable=warmup.stable,
    )


def latency_rows(names: Sequence[str], size: Size, timed: Timed) -> list[LatencyRow]:
    """One row for each name with times or a failure; `timed` is by position in `names`."""
    times, failures, warmups = timed
    return [
        summarise(name, size, times[position], times.get(0, ()), warmups.get(position, Warmup()))
        if position in times
        else LatencyRow(name, str(size), failure=failures[position])
        for position, name in enumerate(names)
        if position in times or position in failures
    ]

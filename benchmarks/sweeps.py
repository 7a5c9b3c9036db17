"""How cost grows: one engine at a time over the sizes of a picture, the tiles, the batches or the threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from mirnet_deploy.benchmarks.inputs import Size, one_line, sample_picture
from mirnet_deploy.benchmarks.latency import percentiles, time_interleaved
from mirnet_deploy.benchmarks.subjects.base import Subject, SubjectReport, SubjectSpec
from mirnet_deploy.benchmarks.subjects.need import lack_of_memory
from mirnet_deploy.benchmarks.warmup import WarmupSetting, most_rounds
from mirnet_deploy.errors import UsageError

Axis = Literal["size", "tile", "batch", "threads"]
AXES: tuple[Axis, ...] = get_args(Axis)
SIZES = (Size(384, 256), Size(600, 400), Size(864, 576), Size(1224, 816), Size(1728, 1152), Size(2448, 1632))
"""About 0.1, 0.25, 0.5, 1, 2 and 4 megapixels, 3 to 2."""
TILES = (128, 256, 512, 1024)
BATCHES = (1, 2, 4, 8)
BATCH_TILES = (256, 128)
"""Tiles in which batches are measured, where --tile names none: the first that the picture is larger than."""


@dataclass(frozen=True)
class Point:
    """One value of an axis, and what it means for an engine."""

    axis: Axis
    value: str
    size: Size
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of `RuntimeSettings`."""

    def spec(self, spec: SubjectSpec) -> SubjectSpec:
        """How to open the engine of `spec` at this point."""
        return replace(spec, settings=spec.settings.changed(self.changes))


@dataclass(frozen=True)
class SweepRow:
    """One engine at one value of an axis. Where `failure` is set there are no figures."""

    axis: Axis
    engine: str
    value: str
    """Of the axis: a size as WxH, or a number."""
    size: str
    """Of the picture."""
    megapixels: float
    """Of the picture."""
    tile: str | None = None
    """The engine's own word on its tiles; see `SubjectReport.tile`."""
    times_ms: tuple[float, ...] = ()
    p50_ms: float | None = None
    ms_per_megapixel: float | None = None
    """p50 divided by the megapixels."""
    peak_rss_mib: float | None = None
    """Of a process of its own; see `memory.py`."""
    peak_gpu_mib: float | None = None
    failure: str | None = None
    """Why there are no figures: the machine, the engine or the plan does not take this value."""
    memory_failure: str | None = None
    """Why its memory could not be measured; None where it was, or was not asked for."""


def points(axis: Axis, largest: Size, tile: int | str, cores: int) -> list[Point]:
    """The values of an axis, in the order in which they are measured.

    Args:
        largest: of the sizes of the run; tiles, batches and threads are measured on it.
        tile: the setting; a number stands for the tiles of batches too.
        cores: processors that this process may use.

    Raises:
        UsageError: the picture is too small to be cut.
    """
    longer = max(largest.width, largest.height)
    if axis == "size":
        return [Point(axis, str(size), size) for size in SIZES]
    if axis == "threads":
        counts = sorted({min(2**power, cores) for power in range(cores.bit_length() + 1)})
        return [Point(axis, str(count), largest, {"threads": count}) for count in counts]
    sides = [side for side in (TILES if axis == "tile" else BATCH_TILES) if side < longer]
    if not sides:
        raise UsageError(f"--sweep {axis} cuts pictures into tiles, and {largest} is one tile; add a larger --size")
    if axis == "tile":
        return [Point(axis, str(side), largest, {"tile": side}) for side in sides]
    side = tile if isinstance(tile, int) else sides[0]
    return [Point(axis, str(count), largest, {"tile": side, "batch": count}) for count in BATCHES]


@dataclass(frozen=True)
class Sweep:
    """One axis over several engines.

    Args:
        open_subject: opens an engine.
        runs, warmup: see `time_interleaved`.
        advance: is called once per run, warm-up included, done or skipped.
        is_over: nothing begins once the time is over.
    """

    points: Sequence[Point]
    open_subject: Callable[[SubjectSpec], Subject]
    runs: int
    warmup: WarmupSetting
    advance: Callable[[], None]
    is_over: Callable[[], bool]

    def rows(self, engines: Sequence[tuple[Subject, SubjectSpec]]) -> Iterator[SweepRow]:
        """Measures every engine at every point, and yields each row when it is there.

        Where an engine fails at a size, larger ones are not tried with it. An open engine of `engines` is used as it is
        where only the size changes.
        """
        given_up: set[str] = set()
        for point in self.points:
            for subject, spec in engines:
                if self.is_over():
                    return
                row = _row_of(point, subject.name)
                if point.axis == "size" and subject.name in given_up:
                    yield replace(row, failure="not tried: it failed at a smaller size")
                    self._skip()
                    continue
                row = self._measured(row, point, subject, spec)
                if row.failure:
                    given_up.add(subject.name)
                if row.failure or row.times_ms:
                    yield row

    def _measured(self, row: SweepRow, point: Point, subject: Subject, spec: SubjectSpec) -> SweepRow:
        """The row with its times, or why there are none; without both where the time was over."""
        try:
            with ExitStack() as stack:
                if point.changes:
                    subject = stack.enter_context(self.open_subject(point.spec(spec)))
                if reason := unsuited(point, subject.report):
                    self._skip()
                    return replace(row, failure=reason)
                timed = time_interleaved(
                    [subject],
                    sample_picture(point.size),
                    runs=self.runs,
                    warmup=self.warmup,
                    advance=self.advance,
                    is_over=self.is_over,
                )
                row = replace(row, tile=subject.report.tile)
        except Exception as error:  # a value that an engine or a plan refuses, or any library's out-of-memory
            self._skip()
            return replace(row, failure=one_line(error))
        if 0 in timed.failures:
            return replace(row, failure=timed.failures[0])
        if 0 not in timed.times:
            return row
        median = percentiles(timed.times[0])[0]
        return replace(
            row, times_ms=tuple(timed.times[0]), p50_ms=median, ms_per_megapixel=median / point.size.megapixels
        )

    def _skip(self) -> None:
        for _ in range(self.runs + most_rounds(self.warmup, self.runs)):
            self.advance()


def unsuited(point: Point, report: SubjectReport) -> str | None:
    """Why a point says nothing of an engine, or must not be tried with it; None where it may."""
    if "tile" in point.changes and report.tile == "none":
        return "it runs pictures whole, whatever the tile"
    if point.axis == "threads" and report.device != "cpu":
        return f"it runs on {report.device}, where threads do not compute"
    return lack_of_memory(report, point.size)


def failures(rows: Sequence[SweepRow]) -> list[str]:
    """One line for each engine and axis without a single figure. That some values cannot be taken is a result."""
    found: dict[tuple[Axis, str], list[SweepRow]] = {}
    for row in rows:
        found.setdefault((row.axis, row.engine), []).append(row)
    return [
        f"{engine}, sweep of {axis}: {each[0].failure}"
        for (axis, engine), each in found.items()
        if all(row.failure for row in each)
    ]


def _row_of(point: Point, engine: str) -> SweepRow:
    return SweepRow(point.axis, engine, point.value, str(point.size), point.size.megapixels)

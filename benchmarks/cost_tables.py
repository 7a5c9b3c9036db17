"""What engines cost, as tables and lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mirnet_deploy.benchmarks.conditions import Conditions, Range
from mirnet_deploy.benchmarks.drawing import (
    FIGURES,
    MISSING,
    bar,
    empty_table,
    histogram,
    interval,
    number,
    share,
)
from mirnet_deploy.benchmarks.floor.rows import FloorRow
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.phases import PHASES
from mirnet_deploy.benchmarks.sweeps import SweepRow
from mirnet_deploy.benchmarks.throughput import ThroughputRow

if TYPE_CHECKING:
    from rich.table import Table

FEWEST_DRAWN = 6
"""Runs below which there is no histogram."""
PLOT_WIDTH = 24
"""Columns of the longest bar."""


def latency_table(size: str, rows: Sequence[LatencyRow]) -> Table:
    """Latency, throughput, cold start and memory at one size. A column without any figure is left out."""
    runs = max((len(row.times_ms) for row in rows), default=0)
    columns = {
        **_figures(rows, "p50_ms", "p90_ms", "p99_ms", "std_ms", "images_per_s", "megapixels_per_s", "ratio"),
        "95 %": [interval(row.ratio_interval, 2) for row in rows],
        **_figures(rows, "cold_start_s", "peak_rss_mib", "peak_gpu_mib"),
    }
    shown = {name: column for name, column in columns.items() if any(figure != MISSING for figure in column)}
    table = empty_table(f"Latency at {size}, {runs} run{'s' * (runs != 1)}", ["engine", *shown])
    for at, row in enumerate(rows):
        # The reason of a failure stands in full below the tables.
        table.add_row(row.engine, *(["failed"] if row.failure else [column[at] for column in shown.values()]))
    return table


def _figures(rows: Sequence[object], *names: str) -> dict[str, list[str]]:
    """Heading -> the cells of these fields, all of `FIGURES`."""
    named = {name: FIGURES[name] for name in names}
    return {heading: [number(getattr(row, name), digits) for row in rows] for name, (heading, digits) in named.items()}


def floor_table(size: str, rows: Sequence[FloorRow]) -> Table:
    """How far the engines are from the floor at one size; the page has the rest. Columns without any figure are left
    out."""
    columns = {
        "GMAC": [number(_scaled(row.macs, 1e9), 2) for row in rows],
        "precision": [row.precision or MISSING for row in rows],
        **_figures(rows, "product_gmacs", "floor_ms"),
        "bound": [row.bound or MISSING for row in rows],
        "floor / p50": [share(row.of_floor) for row in rows],
    }
    shown = {name: column for name, column in columns.items() if any(figure != MISSING for figure in column)}
    table = empty_table(f"Floor at {size}", ["engine", *shown])
    for at, row in enumerate(rows):
        table.add_row(row.engine, *(column[at] for column in shown.values()))
    return table


def floor_lines(rows: Sequence[FloorRow]) -> list[str]:
    """What was multiplied and copied, each once, and why there is no figure where there is none."""
    how = dict.fromkeys(said for row in rows for said in (row.product, row.copy) if said)
    lines = [f"best rates: {'; '.join(how)}"] if how else []
    return lines + [f"{row.engine} at {row.size}, {remark}" for row in rows for remark in row.remarks]


def run_share(run: int | None, whole: int | None) -> float | None:
    """How many times the work of the whole picture was done."""
    return run / whole if run is not None and whole else None


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def histogram_lines(rows: Sequence[LatencyRow]) -> list[str]:
    """The runs of each engine at one size as a histogram over their own range."""
    drawn = [row for row in rows if len(row.times_ms) >= FEWEST_DRAWN]
    width = max((len(row.engine) for row in drawn), default=0)
    return [
        f"{row.engine:<{width}}  {min(row.times_ms):8.1f} |{histogram(row.times_ms)}| {max(row.times_ms):.1f} ms"
        for row in drawn
    ]


def unstable_lines(rows: Sequence[LatencyRow]) -> list[str]:
    """One line for each row whose engine was not settled when its timing began, and one for all rows of one size that
    were warmed up too little to tell."""
    timed = [row for row in rows if row.times_ms]
    lines = [
        f"{row.engine} at {row.size}: its run time was not stable after {row.warmup_runs} warm-up runs"
        for row in timed
        if row.warmup_stable is False
    ]
    untold = {row.size: row.warmup_runs for row in timed if row.warmup_stable is None}
    lines += [
        f"warm-up at {size}: {runs} run{'s' * (runs != 1)}, too few to tell whether run times were stable"
        for size, runs in untold.items()
    ]
    return lines


def phases_table(size: str, rows: Sequence[LatencyRow]) -> Table | None:
    """Where the time goes at one size; None where that was not measured."""
    measured = [(row.engine, row.phases_ms) for row in rows if row.phases_ms]
    if not measured:
        return None
    names = [name for name in PHASES if any(phases[name] is not None for _, phases in measured)]
    table = empty_table(f"Phases at {size}, ms", ["engine", *(name.replace("_", " ") for name in names)])
    for engine, phases in measured:
        table.add_row(engine, *(number(phases[name], 1) for name in names))
    return table


def throughput_table(rows: Sequence[ThroughputRow]) -> Table:
    """Pictures per second with several under way."""
    columns = _figures(rows, "images_per_s", "megapixels_per_s") | {"pictures": [f"{row.runs}" for row in rows]}
    table = empty_table("Throughput", ["engine", "size", "batch", "in flight", *columns])
    for row, figures in zip(rows, zip(*columns.values(), strict=True), strict=True):
        key = [row.engine, row.size, f"{row.batch}", f"{row.in_flight}"]
        table.add_row(*key, *(["failed"] if row.failure else figures))
    return table


def sweep_tables(rows: Sequence[SweepRow]) -> Iterator[Table]:
    """A table for each axis; bars show the time of a megapixel, relative to the longest of the axis."""
    for axis in dict.fromkeys(row.axis for row in rows):
        of_axis = [row for row in rows if row.axis == axis]
        most = max((row.ms_per_megapixel or 0 for row in of_axis), default=0)
        where = "" if axis == "size" else f" at {of_axis[0].size}"
        columns = _figures(of_axis, "p50_ms", "ms_per_megapixel", "peak_rss_mib", "peak_gpu_mib")
        table = empty_table(f"Sweep of {axis}{where}", ["engine", axis, "MP", *columns, ""])
        table.columns[-1].justify = "left"
        table.columns[-1].no_wrap = False
        for row, figures in zip(of_axis, zip(*columns.values(), strict=True), strict=True):
            key = [row.engine, row.value, number(row.megapixels, 2)]
            drawn = bar(row.ms_per_megapixel, most, PLOT_WIDTH) if row.ms_per_megapixel else ""
            table.add_row(*key, *figures, row.failure or row.memory_failure or drawn)
        yield table


def conditions_line(conditions: Conditions) -> str:
    """The machine while engines were timed; what cannot be read here is named."""
    parts, unknown = [], []
    readings = {
        "processor's clock": _mhz(conditions.cpu_mhz),
        "other processes": None if conditions.other_cpu_share is None else f"{conditions.other_cpu_share:.0%}",
        "load before": None if conditions.load_before is None else f"{conditions.load_before:.1f}",
        "held back": None if conditions.throttled is None else ("yes" if conditions.throttled else "no"),
    }
    if conditions.gpu is not None:
        readings |= {f"GPU's {name} clock": _mhz(conditions.gpu[f"{name}_mhz"]) for name in ("sm", "memory")}
    for name, reading in readings.items():
        if reading is None:
            unknown.append(name)
        else:
            parts.append(f"{name} {reading}")
    if unknown:
        parts.append(f"not to be read here, or too short a time: {', '.join(unknown)}")
    return f"conditions: {'; '.join(parts)}"


def _mhz(clock: Range | None) -> str | None:
    if clock is None:
        return None
    least, middle, most = clock
    return f"{least:.0f} to {most:.0f} MHz (median {middle:.0f})"

"""Figures -> coordinates of drawings. Across, positions are percent, so that a drawing is as wide as its place and its
text keeps its size; down they are pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MARGIN = 2.0
"""Percent that are left free at both ends of an axis."""
LOGARITHMIC = 4.0
"""Axes are logarithmic where the largest value is more than so many times the smallest."""
HISTOGRAM = 24
"""From so many runs on their number is drawn as bars; fewer are drawn one by one."""
ROW = 40
"""Height of a row in pixels."""
CHART = 200
"""Height of a chart's area in pixels."""
TICKS = 5


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, with `MARGIN` percent beyond; logarithmic or not."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float]) -> Axis:
        """An axis on which all `values` lie; there is at least one. It is logarithmic only where all are positive."""
        low, high = min(values), max(values)
        if low == high:
            room = abs(low) / 20 or 1.0
            low, high = low - room, high + room
        return cls(low, high, low > 0 and high / low > LOGARITHMIC)

    def at(self, value: float) -> float:
        """The place of a value in percent.

        >>> Axis(1, 100, True).at(10)
        50.0
        """
        a, b, x = (math.log(each) if self.logarithmic else each for each in (self.low, self.high, value))
        return round(MARGIN + (100 - 2 * MARGIN) * (x - a) / (b - a), 3)

    def values(self) -> list[float]:
        """Round values on the axis, about `TICKS` of them."""
        return _round_values(self.low, self.high, self.logarithmic)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of `values`."""
        return [(self.at(value), f"{value:g}") for value in self.values()]


def _round_values(low: float, high: float, logarithmic: bool) -> list[float]:
    """Values 1, 2, 5 times a power of ten: all on a logarithmic axis (fewer where it is long), or at one step."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
            if len(found) <= TICKS + 2:
                break
        return [float(f"{value:.12g}") for value in found]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


@dataclass(frozen=True)
class Strip:
    """One row of a plot: values as dots, or as bars of a histogram, with marks."""

    label: str
    said: str
    """Its figures in words: what is read aloud."""
    value: str
    """The figure that stands beside it."""
    dots: list[tuple[float, float]]
    """Percent from the left and pixels from above."""
    bars: list[tuple[float, float, float]]
    """Left and width in percent, height in pixels, standing on the row's lower end."""
    marks: list[tuple[float, str]]
    """Percent and kind: "p50", "p90", "p99", "mean"."""
    interval: tuple[float, float] | None = None
    """Ends of an interval of confidence in percent."""


@dataclass(frozen=True)
class StripPlot:
    """Rows above one axis."""

    title: str
    unit: str
    rows: list[Strip]
    first: str
    """The label of the row that is set off from the others."""
    ticks: list[tuple[float, str]]
    key: list[tuple[str, str]]
    """Kinds of marks that occur, with what they stand for."""
    logarithmic: bool = False
    kind: str = "strips"


def latency_plot(title: str, rows: Sequence[Mapping[str, object]], first: str) -> StripPlot | None:
    """Times of every engine at one size, from rows of a report's `latency`; None where there are no times."""
    timed = [(row, [float(each) for each in _list(row.get("times_ms"))]) for row in rows]
    timed = [(row, times) for row, times in timed if times]
    if not timed:
        return None
    axis = Axis.over([each for _, times in timed for each in times])
    names = ("p50", "p90", "p99")
    strips = []
    for row, times in timed:
        found = {name: row.get(f"{name}_ms") for name in names}
        marks = [(axis.at(float(value)), name) for name, value in found.items() if isinstance(value, int | float)]
        said = ", ".join(f"{name} {value:.1f}" for name, value in found.items() if isinstance(value, int | float))
        many = len(times) >= HISTOGRAM
        strips.append(
            Strip(
                str(row["engine"]),
                f"{said} ms, {len(times)} run{'s' * (len(times) != 1)}",
                f"{float(str(row['p50_ms'])):.1f} ms",
                [] if many else dots(axis, times),
                bars(axis, times) if many else [],
                marks,
            )
        )
    key = [("p50", "median"), ("p90", "90th percentile"), ("p99", "99th percentile")]
    return StripPlot(title, "ms", strips, first, axis.ticks(), key, axis.logarithmic)


def quality_plot(
    title: str,
    unit: str,
    metric: str,
    pictures: Sequence[Mapping[str, object]],
    means: Sequence[Mapping[str, object]],
    first: str,
) -> StripPlot | None:
    """A metric of every picture by engine, from a report's quality; None where no picture has it."""
    values: dict[str, list[float]] = {}
    for row in pictures:
        value = row.get(metric)
        if isinstance(value, int | float):
            values.setdefault(str(row["engine"]), []).append(float(value))
    if not values:
        return None
    by_engine = {str(mean["engine"]): mean for mean in means}
    intervals = {name: interval_of(by_engine.get(name, {}), metric) for name in values}
    ends = [end for interval in intervals.values() if interval for end in interval]
    axis = Axis.over([*(each for some in values.values() for each in some), *ends])
    strips = []
    for name, some in values.items():
        mean, interval = by_engine.get(name, {}).get(metric), intervals[name]
        given = isinstance(mean, int | float)
        value = f"{mean:.2f} {unit}" if given else ""
        within = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
        strips.append(
            Strip(
                name,
                f"mean {value}{within}, {len(some)} picture{'s' * (len(some) != 1)}",
                value,
                dots(axis, some),
                [],
                [(axis.at(float(mean)), "mean")] if isinstance(mean, int | float) else [],
                (axis.at(interval[0]), axis.at(interval[1])) if interval else None,
            )
        )
    key = [("mean", "mean, with its 95 % interval" if ends else "mean")]
    return StripPlot(title, unit, strips, first, axis.ticks(), key, axis.logarithmic)


def interval_of(row: Mapping[str, object], metric: str) -> tuple[float, float] | None:
    """The interval of a metric of a row of means; None where there is none."""
    intervals = row.get("intervals")
    found = intervals.get(metric) if isinstance(intervals, Mapping) else None
    return (float(found[0]), float(found[1])) if found else None


def dots(axis: Axis, values: Sequence[float]) -> list[tuple[float, float]]:
    """Places of single values, spread up and down (by the golden ratio), so that equal ones do not hide each other."""
    low, high = 8, ROW - 8
    return [
        (axis.at(value), round(low + (high - low) * (index * 0.618034 % 1), 1)) for index, value in enumerate(values)
    ]


def bars(axis: Axis, values: Sequence[float]) -> list[tuple[float, float, float]]:
    """A histogram in bins of equal width on the axis, the tallest as high as the row; by the rule of Freedman and
    Diaconis (1981) or of Sturges, whichever has more bins, but at most 60."""
    places = np.asarray([axis.at(value) for value in values])
    edges = np.histogram_bin_edges(places, "auto")
    if len(edges) > 61:
        edges = np.linspace(places.min(), places.max(), 61)
    counts, edges = np.histogram(places, edges)
    tall = ROW - 6
    return [
        (round(float(left), 3), round(float(right - left), 3), round(tall * int(count) / int(counts.max()), 1))
        for count, left, right in zip(counts, edges, edges[1:], strict=False)
        if count
    ]


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    label: str
    points: list[tuple[float, float]]
    """Percent from the left and pixels from above."""
    lines: list[tuple[float, float, float, float]]
    """From point to point."""
    style: int
    """Which of the page's line styles."""


@dataclass(frozen=True)
class Chart:
    """Lines over one axis across; in `sweep_chart` the axis down begins at 0."""

    title: str
    across: str
    down: str
    series: list[Series]
    ticks: list[tuple[float, str]]
    levels: list[tuple[float, str]]
    """Pixels from above and labels of the axis down."""
    said: str
    kind: str = "chart"


def sweep_chart(title: str, unit: str, field: str, rows: Sequence[Mapping[str, object]], across: str) -> Chart | None:
    """`field` of a sweep's rows, all of one axis, against megapixels, or against the axis' values one beside the other
    where the picture is always the same; None where no row has it."""
    known = [row for row in rows if isinstance(row.get(field), int | float)]
    if not known:
        return None
    by_size = across == "megapixels"
    places: dict[object, float] = {}
    if by_size:
        axis = Axis.over([float(str(row["megapixels"])) for row in known])
        places, ticks = {row["megapixels"]: axis.at(float(str(row["megapixels"]))) for row in known}, axis.ticks()
    else:
        values = list(dict.fromkeys(str(row["value"]) for row in known))
        places = {value: round(100 * (index + 0.5) / len(values), 3) for index, value in enumerate(values)}
        ticks = [(places[value], value) for value in values]
    highest = max(float(str(row[field])) for row in known) or 1.0
    upright = Axis(0, highest * 1.05, False)
    series = []
    for style, name in enumerate(dict.fromkeys(str(row["engine"]) for row in known)):
        key = "megapixels" if by_size else "value"
        mine = [(places[row[key]], down(upright, float(str(row[field])))) for row in known if row["engine"] == name]
        mine = sorted(mine) if by_size else mine
        lines = [(*one, *other) for one, other in pairwise(mine)]
        series.append(Series(name, mine, lines, style % 6))
    levels = [(down(upright, value), f"{value:g}") for value in _round_values(0, highest * 1.05, False)]
    said = "; ".join(f"{row['engine']} at {row['value']}: {float(str(row[field])):.4g}" for row in known)
    return Chart(title, across, unit, series, ticks, levels, f"{unit}: {said}")


def down(axis: Axis, value: float) -> float:
    """Pixels from above at which a value stands in a chart."""
    share = (axis.at(value) - MARGIN) / (100 - 2 * MARGIN)
    return round(CHART * (1 - share), 1)


def _list(value: object) -> Sequence[float]:
    return value if isinstance(value, list | tuple) else ()

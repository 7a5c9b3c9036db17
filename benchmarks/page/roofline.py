"""Rooflines: what engines reach, below what the machine's best rates allow (Williams, Waterman & Patterson 2009)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from mirnet_deploy.benchmarks.page.plots import Axis, Chart, Series, down


def roofline_chart(title: str, rows: Sequence[Mapping[str, object]]) -> Chart | None:
    """The rows of a report's `floor` at one size, on logarithmic axes; None where none has a roof and a point below it.

    A roof is the rate of the copy times the multiplications for each byte, up to the rate of the product. An engine is
    a level line at what it reached, from the bytes of operations that are not fused to the least bytes. The slowest one
    has room below it: on the axis itself it would not be seen.
    """
    known = [row for row in rows if row.get("copy_gbytes") and row.get("product_gmacs") and row.get("reached_gmacs")]
    if not known:
        return None
    roofs = {
        f"roof, {_word(row, 'precision')}": (_value(row, "copy_gbytes"), _value(row, "product_gmacs")) for row in known
    }
    spans = {
        _label(row): tuple(_value(row, "macs") / _value(row, f"{of}_bytes") for of in ("unfused", "least"))
        for row in known
    }
    ridges = [top / slope for slope, top in roofs.values()]
    left, right = (
        min(*ridges, *(span[0] for span in spans.values())) / 2,
        max(*ridges, *(span[1] for span in spans.values())) * 2,
    )
    lines = {
        name: [(left, min(left * slope, top)), (max(left, top / slope), top), (right, top)]
        for name, (slope, top) in roofs.items()
    }
    reached = {_label(row): _value(row, "reached_gmacs") for row in known}
    lines |= {name: [(at, reached[name]) for at in span] for name, span in spans.items()}
    across = Axis.over([at for line in lines.values() for at, _ in line])
    heights = [value for line in lines.values() for _, value in line]
    upright = Axis.over([min(heights) / 1.5, *heights])
    series = []
    for style, (name, line) in enumerate(lines.items()):
        places = [(across.at(at), down(upright, value)) for at, value in line]
        drawn = [] if name in roofs else places
        series.append(Series(name, drawn, [(*one, *other) for one, other in pairwise(places)], style % 6))
    said = "; ".join(f"{name} {value:.4g}" for name, value in reached.items())
    tops = "; ".join(f"{name} {top:.4g}" for name, (_, top) in roofs.items())
    levels = [(down(upright, value), f"{value:g}") for value in upright.values()]
    unit = "GMAC/s, logarithmic" if upright.logarithmic else "GMAC/s"
    below = "multiplications for each byte, logarithmic: unfused at the left end, at most at the right"
    return Chart(title, below, unit, series, across.ticks(), levels, f"GMAC/s: {said}; {tops}")


def _value(row: Mapping[str, object], name: str) -> float:
    return float(str(row[name]))


def _label(row: Mapping[str, object]) -> str:
    """The engine, and which of the roofs is its own."""
    return f"{_word(row, 'engine')}, {_word(row, 'precision')}"


def _word(row: Mapping[str, object], name: str) -> str:
    return str(row[name])

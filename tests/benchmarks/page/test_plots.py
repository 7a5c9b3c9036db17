"""Coordinates of drawings, against ones worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mirnet_deploy.benchmarks.page.plots import CHART, Axis, bars, latency_plot, quality_plot, sweep_chart
from mirnet_deploy.benchmarks.page.roofline import roofline_chart


def test_an_axis_is_linear_or_logarithmic_and_leaves_a_margin() -> None:
    axis = Axis.over([10, 30, 20])
    assert [axis.at(value) for value in (10, 20, 30)] == [2, 50, 98]
    wide = Axis.over([1, 10_000])
    assert (wide.logarithmic, wide.at(100)) == (True, 50)
    assert not Axis.over([-1, 100]).logarithmic
    assert Axis.over([5, 5]).at(5) == 50


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (102, 161, ["120", "140", "160"]),
        (0.2, 0.29, ["0.2", "0.22", "0.24", "0.26", "0.28"]),
        (0.08, 2.1, ["0.1", "0.2", "0.5", "1", "2"]),
        (1, 100_000, ["1", "10", "100", "1000", "10000", "100000"]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in Axis.over([low, high]).ticks()] == labels


def test_few_runs_are_dots_and_many_are_bars_with_the_percentiles_marked() -> None:
    times = [10.0, 12.0, 14.0, 20.0]
    row = {"engine": "a", "times_ms": times, "p50_ms": 13.0, "p90_ms": 18.0, "p99_ms": 20.0}
    plot = latency_plot("t", [row, {"engine": "b", "times_ms": [], "p50_ms": None}], "a")
    assert plot is not None
    (strip,) = plot.rows
    assert [x for x, _ in strip.dots] == [2, 21.2, 40.4, 98]
    assert strip.bars == []
    assert strip.marks == [(30.8, "p50"), (78.8, "p90"), (98, "p99")]
    assert strip.said == "p50 13.0, p90 18.0, p99 20.0 ms, 4 runs"
    many = latency_plot("t", [{**row, "times_ms": times * 6}], "a")
    assert many is not None
    assert many.rows[0].dots == []
    assert many.rows[0].bars
    assert latency_plot("t", [{"engine": "b", "times_ms": None}], "a") is None


def test_bars_count_every_run_and_the_tallest_fills_the_row() -> None:
    values = np.concatenate([np.full(30, 10.0), np.full(15, 20.0), [30.0]]).tolist()
    drawn = bars(Axis.over(values), values)
    heights = sorted((height for _, _, height in drawn), reverse=True)
    assert heights == [34, 17, pytest.approx(34 / 30, abs=0.1)]
    assert drawn[0][0] == 2
    assert drawn[-1][0] + drawn[-1][1] == pytest.approx(98, abs=0.01)
    assert len(bars(Axis(0, 1e6, False), [0.0] * 5000 + [1e6])) <= 60


def test_quality_has_a_dot_for_every_picture_that_has_the_figure() -> None:
    pictures = [{"engine": "a", "psnr": value} for value in (20.0, 30.0, None)] + [{"engine": "b", "psnr": 25.0}]
    means = [{"engine": "a", "psnr": 25.0, "intervals": {"psnr": [22.5, 27.5]}}, {"engine": "b", "psnr": 25.0}]
    plot = quality_plot("t", "dB", "psnr", pictures, means, "a")
    assert plot is not None
    a, b = plot.rows
    assert [x for x, _ in a.dots] == [2, 98]
    assert (a.marks, a.interval, a.value) == ([(50, "mean")], (26, 74), "25.00 dB")
    assert (b.marks, b.interval) == ([(50, "mean")], None)
    assert quality_plot("t", "dB", "flip", pictures, means, "a") is None


def sweep(engine: str, value: str, megapixels: float, cost: float | None) -> dict[str, object]:
    return {"engine": engine, "value": value, "megapixels": megapixels, "ms_per_megapixel": cost}


def test_a_sweep_stands_on_zero_and_over_its_megapixels() -> None:
    rows = [sweep("a", "1", 1.0, 100.0), sweep("a", "3", 100.0, 50.0), sweep("a", "2", 10.0, None)]
    chart = sweep_chart("t", "cost", "ms_per_megapixel", rows, "megapixels")
    assert chart is not None
    (series,) = chart.series
    assert series.points == [(2, round(CHART * (1 - 1 / 1.05), 1)), (98, round(CHART * (1 - 0.5 / 1.05), 1))]
    assert series.lines == [(*series.points[0], *series.points[1])]
    assert chart.levels[0] == (CHART, "0")
    assert sweep_chart("t", "cost", "ms_per_megapixel", rows[2:], "megapixels") is None


def test_other_sweeps_stand_side_by_side() -> None:
    rows = [sweep(engine, value, 0.24, 10.0) for engine in "ab" for value in ("1", "2", "4", "8")]
    chart = sweep_chart("t", "cost", "ms_per_megapixel", rows, "threads")
    assert chart is not None
    assert chart.ticks == [(12.5, "1"), (37.5, "2"), (62.5, "4"), (87.5, "8")]
    assert [x for x, _ in chart.series[1].points] == [12.5, 37.5, 62.5, 87.5]
    assert [each.style for each in chart.series] == [0, 1]


def test_a_roof_rises_to_the_rate_of_the_product_and_an_engine_lies_below_it() -> None:
    row = {"engine": "a", "precision": "fp32", "macs": 1e9, "least_bytes": 1e6, "unfused_bytes": 1e9}
    row |= {"product_gmacs": 100.0, "copy_gbytes": 10.0, "reached_gmacs": 50.0}
    chart = roofline_chart("Roofline", [row, {"engine": "b", "product_gmacs": None}])
    assert chart is not None
    roof, engine = chart.series
    assert (roof.label, engine.label) == ("roof, fp32", "a, fp32")
    # From half the least multiplications a byte (1) to twice the most (1000); the ridge is at 100 / 10.
    across, upright = Axis(0.5, 2000, True), Axis(5 / 1.5, 100, True)
    assert roof.points == []
    (x1, y1, x2, y2), (_, _, x3, y3) = roof.lines
    assert (x1, x2, x3) == (across.at(0.5), across.at(10), across.at(2000))
    assert (y1, y2, y3) == (round(200 * (1 - math.log(1.5) / math.log(100 * 1.5 / 5)), 1), 0, 0)
    half = round(200 * (1 - math.log(50 * 1.5 / 5) / math.log(100 * 1.5 / 5)), 1)
    assert engine.points == [(across.at(1), half), (across.at(1000), half)]
    assert upright.at(100) == 98
    assert chart.said == "GMAC/s: a, fp32 50; roof, fp32 100"
    slow = roofline_chart("Roofline", [row | {"reached_gmacs": 1.0}])
    assert slow is not None
    assert max(y for _, y in slow.series[1].points) < 190, "above the axis, where it is seen"
    assert roofline_chart("Roofline", [{"engine": "b", "remarks": ["none"]}]) is None

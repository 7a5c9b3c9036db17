"""What engines cost, as people see it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from mirnet_deploy.benchmarks.conditions import Conditions
from mirnet_deploy.benchmarks.cost_tables import (
    conditions_line,
    floor_table,
    histogram_lines,
    latency_table,
    phases_table,
    sweep_tables,
)
from mirnet_deploy.benchmarks.drawing import bar, histogram
from mirnet_deploy.benchmarks.floor.rows import FloorRow
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.sweeps import SweepRow


def printed(table: Any) -> list[list[str]]:
    """The cells of a table, row by row, its head first."""
    written = io.StringIO()
    Console(file=written, width=150).print(table)
    lines = written.getvalue().splitlines()
    return [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines if line[:1] in "│┃"
    ]


def test_a_histogram_shows_every_value_and_where_most_are() -> None:
    # In fifths of 0 to 10: four values (a whole block), none, none, one (a quarter of it), three.
    assert histogram([0, 0, 1, 1, 7, 9, 9.5, 10], bins=5) == "█  ▂▆"
    assert histogram([0] * 1000 + [10], bins=2) == "█▁"
    assert histogram([7.0] * 9, bins=3).strip() == "█"


@pytest.mark.parametrize(("value", "drawn"), [(10, "█" * 8), (5, "█" * 4), (0.625, "▌"), (0.0001, "▏")])
def test_a_bar_is_as_long_as_its_value(value: float, drawn: str) -> None:
    assert bar(value, 10, 8) == drawn


def test_histograms_have_their_ranges_and_need_six_runs() -> None:
    rows = [
        LatencyRow("lite", "8x8", times_ms=(10, 11, 10, 10, 10, 34)),
        LatencyRow("a-long-name", "8x8", times_ms=(1000, 1001, 1000, 1000, 1000, 1200.25)),
        LatencyRow("few", "8x8", times_ms=(1, 2, 3, 4, 5)),
        LatencyRow("broken", "8x8", failure="no"),
    ]
    first, second = histogram_lines(rows)
    assert first.startswith("lite             10.0 |█▂ ")
    assert first.endswith("▂| 34.0 ms")
    assert second.startswith("a-long-name    1000.0 |█ ")
    assert second.endswith("▂| 1200.2 ms")


def test_columns_without_figures_are_left_out() -> None:
    row = LatencyRow("lite", "8x8", (10.0,), 10, 10, 10, 100, 0.0064, 1.0)
    assert printed(latency_table("8x8", [row, LatencyRow("b", "8x8", failure="no")])) == [
        ["engine", "p50 ms", "p90 ms", "p99 ms", "images/s", "MP/s", "ratio"],
        ["lite", "10.0", "10.0", "10.0", "100.000", "0.006", "1.00"],
        ["b", "failed", "", "", "", "", ""],
    ]
    full = LatencyRow("b", "8x8", (10.0,), 10, 10, 10, 1, 1, 2.5, 0.5, (2.25, 2.75), 3, True, 4.5, None, 300.0, 70.0)
    head, *_, last = printed(latency_table("8x8", [row, full]))
    assert head[4:] == ["std ms", "images/s", "MP/s", "ratio", "95 %", "cold start s", "peak MiB", "GPU MiB"]
    assert last[4:] == ["0.5", "1.000", "1.000", "2.50", "2.25 to 2.75", "4.50", "300", "70"]


def test_the_floor_has_the_figures_that_a_terminal_has_room_for() -> None:
    counted = FloorRow("lite", "8x8", 5_678_000_000, 10, 20, 1, 7, 8, 9, 9.0, precision="fp32", product_gmacs=100.4)
    row = replace(counted, copy_gbytes=9.0, floor_ms=56.78, bound="arithmetic", of_floor=0.15)
    assert printed(floor_table("8x8", [row, FloorRow("b", "8x8")])) == [
        ["engine", "GMAC", "precision", "GMAC/s", "floor ms", "bound", "floor / p50"],
        ["lite", "5.68", "fp32", "100", "56.8", "arithmetic", "15 %"],
        ["b", "–", "–", "–", "–", "–", "–"],
    ]


def test_phases_that_no_engine_has_are_left_out() -> None:
    on_cpu = {"read": 1.0, "upload": None, "compute": 20.0, "download": None, "write": 3.0, "end_to_end": 24.5}
    row = LatencyRow("lite", "8x8", phases_ms=on_cpu)
    assert printed(phases_table("8x8", [row, LatencyRow("b", "8x8", failure="no")])) == [
        ["engine", "read", "compute", "write", "end to end"],
        ["lite", "1.0", "20.0", "3.0", "24.5"],
    ]
    on_gpu = LatencyRow("plan", "8x8", phases_ms=on_cpu | {"upload": 0.5, "download": 0.75})
    assert printed(phases_table("8x8", [row, on_gpu]))[1:] == [
        ["lite", "1.0", "–", "20.0", "–", "3.0", "24.5"],
        ["plan", "1.0", "0.5", "20.0", "0.8", "3.0", "24.5"],
    ]
    assert phases_table("8x8", [LatencyRow("b", "8x8", failure="no")]) is None


def test_a_sweep_is_drawn_as_bars_of_the_time_of_a_megapixel() -> None:
    rows = [
        SweepRow("size", "a", "100x100", "100x100", 0.01, None, (5.0,), 5, 500, 300.0),
        SweepRow("size", "a", "200x100", "200x100", 0.02, None, (5.0,), 5, 250, failure=None, memory_failure="killed"),
        SweepRow("size", "a", "400x100", "400x100", 0.04, None, (5.0,), 5, 125),
        SweepRow("size", "a", "800x100", "800x100", 0.08, failure="no room"),
        SweepRow("tile", "a", "64", "100x100", 0.01, "64", (5.0,), 5, 500),
    ]
    sizes, tiles = sweep_tables(rows)
    assert (sizes.title, tiles.title) == ("Sweep of size", "Sweep of tile at 100x100")
    assert printed(sizes)[1:] == [
        ["a", "100x100", "0.01", "5.0", "500.0", "300", "–", "█" * 24],
        ["a", "200x100", "0.02", "5.0", "250.0", "–", "–", "killed"],
        ["a", "400x100", "0.04", "5.0", "125.0", "–", "–", "█" * 6],
        ["a", "800x100", "0.08", "–", "–", "–", "–", "no room"],
    ]


def test_the_conditions_of_a_gpu_are_in_their_line() -> None:
    gpu = {"sm_mhz": (1500, 1980, 1980), "memory_mhz": None, "held_back_by": []}
    assert conditions_line(Conditions((2500, 2600, 3000), 0.125, 0.5, True, gpu, [])) == (
        "conditions: processor's clock 2500 to 3000 MHz (median 2600); other processes 12%; load before 0.5; "
        "held back yes; GPU's sm clock 1500 to 1980 MHz (median 1980); not to be read here, or too short a time: GPU's "
        "memory clock"
    )

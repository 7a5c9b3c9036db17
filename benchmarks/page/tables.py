"""The parts of a report as blocks of the page; parts that a report does not have make none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mirnet_deploy.benchmarks.comparing import WORST
from mirnet_deploy.benchmarks.cost_tables import run_share
from mirnet_deploy.benchmarks.drawing import FIGURES, interval, number, probability, share
from mirnet_deploy.benchmarks.page.blocks import (
    Block,
    Column,
    Row,
    column,
    figure_column,
    lines,
    table,
    text,
)
from mirnet_deploy.benchmarks.page.plots import interval_of, latency_plot, quality_plot, sweep_chart
from mirnet_deploy.benchmarks.page.roofline import roofline_chart
from mirnet_deploy.benchmarks.page.words import names_of
from mirnet_deploy.benchmarks.quality import ALIGNED, INFINITE, METRICS
from mirnet_deploy.benchmarks.quality_tables import counted, figure

MIB = 2**20
ENGINE = column("engine", "engine")
RATIO = Column(
    "ratio",
    lambda row: number(row.get("ratio"), 2),
    needed=True,
    below=lambda row: interval(row.get("ratio_interval"), 2),
)
AXES = {
    "size": ("Pictures of growing size", "megapixels"),
    "tile": ("Tiles of growing side", "side of a tile in pixels"),
    "batch": ("Growing batches", "tiles in a batch"),
    "threads": ("Growing number of threads", "threads"),
}
"""Axis of a sweep -> title, and what stands below its plots."""


def engine_blocks(report: Row) -> list[Block]:
    """What the engines are."""
    if not report["engines"]:
        return []
    columns = [
        Column("engine", lambda row: text(row["name"]), below=lambda row: _start(row.get("sha256"))),
        Column("precision", lambda row: text(row.get("precision")), below=lambda row: text(row.get("precision_proof"))),
        Column("runs on", lambda row: text(row.get("backend")), below=_device),
        Column(
            "weights", lambda row: text(row.get("weights")), below=lambda row: f"{text(row.get('interface'))} interface"
        ),
        column("tile", "tile"),
        Column("MB", lambda row: number(_scaled(row.get("file_bytes"), 1e6), 1)),
    ]
    return [table("What was measured, and the first digits of its SHA-256", columns, _rows(report, "engines"), words=5)]


def _start(sha256: str | None) -> str:
    return (sha256 or "")[:12]


def _device(row: Row) -> str:
    on_gpu = text(row.get("device")).startswith("cuda")
    return f"{text(row.get('device'))}, CUDA graphs {text(row.get('graphs'))}" if on_gpu else text(row.get("device"))


def latency_blocks(report: Row) -> list[Block]:
    """By size a plot and a table, then the phases."""
    blocks: list[Block] = []
    rows = _rows(report, "latency")
    for size in dict.fromkeys(row["size"] for row in rows):
        some = [row for row in rows if row["size"] == size]
        plot = latency_plot(f"Time of every run at {size}", some, _first(report))
        runs = max((len(row.get("times_ms") or ()) for row in some), default=0)
        columns = [
            ENGINE,
            figure_column("p50_ms", needed=True),
            figure_column("p90_ms", needed=True),
            figure_column("p99_ms", needed=True),
            figure_column("std_ms"),
            figure_column("images_per_s", needed=True),
            figure_column("megapixels_per_s", needed=True),
            RATIO,
            figure_column("peak_rss_mib"),
            figure_column("peak_gpu_mib"),
            figure_column("cold_start_s"),
            Column("warm-up runs", lambda row: number(row.get("warmup_runs"), 0), below=_stable),
        ]
        made = table(f"Latency at {size}, {runs} run{'s' * (runs != 1)}", columns, some)
        blocks += [made] if plot is None else [plot, made]
    phases = list(dict.fromkeys(phase for row in rows for phase in row.get("phases_ms") or ()))
    if phases:
        columns = [ENGINE, column("size", "size"), *(_phase(name) for name in phases)]
        blocks.append(table("Phases, p50 in ms", columns, [row for row in rows if not row.get("failure")], words=2))
    return blocks


def _stable(row: Row) -> str:
    stable = row.get("warmup_stable")
    return "" if stable is None else "stable" if stable else "not stable"


def _phase(name: str) -> Column:
    return Column(name.replace("_", " "), lambda row: number((row.get("phases_ms") or {}).get(name), 1))


def floor_blocks(report: Row) -> list[Block]:
    """By size a roofline and a table, then how the best rates were measured."""
    blocks: list[Block] = []
    rows = _rows(report, "floor")
    for size in dict.fromkeys(row["size"] for row in rows):
        some = [row for row in rows if row["size"] == size]
        columns = [
            ENGINE,
            Column("GMAC", lambda row: number(_scaled(row.get("macs"), 1e9), 2), needed=True),
            Column("run", lambda row: number(run_share(row.get("run_macs"), row.get("macs")), 2)),
            Column("MB", lambda row: number(_scaled(row.get("least_bytes"), 1e6), 1)),
            Column("unfused MB", lambda row: number(_scaled(row.get("unfused_bytes"), 1e6), 0)),
            figure_column("intensity"),
            replace(figure_column("product_gmacs"), below=lambda row: text(row.get("precision"))),
            figure_column("copy_gbytes"),
            replace(figure_column("floor_ms", needed=True), below=lambda row: text(row.get("bound"))),
            Column("floor / p50", lambda row: share(row.get("of_floor")), needed=True),
        ]
        chart = roofline_chart(f"Roofline at {size}", some)
        blocks += [*([chart] if chart else []), table(f"Floor at {size}", columns, some)]
    said = dict.fromkeys(each for row in rows for each in (row.get("product"), row.get("copy")) if each)
    remarks = [f"{row['engine']} at {row['size']}, {each}" for row in rows for each in row.get("remarks") or ()]
    return [*blocks, lines([*(f"Measured: {each}" for each in said), *remarks])] if rows else []


def throughput_blocks(report: Row) -> list[Block]:
    """How many pictures a second, by batch and by how many are under way."""
    columns = [
        ENGINE,
        column("size", "size"),
        column("batch", "batch", 0, needed=True),
        column("in flight", "in_flight", 0, needed=True),
        figure_column("images_per_s", needed=True),
        figure_column("megapixels_per_s", needed=True),
        column("pictures", "runs", 0),
    ]
    rows = _rows(report, "throughput")
    return [table("Pictures per second", columns, rows, words=2)] if rows else []


def sweep_blocks(report: Row) -> list[Block]:
    """By axis two charts and a table."""
    blocks: list[Block] = []
    rows = _rows(report, "sweeps")
    for axis in dict.fromkeys(row["axis"] for row in rows):
        title, across = AXES.get(axis, (axis, axis))
        some = [row for row in rows if row["axis"] == axis]
        charts = [
            sweep_chart(f"{title}: {what}", f"{what} in {unit}", name, some, across)
            for what, unit, name in (
                ("time per megapixel", "ms", "ms_per_megapixel"),
                ("peak memory", "MiB", "peak_rss_mib"),
                ("peak GPU memory", "MiB", "peak_gpu_mib"),
            )
        ]
        columns = [
            ENGINE,
            column(axis, "value"),
            column("MP", "megapixels", 2),
            figure_column("p50_ms", needed=True),
            figure_column("ms_per_megapixel", needed=True),
            figure_column("peak_rss_mib"),
            figure_column("peak_gpu_mib"),
        ]
        blocks += [*(chart for chart in charts if chart), table(title, columns, some, words=2)]
    return blocks


def form_blocks(report: Row) -> list[Block]:
    """The forms of one checkpoint."""
    columns = [
        column("form", "form"),
        column("engine", "engine"),
        column("precision", "precision"),
        column("proof", "precision_proof"),
        Column("MB", lambda row: number(_scaled(row.get("bytes"), 1e6), 1)),
        figure_column("p50_ms", needed=True),
        RATIO,
        figure_column("psnr"),
        column("from FP32 dB", "difference_psnr", 1),
        column("levels", "max_levels", 0),
    ]
    rows = _rows(report, "forms")
    return [table("Forms of one checkpoint", columns, rows, words=4)] if rows else []


def quality_blocks(report: Row) -> list[Block]:
    """Means with a plot of the pictures, paired tests, the worst pictures, and all pictures."""
    quality = report.get("quality") or {}
    means, pictures = _rows(quality, "means"), _rows(quality, "pictures")
    plots = [
        quality_plot(
            f"{FIGURES[name][0].removesuffix(' dB')} of every picture", "dB", name, pictures, means, _first(report)
        )
        for name in INFINITE
    ]
    blocks: list[Block] = [plot for plot in plots if plot]
    count = Column("pictures", counted, needed=True)
    if means:
        known = any(each for row in means for each in (row.get("intervals") or {}).values())
        within = ", and their 95 % intervals" if known else ""
        blocks.append(table(f"Means{within}", [ENGINE, *(_metric(each) for each in METRICS), count], means))
    if any(row.get(name) is not None for row in means for name in ALIGNED):
        bright = figure_column("brightness_psnr")
        aligned = [ENGINE, *(_metric(each) for each in ALIGNED), bright, count]
        blocks.append(table("GT-mean: brightness given", aligned, means))
    tests = [
        ENGINE,
        column("against", "against"),
        Column("metric", _heading),
        column("test", "test"),
        Column("mean difference", lambda row: f"{row['mean_difference']:+.{_digits(row)}f}", needed=True),
        Column("95 %", lambda row: interval(row.get("interval"), _digits(row), "+"), needed=True),
        Column("p", lambda row: probability(row.get("p_value")), needed=True),
        column("pictures", "pictures", 0),
    ]
    if rows := _rows(quality, "tests"):
        blocks.append(table("Paired tests", tests, rows, words=4))
    value = Column("value", lambda row: number(row["value"], _digits(row)))
    worst = [ENGINE, column("picture", "picture"), Column("metric", _heading), value]
    rows = _rows(quality, "worst")
    if rows and len({row["picture"] for row in pictures}) > WORST:  # else they are all pictures
        blocks.append(table("Worst pictures", worst, rows, words=3, folded=True))
    if pictures:
        by_picture = [column("picture", "picture"), ENGINE, *(_metric(each) for each in (*METRICS, *ALIGNED))]
        blocks.append(table("Every picture", by_picture, pictures, words=2, folded=True))
    return blocks


def _metric(name: str) -> Column:
    heading, digits = FIGURES[name]
    return Column(heading, lambda row: figure(row, name), below=lambda row: interval(interval_of(row, name), digits))


def _heading(row: Row) -> str:
    return FIGURES[row["metric"]][0]


def _digits(row: Row) -> int:
    return FIGURES[row["metric"]][1]


def _scaled(value: Any, unit: float) -> float | None:
    return None if value is None else value / unit


def _first(report: Row) -> str:
    """The name of the first engine, which the page sets off from the others."""
    return next(iter(names_of(report)), "")


def _rows(report: Row, name: str) -> list[Row]:
    """The rows of a part of a report; none where it is absent."""
    return list(report.get(name) or ())

"""The parts of a report as blocks of the page; parts that a report does not have make none."""

from __future__ import annotations

from typing import Any

from mirnet_deploy.benchmarks.page.blocks import (
    Block,
    Column,
    Row,
    column,
    interval,
    number,
    table,
    text,
)
from mirnet_deploy.benchmarks.page.pictures import WORST
from mirnet_deploy.benchmarks.page.plots import interval_of, latency_plot, quality_plot, sweep_chart
from mirnet_deploy.benchmarks.page.words import names_of
from mirnet_deploy.benchmarks.quality_tables import figure

MIB = 2**20
ENGINE = column("engine", "engine")
RATIO = Column(
    "ratio",
    lambda row: number(row.get("ratio"), 2),
    needed=True,
    below=lambda row: interval(row.get("ratio_interval"), 2),
)
METRICS = (
    ("PSNR dB", "psnr", 2),
    ("SSIM", "ssim", 4),
    ("FLIP", "flip", 3),
    ("NIQE", "niqe", 2),
    ("BRISQUE", "brisque", 1),
)
"""Heading, field and digits of what stands in tables of quality."""
ALIGNED = (("GT-mean PSNR dB", "gt_mean_psnr", 2), ("GT-mean SSIM", "gt_mean_ssim", 4))
"""The same once the brightness is the ground truth's: in tables of their own, since they use it."""
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
        Column("MB", lambda row: number(_millions(row.get("file_bytes")), 1)),
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
            column("p50 ms", "p50_ms", 1, needed=True),
            column("p90 ms", "p90_ms", 1, needed=True),
            column("p99 ms", "p99_ms", 1, needed=True),
            column("std ms", "std_ms", 1),
            column("images/s", "images_per_s", 3, needed=True),
            column("MP/s", "megapixels_per_s", 3, needed=True),
            RATIO,
            column("peak MiB", "peak_rss_mib", 0),
            column("GPU MiB", "peak_gpu_mib", 0),
            column("cold start s", "cold_start_s", 2),
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


def throughput_blocks(report: Row) -> list[Block]:
    """How many pictures a second, by batch and by how many are under way."""
    columns = [
        ENGINE,
        column("size", "size"),
        column("batch", "batch", 0, needed=True),
        column("in flight", "in_flight", 0, needed=True),
        column("images/s", "images_per_s", 2, needed=True),
        column("MP/s", "megapixels_per_s", 2, needed=True),
        column("runs", "runs", 0),
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
            column("megapixels", "megapixels", 2),
            column("p50 ms", "p50_ms", 1, needed=True),
            column("ms per MP", "ms_per_megapixel", 1, needed=True),
            column("peak MiB", "peak_rss_mib", 0),
            column("GPU MiB", "peak_gpu_mib", 0),
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
        Column("MB", lambda row: number(_millions(row.get("bytes")), 1)),
        column("p50 ms", "p50_ms", 1, needed=True),
        RATIO,
        column("PSNR dB", "psnr", 2),
        column("dB to PyTorch FP32", "difference_psnr", 1),
        column("levels", "max_levels", 0),
    ]
    rows = _rows(report, "forms")
    return [table("Forms of one checkpoint", columns, rows, words=4)] if rows else []


def quality_blocks(report: Row) -> list[Block]:
    """Means with a plot of the pictures, paired tests, the worst pictures, and all pictures."""
    quality = report.get("quality") or {}
    means, pictures = _rows(quality, "means"), _rows(quality, "pictures")
    plots = [
        quality_plot(f"{heading.removesuffix(' dB')} of every picture", "dB", name, pictures, means, _first(report))
        for heading, name, _ in (*METRICS, *ALIGNED)
        if name.endswith("psnr")
    ]
    blocks: list[Block] = [plot for plot in plots if plot]
    count = Column("pictures", _count, needed=True)
    if means:
        known = any(each for row in means for each in (row.get("intervals") or {}).values())
        within = ", and their 95 % intervals" if known else ""
        blocks.append(table(f"Means{within}", [ENGINE, *(_metric(*each) for each in METRICS), count], means))
    if any(row.get(name) is not None for row in means for _, name, _ in ALIGNED):
        bright = column("brightness dB", "brightness_psnr", 2)
        aligned = [ENGINE, *(_metric(*each) for each in ALIGNED), bright, count]
        blocks.append(table("GT-mean: brightness given", aligned, means))
    tests = [
        ENGINE,
        column("against", "against"),
        column("metric", "metric"),
        column("test", "test"),
        column("mean difference", "mean_difference", 4, needed=True),
        Column("95 %", lambda row: interval(row.get("interval"), 4), needed=True),
        Column("p", lambda row: _probability(row.get("p_value")), needed=True),
        column("pictures", "pictures", 0),
    ]
    if rows := _rows(quality, "tests"):
        blocks.append(table("Paired tests", tests, rows, words=4))
    worst = [ENGINE, column("picture", "picture"), column("metric", "metric"), column("value", "value", 4)]
    rows = _rows(quality, "worst")
    if rows and len({row["picture"] for row in pictures}) > WORST:  # else they are all pictures
        blocks.append(table("Worst pictures", worst, rows, words=3, folded=True))
    if pictures:
        by_picture = [column("picture", "picture"), ENGINE, *(_metric(*each) for each in (*METRICS, *ALIGNED))]
        blocks.append(table("Every picture", by_picture, pictures, words=2, folded=True))
    return blocks


def _metric(heading: str, name: str, digits: int) -> Column:
    return Column(heading, lambda row: figure(row, name), below=lambda row: interval(interval_of(row, name), digits))


def _count(row: Row) -> str:
    count = f"{row['pictures']}" if row["pictures"] == row["of"] else f"{row['pictures']} of {row['of']}"
    return f"{count}, {row['identical']} equal" if row.get("identical") else count


def _probability(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else number(value, 3)


def _millions(value: Any) -> float | None:
    return None if value is None else value / 1e6


def _first(report: Row) -> str:
    """The name of the first engine, which the page sets off from the others."""
    return next(iter(names_of(report)), "")


def _rows(report: Row, name: str) -> list[Row]:
    """The rows of a part of a report; none where it is absent."""
    return list(report.get(name) or ())

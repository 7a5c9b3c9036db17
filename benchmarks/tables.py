"""A bench report as tables for people."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mirnet_deploy.benchmarks.forms_table import forms_table
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.peers_report import OURS, PeersReport, PeerTable
from mirnet_deploy.benchmarks.quality import QualityMean, QualityRow
from mirnet_deploy.benchmarks.report import Report
from mirnet_deploy.benchmarks.subjects.base import SubjectReport

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MISSING = "–"


def row_line(row: LatencyRow) -> str:
    """A row of latencies as a line, for whoever waits for the tables."""
    if row.failure:
        return f"{row.engine} at {row.size}: failed: {row.failure}"
    ratio = f", ratio {row.ratio:.2f}" if row.ratio is not None else ""
    return f"{row.engine} at {row.size}: p50 {row.p50_ms:.1f} ms, p90 {row.p90_ms:.1f} ms{ratio}"


def print_report(report: Report, console: Console) -> None:
    """Prints machine, engines, latency by size, quality (by picture too, up to 60 rows), failures and the protocol."""
    from rich.text import Text

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    line(f"machine: {machine_line(report.machine)}")
    for engine in report.engines:
        line(f"engine {engine_line(engine)}")
    for size in dict.fromkeys(row.size for row in report.latency):
        console.print(latency_table(size, [row for row in report.latency if row.size == size]))
    if report.quality:
        if len(report.quality.pictures) <= 60:
            console.print(picture_table(report.quality.pictures))
        console.print(quality_table(report.quality.data, report.quality.means))
        for remark in report.quality.remarks:
            line(remark, "yellow" if "WARNING" in remark else "")
    if report.forms:
        size, data = report.settings["sizes"][0], report.quality.data if report.quality else None
        console.print(forms_table(report.forms, size, data))
    for failure in report.failures:
        line(f"failed: {failure}", "red")
    if report.ended != "whole":
        line(report.ended, "yellow")
    for topic, text in report.to_dict()["protocol"].items():
        for part in textwrap.wrap(f"{topic}: {text}", 118, subsequent_indent="  "):
            line(part, "dim")


def machine_line(machine: Mapping[str, Any]) -> str:
    """Processor, memory, GPUs and the versions that speed depends on; the JSON holds the rest."""
    memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else "memory unknown"
    gpus = [f"{gpu['name']} (driver {gpu['driver']})" for gpu in machine["gpus"]] or ["no NVIDIA GPU"]
    libraries = {
        **machine["onnxruntime"],
        **machine["tensorrt"],
        "openvino": machine["openvino"],
        "torch": machine["torch"],
        "numpy": machine["numpy"],
    }
    versions = [f"{name} {version}" for name, version in libraries.items() if version]
    cores = f"{machine['cores']} cores{' with bf16' if machine['bf16'] else ''}"
    parts = [machine["cpu"], cores, memory, *gpus, machine["os"], f"Python {machine['python']}", *versions]
    return ", ".join(parts)


def _graphs(engine: SubjectReport) -> str:
    return f", CUDA graphs {engine.graphs}" if engine.device.startswith("cuda") else ""


def engine_line(engine: SubjectReport) -> str:
    """What an engine is, with the precision that was proven."""
    sha256 = f", SHA-256 {engine.sha256[:12]}" if engine.sha256 else ""
    return (
        f"{engine.name}: {engine.precision} ({engine.precision_proof}), {engine.interface} interface, "
        f"{engine.weights} weights, {engine.backend} on {engine.device}{_graphs(engine)}, tile {engine.tile}{sha256}"
    )


def latency_table(size: str, rows: Sequence[LatencyRow]) -> Table:
    """Latency, throughput and memory at one size."""
    runs = max((len(row.times_ms) for row in rows), default=0)
    columns = ["engine", "p50 ms", "p90 ms", "p99 ms", "images/s", "MP/s", "ratio", "peak MiB", "GPU MiB"]
    table = _table(f"Latency at {size}, {runs} run{'s' * (runs != 1)}", columns)
    for row in rows:
        if row.failure:
            table.add_row(row.engine, "failed")  # the reason stands in full below the tables
            continue
        figures = [row.p50_ms, row.p90_ms, row.p99_ms, row.images_per_s, row.megapixels_per_s, row.ratio]
        digits = [1, 1, 1, 3, 3, 2]
        memory = [_number(value, 0) for value in (row.peak_rss_mib, row.peak_gpu_mib)]
        table.add_row(row.engine, *(_number(f, d) for f, d in zip(figures, digits, strict=True)), *memory)
    return table


def quality_table(data: str, means: Sequence[QualityMean]) -> Table:
    """Means over the pictures, one row per engine or baseline."""
    columns = ["engine", "PSNR dB", "SSIM", "GT-mean PSNR dB", "GT-mean SSIM", "brightness dB", "n"]
    table = _table(f"Quality on {data} (means)", columns)
    for mean in means:
        count = f"{mean.pictures}" if mean.pictures == mean.of else f"{mean.pictures} of {mean.of}"
        count += f", {mean.identical} equal" if mean.identical else ""
        table.add_row(
            mean.engine,
            _number(mean.psnr, 2) if mean.psnr is not None or not mean.identical else "inf",
            _number(mean.ssim, 4),
            _number(mean.gt_mean_psnr, 2) if mean.gt_mean_psnr is not None or not mean.identical else "inf",
            _number(mean.gt_mean_ssim, 4),
            _number(mean.brightness_psnr, 2),
            count,
        )
    return table


def picture_table(rows: Sequence[QualityRow]) -> Table:
    """One row per picture and engine."""
    table = _table("Quality by picture", ["picture", "engine", "PSNR dB", "SSIM", "GT-mean PSNR dB", "GT-mean SSIM"], 2)
    for row in rows:
        if row.failure:
            table.add_row(row.picture, row.engine, "failed")
            continue
        plain, matched = ("inf" if value is None else _number(value, 2) for value in (row.psnr, row.gt_mean_psnr))
        table.add_row(row.picture, row.engine, plain, _number(row.ssim, 4), matched, _number(row.gt_mean_ssim, 4))
    return table


def peers_head(report: PeersReport) -> list[str]:
    """What stands above the tables of a comparison with peers: on what they were measured, and how."""
    machine, config = report.machine, report.config
    has = machine["instructions"]
    without = [name for name in ("AVX-512", "bf16") if name not in (has or ())]
    # One processor says nothing of those of another kind.
    others = f"with {' or '.join(without)}" if without else "without AVX-512 or bf16"
    threads = f"{config.threads} threads" if config.threads else "threads as each library chooses"
    return [
        f"machine: {machine_line(machine)}",
        f"instructions: {'unknown' if has is None else ', '.join(has) or 'none of those asked for'}; {threads}. "
        f"Processors {others if has is not None else 'of every other kind'}: unmeasured",
        "All take and give uint8 RGB, compute in float32 unless named otherwise, and take turns, one run each. Ratio: "
        f"median over that of {OURS}; 95 %: its interval (paired bootstrap over rounds). Of floor: the share of a time "
        "that the network's multiplications would take at the rate of a float32 matrix product, measured in the same "
        "rounds.",
    ]


def peers_table(table: PeerTable) -> Table:
    """The runtime and its peers on one model at one size."""
    rounds = max((len(row.times_ms) for row in table.rows), default=0)
    title = f"{table.model} ({table.artifact}) at {table.size}, {rounds} round{'s' * (rounds != 1)}"
    columns = ["", "ms", "ratio", "95 %", "of floor", "first s", "levels", "PSNR dB"]
    made = _table(title, columns)
    for row in table.rows:
        # Which library ours is by default stands nowhere else.
        name = f"{row.peer} ({row.backend.split()[0]})" if row.peer == OURS and row.backend else row.peer
        if row.failure:
            made.add_row(name, "failed")  # the reason stands in full below the table
            continue
        interval = MISSING if row.interval is None else "{:.2f} to {:.2f}".format(*row.interval)
        share = MISSING if row.of_floor is None else f"{row.of_floor:.0%}"
        figures = [_number(row.median_ms, 1), _number(row.ratio, 2), interval, share, _number(row.first_s, 1)]
        apart = f"{row.max_levels}{' DIFFERS' if row.differs else ''}"
        decibels = "equal" if row.max_levels == 0 else _number(row.psnr, 1)
        made.add_row(name, *figures, *(("reference", "") if row.peer == table.reference else (apart, decibels)))
    rate = MISSING if table.product_gmacs is None else f"{table.product_gmacs:.0f}"
    floor = f"arithmetic at the rate of a matrix product ({table.multiplications / 1e9:.2f} G at {rate} G/s)"
    made.add_row(floor, _number(table.floor_ms, 1), _number(table.floor_ratio, 2))
    return made


def _number(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _table(title: str, columns: Sequence[str], text: int = 1) -> Table:
    """An empty table whose first `text` columns hold words (folded, never cut), and whose others hold figures."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        words = position < text
        table.add_column(column, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    return table

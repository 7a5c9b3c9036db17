"""A bench report as tables for people."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mirnet_deploy.benchmarks.cost_tables import (
    conditions_line,
    floor_lines,
    floor_table,
    histogram_lines,
    latency_table,
    phases_table,
    sweep_tables,
    throughput_table,
    unstable_lines,
)
from mirnet_deploy.benchmarks.drawing import MISSING, empty_table, interval, number
from mirnet_deploy.benchmarks.forms_table import forms_table
from mirnet_deploy.benchmarks.inputs import PICTURE
from mirnet_deploy.benchmarks.peers_report import COARSE, OURS, PeersReport, PeerTable
from mirnet_deploy.benchmarks.quality_tables import print_quality
from mirnet_deploy.benchmarks.report import Report
from mirnet_deploy.benchmarks.subjects.base import SubjectReport

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_report(report: Report, console: Console) -> None:
    """Prints machine, engines, costs, quality, failures and the protocol."""
    from rich.text import Text

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    line(f"machine: {machine_line(report.machine)}")
    for engine in report.engines:
        line(f"engine {engine_line(engine)}")
    _print_costs(report, console, line)
    if report.quality:
        print_quality(report.quality, console)
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


def _print_costs(report: Report, console: Console, line: Callable[[str, str], None]) -> None:
    """Prints latencies and phases by size, what makes them less sure, throughput and sweeps."""
    for size in dict.fromkeys(row.size for row in report.latency):
        rows = [row for row in report.latency if row.size == size]
        console.print(latency_table(size, rows))
        for drawn in histogram_lines(rows):
            line(drawn, "")
        for remark in unstable_lines(rows):
            line(remark, "yellow")
        if phases := phases_table(size, rows):
            console.print(phases)
        if floors := [row for row in report.floor if row.size == size]:
            console.print(floor_table(size, floors))
            for remark in floor_lines(floors):
                line(remark, "")
    if report.latency and report.conditions:
        line(conditions_line(report.conditions), "")
        for remark in report.conditions.remarks:
            line(remark, "yellow")
    if report.throughput:
        console.print(throughput_table(report.throughput))
    for table in sweep_tables(report.sweeps):
        console.print(table)


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


def _on_gpu(engine: SubjectReport) -> str:
    if not engine.device.startswith("cuda"):
        return ""
    transfers = f", {engine.transfers} transfers" if engine.transfers else ""
    waiting = f", waits by {engine.waiting}" if engine.waiting else ""
    return f", CUDA graphs {engine.graphs}{transfers}{waiting}"


def engine_line(engine: SubjectReport) -> str:
    """What an engine is, with the precision that was proven."""
    sha256 = f", SHA-256 {engine.sha256[:12]}" if engine.sha256 else ""
    return (
        f"{engine.name}: {engine.precision} ({engine.precision_proof}), {engine.interface} interface, "
        f"{engine.weights} weights, {engine.backend} on {engine.device}{_on_gpu(engine)}, tile {engine.tile}{sha256}"
    )


def peers_head(report: PeersReport) -> list[str]:
    """What stands above the tables of a comparison with peers: on what they were measured, and how."""
    machine, config = report.machine, report.config
    has = machine["instructions"]
    without = [name for name in ("AVX-512", "VNNI", "bf16") if name not in (has or ())]
    # One processor says nothing of those of another kind.
    others = f"with {' or '.join(without)}" if without else "without AVX-512, VNNI or bf16"
    threads = f"{config.threads} threads" if config.threads else "threads as each library chooses"
    return [
        f"machine: {machine_line(machine)}",
        f"instructions: {'unknown' if has is None else ', '.join(has) or 'none of those asked for'}; {threads}. "
        f"Processors {others if has is not None else 'of every other kind'}: unmeasured",
        f"picture: {config.picture or PICTURE}",
        "All take and give uint8 RGB, compute in float32 unless named otherwise, and take turns, one run each, in an "
        f"order drawn anew for each round. Ratio: median over that of {OURS} in the same precision, for {COARSE} in "
        "float32; 95 %: its interval (paired bootstrap over rounds). Of floor: the share of a time that the network's "
        "multiplications would take at the rate of a matrix product in the row's precision, measured in the same "
        "rounds; the last line is of float32.",
    ]


def peers_table(table: PeerTable) -> Table:
    """The runtime and its peers on one model at one size."""
    rounds = max((len(row.times_ms) for row in table.rows), default=0)
    title = f"{table.model} ({table.artifact}) at {table.size}, {rounds} round{'s' * (rounds != 1)}"
    if table.anew:
        title += ", engines but PyTorch's opened anew for each run, which counts: memory does not hold all at once"
    columns = ["", "ms", "ratio", "95 %", "of floor", "first s", "levels", "PSNR dB"]
    made = empty_table(title, columns)
    for row in table.rows:
        # Which library ours is by default stands nowhere else.
        name = f"{row.peer} ({row.backend.split()[0]})" if row.peer == OURS and row.backend else row.peer
        if row.failure:
            made.add_row(name, "failed")  # the reason stands in full below the table
            continue
        share = MISSING if row.of_floor is None else f"{row.of_floor:.0%}"
        figures = [
            number(row.median_ms, 1),
            number(row.ratio, 2),
            interval(row.interval, 2),
            share,
            number(row.first_s, 1),
        ]
        apart = f"{row.max_levels}{' DIFFERS' if row.differs else ''}"
        decibels = "equal" if row.max_levels == 0 else number(row.psnr, 1)
        made.add_row(name, *figures, *(("reference", "") if row.peer == table.reference else (apart, decibels)))
    rate = MISSING if table.product_gmacs is None else f"{table.product_gmacs:.0f}"
    floor = f"arithmetic at the rate of a matrix product ({table.multiplications / 1e9:.2f} G at {rate} G/s)"
    made.add_row(floor, number(table.floor_ms, 1), number(table.floor_ratio, 2))
    return made

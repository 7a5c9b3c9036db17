"""Every row of a bench run as a line, for whoever waits for the tables."""

from __future__ import annotations

from collections.abc import Iterator

from mirnet_deploy.benchmarks.drawing import number, share
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.quality import QualityRow
from mirnet_deploy.benchmarks.report import Report
from mirnet_deploy.benchmarks.sweeps import SweepRow


def row_lines(report: Report) -> list[str]:
    """What was measured so far, in the order of measuring: a report with more in it only adds lines at the end.

    Memory, which is measured last and completes rows that have a line already, has lines of its own.
    """
    return [*_costs(report), *_quality(report), *_sweeps(report), *_memory(report)]


def _costs(report: Report) -> Iterator[str]:
    for size in dict.fromkeys(row.size for row in report.latency):
        for row in report.latency:
            if row.size == size:
                ratio = f", ratio {row.ratio:.2f}" if row.ratio is not None else ""
                figures = f"p50 {number(row.p50_ms, 1)} ms, p90 {number(row.p90_ms, 1)} ms{ratio}"
                yield _line(f"{row.engine} at {row.size}", row.failure, figures)
        for floor in report.floor:
            if floor.size == size:
                figures = f"{number(floor.floor_ms, 1)} ms ({floor.bound}), {share(floor.of_floor)} of p50"
                yield f"{floor.engine} at {size}, floor: {figures if floor.floor_ms else '; '.join(floor.remarks)}"
    for each in report.throughput:
        where = f"{each.engine} at {each.size}, {each.in_flight} in flight"
        yield _line(where, each.failure, f"{number(each.images_per_s, 3)} images/s")


def _quality(report: Report) -> Iterator[str]:
    if report.quality is None:
        return
    for row in report.quality.pictures:
        figures = _against_target(row) if report.quality.paired else _natural(row)
        yield _line(f"{row.engine} on {row.picture}", row.failure, figures)


def _against_target(row: QualityRow) -> str:
    psnr = "inf" if row.identical else number(row.psnr, 2)
    return f"PSNR {psnr} dB, SSIM {number(row.ssim, 4)}"


def _natural(row: QualityRow) -> str:
    return f"NIQE {number(row.niqe, 2)}"


def _sweeps(report: Report) -> Iterator[str]:
    for row in report.sweeps:
        figures = f"p50 {number(row.p50_ms, 1)} ms, {number(row.ms_per_megapixel, 1)} ms/MP"
        yield _line(f"{row.engine}, {row.axis} {row.value}", row.failure, figures)


def _memory(report: Report) -> Iterator[str]:
    """Of the rows whose memory was measured, or failed to be."""
    rows: list[tuple[str, LatencyRow | SweepRow]] = [(f"{row.engine} at {row.size}", row) for row in report.latency]
    rows += [(f"{row.engine}, {row.axis} {row.value}", row) for row in report.sweeps]
    for where, row in rows:
        if row.peak_rss_mib is None and row.memory_failure is None:
            continue
        figures = f"peak {number(row.peak_rss_mib, 0)} MiB"
        if row.peak_gpu_mib is not None:
            figures += f", GPU {row.peak_gpu_mib:.0f} MiB"
        if isinstance(row, LatencyRow) and row.cold_start_s is not None:
            figures += f", cold start {row.cold_start_s:.1f} s"
        yield _line(f"{where}, memory", row.memory_failure, figures)


def _line(where: str, failure: str | None, figures: str) -> str:
    return f"{where}: failed: {failure}" if failure else f"{where}: {figures}"

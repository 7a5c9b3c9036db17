"""What is printed while a bench run lasts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.quality import QualityRow
from mirnet_deploy.benchmarks.report import Quality, Report
from mirnet_deploy.benchmarks.row_lines import row_lines
from mirnet_deploy.benchmarks.sweeps import SweepRow

TIMED = LatencyRow("a", "8x8", times_ms=(2, 3), p50_ms=2.5, p90_ms=2.9, ratio=1)


def report(*latency: LatencyRow, quality: Quality | None = None, sweeps: tuple[SweepRow, ...] = ()) -> Report:
    return Report("", "", {}, {}, [], [*latency], quality, "whole", sweeps=[*sweeps])


def quality(*rows: QualityRow, paired: bool = True) -> Quality:
    return Quality("pairs", [], [*rows], [], paired=paired)


def test_every_picture_has_a_line_for_every_engine() -> None:
    rows = (
        QualityRow("input", "1", psnr=7.654, ssim=0.12345, niqe=6.5),
        QualityRow("a", "1", ssim=1.0, identical=True),
        QualityRow("b", "1", failure="MemoryError: no room"),
    )
    assert row_lines(report(quality=quality(*rows))) == [
        "input on 1: PSNR 7.65 dB, SSIM 0.1235",
        "a on 1: PSNR inf dB, SSIM 1.0000",
        "b on 1: failed: MemoryError: no room",
    ]
    alone = quality(QualityRow("a", "1", niqe=6.543), QualityRow("a", "flat"), paired=False)
    assert row_lines(report(quality=alone)) == ["a on 1: NIQE 6.54", "a on flat: NIQE –"]


def test_a_report_with_more_in_it_only_adds_lines_at_the_end() -> None:
    """They are printed by their number, in the order of measuring: memory completes rows that were printed already."""
    swept = SweepRow("threads", "a", "2", "8x8", 64e-6, p50_ms=2, ms_per_megapixel=31250)
    pictures = quality(QualityRow("a", "1", psnr=20, ssim=0.5))
    timed = [TIMED, replace(TIMED, engine="b", ratio=None, failure="no"), replace(TIMED, engine="c")]
    known = [replace(timed[0], peak_rss_mib=100, peak_gpu_mib=50, cold_start_s=1.25), *timed[1:]]
    failed = [*known[:2], replace(timed[2], memory_failure="killed by signal 9")]
    steps = [
        report(timed[0]),
        report(*timed),
        report(*timed, quality=pictures),
        report(*timed, quality=pictures, sweeps=(swept,)),
        report(*known, quality=pictures, sweeps=(swept,)),
        report(*failed, quality=pictures, sweeps=(swept,)),
        report(*failed, quality=pictures, sweeps=(replace(swept, peak_rss_mib=90),)),
    ]
    lines = [row_lines(step) for step in steps]
    assert [len(each) for each in lines] == [1, 3, 4, 5, 6, 7, 8]
    for before, after in pairwise(lines):
        assert after[: len(before)] == before
    assert lines[-1] == [
        "a at 8x8: p50 2.5 ms, p90 2.9 ms, ratio 1.00",
        "b at 8x8: failed: no",
        "c at 8x8: p50 2.5 ms, p90 2.9 ms, ratio 1.00",
        "a on 1: PSNR 20.00 dB, SSIM 0.5000",
        "a, threads 2: p50 2.0 ms, 31250.0 ms/MP",
        "a at 8x8, memory: peak 100 MiB, GPU 50 MiB, cold start 1.2 s",
        "c at 8x8, memory: failed: killed by signal 9",
        "a, threads 2, memory: peak 90 MiB",
    ]

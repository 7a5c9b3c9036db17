"""What was measured, in a title and a few sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mirnet_deploy.benchmarks.baselines import others
from mirnet_deploy.benchmarks.page.blocks import Row
from mirnet_deploy.benchmarks.page.plots import interval_of

MOST_NAMES = 3


def listed(names: Sequence[str], more: str = "") -> str:
    """Names in a sentence; `more` stands in place of the number of those that are left out.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c", "d", "e"])
    ('a, b and c', 'a, b and 3 more')
    """
    shown = list(names)
    if len(names) > MOST_NAMES:
        shown = [*names[: MOST_NAMES - 1], more or f"{len(names) - MOST_NAMES + 1} more"]
    return " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)


def title(report: Row) -> str:
    """The page's title."""
    names = names_of(report)
    return f"Benchmark of {listed(names)}" if names else "Benchmark"


def names_of(report: Row) -> list[str]:
    """The engines; where there are none, those whose results were measured."""
    means = (report.get("quality") or {}).get("means") or ()
    return [engine["name"] for engine in report["engines"]] or others(mean["engine"] for mean in means)


def summary(report: Row) -> str:
    """One paragraph: where, how fast, how good, and what is missing."""
    sentences = [f"Measured on {_machine(report['machine'])}.", *_latency(report), *_quality(report)]
    if report.get("ended", "whole") != "whole":
        sentences.append(f"The run was {report['ended']}.")
    failures = len(report.get("failures") or ())
    if failures:
        sentences.append(f"{failures} measurement{'s' * (failures != 1)} failed.")
    return " ".join(sentences)


def _machine(machine: Mapping[str, Any]) -> str:
    """Processor, cores and GPUs; the rest of the machine stands further below."""
    memory = f" and {machine['memory_bytes'] / 2**30:.0f} GiB of memory" if machine.get("memory_bytes") else ""
    gpus = [gpu["name"] for gpu in machine.get("gpus") or ()]
    cores = machine["cores"]
    return f"{machine['cpu']} ({cores} core{'s' * (cores != 1)}{memory}), {listed(gpus) if gpus else 'no NVIDIA GPU'}"


def _latency(report: Row) -> list[str]:
    rows = report.get("latency") or []
    first = next((row for row in rows if row.get("p50_ms") is not None), None)
    if first is None:
        return []
    runs = len(first["times_ms"])
    said = [
        f"At {first['size']}, {first['engine']} took {first['p50_ms']:.1f} ms "
        f"(median of {runs} run{'s' * (runs != 1)}; 90th percentile {first['p90_ms']:.1f} ms)."
    ]
    slower = [
        f"{row['engine']} took {row['ratio']:.2f} times as long{_within(row.get('ratio_interval'))}"
        for row in rows
        if row["size"] == first["size"] and row is not first and row.get("ratio") is not None
    ]
    if slower:
        said.append(f"{listed(slower, 'others stand in the table')}.")
    return said


def _within(interval: Sequence[float] | None) -> str:
    return f" (95 % interval {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""


def _quality(report: Row) -> list[str]:
    quality = report.get("quality") or {}
    names = names_of(report)
    mean = next((row for row in quality.get("means") or () if row["engine"] in names), None)
    if mean is None or mean.get("psnr") is None:
        return []
    within = _within(interval_of(mean, "psnr"))
    of = f"On {mean['pictures']} pair{'s' * (mean['pictures'] != 1)} of {quality['data']}"
    said = [
        f"{of}, {mean['engine']} reached a PSNR of {mean['psnr']:.2f} dB{within} and an SSIM of {mean['ssim']:.4f}."
    ]
    if mean.get("gt_mean_psnr") is not None:
        said.append(f"With the brightness of the ground truth given, its PSNR is {mean['gt_mean_psnr']:.2f} dB.")
    return said

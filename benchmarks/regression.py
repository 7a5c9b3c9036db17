"""Two reports of `bench --json` compared: which figures are worse, better or the same, beyond what is noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.quality import METRICS, QualityRow, is_infinite
from mirnet_deploy.benchmarks.ratios import unpaired_ratio
from mirnet_deploy.benchmarks.report import Report
from mirnet_deploy.benchmarks.run_differences import (
    differences,
    engine_differences,
    engines_of,
    other_pictures,
    pictures_of,
    remarks,
)
from mirnet_deploy.benchmarks.statistics import FEWEST, mean_interval
from mirnet_deploy.errors import UsageError

Verdict = Literal["better", "same", "worse", "unclear", "not compared"]
Interval = tuple[float, float]
TOLERANCES: Mapping[str, float] = {
    "latency": 0.05,
    "memory": 0.1,
    "psnr": 0.05,
    "ssim": 0.001,
    "flip": 0.002,
    "niqe": 0.1,
    "brisque": 1.0,
}
"""Metric -> how much worse it may be: a share of latency and memory, units of the others (dB of PSNR)."""
MORE_IS_BETTER = ("psnr", "ssim")
MEMORY = {"peak memory": "peak_rss_mib", "peak GPU memory": "peak_gpu_mib"}


@dataclass(frozen=True)
class Change:
    """One figure of one engine in both runs."""

    figure: str
    """"p50", "peak memory", "peak GPU memory", or a metric of quality (its mean over the pictures of both runs)."""
    engine: str
    where: str
    """Size, or number of pictures."""
    old: float | None
    new: float | None
    """Milliseconds, MiB, or as the metric has it; None where a run failed."""
    change: float | None
    """new / old of latency and memory; the mean of new - old over pictures of quality."""
    interval: Interval | None
    """95 % of `change`; None of memory, which is measured once, and where there are too few runs or pictures."""
    verdict: Verdict
    reason: str = ""
    """Why it is not compared, or worse or better without a figure."""
    range: Interval | None = None
    """The smallest and the largest difference of any picture, where there are too few for an interval."""


@dataclass(frozen=True)
class Regression:
    """All that changed from the old run to the new one."""

    changes: list[Change]
    remarks: list[str]
    """What else is different, and what is only in one of them."""
    tolerances: Mapping[str, float] = field(default_factory=dict)

    @property
    def worse(self) -> list[Change]:
        """The regressions."""
        return [each for each in self.changes if each.verdict == "worse"]


def parse_tolerances(given: Sequence[str]) -> dict[str, float]:
    """`TOLERANCES`, with those replaced that `given` has as METRIC=VALUE.

    >>> parse_tolerances(["psnr=0.2"])["psnr"]
    0.2

    Raises:
        UsageError: there is no such metric, or the value is no number from 0 on.
    """
    found = dict(TOLERANCES)
    for text in given:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in TOLERANCES or not 0 <= number < float("inf"):
            known = ", ".join(f"{metric}={default:g}" for metric, default in TOLERANCES.items())
            raise UsageError(f"--tolerance is {text!r}; expected METRIC=VALUE from 0 on, as the defaults {known}")
        found[name] = number
    return found


def compare_reports(old: Report, new: Report, tolerances: Mapping[str, float], *, any_machine: bool) -> Regression:
    """What changed from `old` to `new`.

    Args:
        any_machine: judges latency and memory also where machines, settings, or an engine's library, precision or
            device differ.

    Raises:
        UsageError: the reports have no engine at the same size, and none on the same picture.
    """
    unlike, engines = differences(old, new), {} if any_machine else engine_differences(old, new)
    of_all = [] if any_machine else unlike
    reasons = {
        row.engine: ", ".join(f"other {each}" for each in [*of_all, *engines.get(row.engine, ())])
        for row in new.latency
    }
    changes = [*_latencies(old, new, tolerances, reasons), *_qualities(old, new, tolerances)]
    if not changes:
        raise UsageError("the reports have nothing in common: no engine at the same size, and none on the same picture")
    return Regression(changes, list(remarks(old, new, unlike)), tolerances)


def _latencies(
    old: Report, new: Report, tolerances: Mapping[str, float], reasons: Mapping[str, str]
) -> Iterator[Change]:
    """`reasons`: engine -> why its costs are not judged; "" where they are."""
    before = {(row.engine, row.size): row for row in old.latency}
    for row in new.latency:
        if known := before.get((row.engine, row.size)):
            reason = reasons[row.engine]
            yield _latency(known, row, tolerances["latency"], reason)
            for figure, field_name in MEMORY.items():
                first, second = getattr(known, field_name), getattr(row, field_name)
                if first and second:
                    ratio = second / first
                    verdict = "not compared" if reason else _ratio_verdict((ratio, ratio), tolerances["memory"])
                    yield Change(figure, row.engine, row.size, first, second, ratio, None, verdict, reason)


def _latency(old: LatencyRow, new: LatencyRow, tolerance: float, reason: str) -> Change:
    def change(ratio: float | None, interval: Interval | None, verdict: Verdict, reason: str = "") -> Change:
        return Change("p50", new.engine, new.size, old.p50_ms, new.p50_ms, ratio, interval, verdict, reason)

    if not old.p50_ms or not new.p50_ms:
        failed = new.failure and not old.failure
        both = f"failed: {new.failure}" if failed else f"failed in the old run: {old.failure}"
        return change(None, None, "worse" if failed else "not compared", both)
    ratio, interval = new.p50_ms / old.p50_ms, unpaired_ratio(old.times_ms, new.times_ms)
    if reason or interval is None:
        return change(ratio, interval, "not compared", reason or f"fewer than {FEWEST} runs")
    return change(ratio, interval, _ratio_verdict(interval, tolerance))


def _ratio_verdict(interval: Interval, tolerance: float) -> Verdict:
    """Worse and better are all of the interval beyond the tolerance; the same is all of it within."""
    low, high = interval
    if low > 1 + tolerance:
        return "worse"
    if high < 1 / (1 + tolerance):
        return "better"
    return "same" if low >= 1 / (1 + tolerance) and high <= 1 + tolerance else "unclear"


def _qualities(old: Report, new: Report, tolerances: Mapping[str, float]) -> Iterator[Change]:
    before, after = pictures_of(old), pictures_of(new)
    other = other_pictures(before, after)
    known_before = engines_of(old)
    for engine in [each for each in engines_of(new) if each in known_before]:
        names = [name for each, name in after if each == engine and (engine, name) in before and name not in other]
        rows = [(before[engine, name], after[engine, name]) for name in names]
        failed = [second for first, second in rows if second.failure and not first.failure]
        if failed:
            where = f"{len(failed)} of {len(rows)} pictures"
            yield Change("pictures", engine, where, None, None, None, None, "worse", f"failed: {failed[0].failure}")
        yield from _infinite(engine, rows)
        for metric in METRICS:
            values = [(getattr(first, metric), getattr(second, metric)) for first, second in rows]
            if known := [(first, second) for first, second in values if first is not None and second is not None]:
                yield _quality(metric, engine, known, tolerances[metric])


def _infinite(engine: str, rows: Sequence[tuple[QualityRow, QualityRow]]) -> Iterator[Change]:
    """Pictures whose PSNR is infinite in one of the runs alone: they have no difference, but are worse or better."""
    left = sum(is_infinite(vars(old), "psnr") and new.psnr is not None for old, new in rows)
    reached = sum(old.psnr is not None and is_infinite(vars(new), "psnr") for old, new in rows)
    verdicts: tuple[tuple[int, Verdict, str], ...] = (
        (left, "worse", "infinite in the old run, finite in the new one"),
        (reached, "better", "finite in the old run, infinite in the new one"),
    )
    for count, verdict, reason in verdicts:
        if count:
            yield Change("psnr", engine, _pictures(count), None, None, None, None, verdict, reason)


def _quality(metric: str, engine: str, values: Sequence[tuple[float, float]], tolerance: float) -> Change:
    """The verdict is by the interval, or by the range where there are too few pictures for one."""
    each = [second - first for first, second in values]
    old, new = (float(np.mean(column)) for column in zip(*values, strict=True))
    change, interval = float(np.mean(each)), mean_interval(each)
    over = (min(each), max(each)) if interval is None else None
    sign = 1 if metric in MORE_IS_BETTER else -1
    low, high = sorted(sign * bound for bound in interval or over or ())
    verdict: Verdict = "same" if low >= -tolerance and high <= tolerance else "unclear"
    if abs(change) > tolerance:
        verdict = "worse" if high < 0 else "better" if low > 0 else "unclear"
    return Change(metric, engine, _pictures(len(each)), old, new, change, interval, verdict, range=over)


def _pictures(count: int) -> str:
    return f"{count} picture{'s' * (count != 1)}"

"""Which differences in quality are more than chance, and which pictures each engine does worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mirnet_deploy.benchmarks.naturalness import brisque, niqe
from mirnet_deploy.benchmarks.quality import METRICS, Interval, QualityRow
from mirnet_deploy.benchmarks.statistics import FEWEST, holm, mean_interval, method, paired_p_value

WORST = 5
SHORTEST = {"niqe": niqe.SMALLEST, "brisque": brisque.SMALLEST}
"""Shortest side in pixels that has a figure, by metric."""


@dataclass(frozen=True)
class PairedTest:
    """One engine against another on the pictures that both have a figure for."""

    engine: str
    against: str
    metric: str
    mean_difference: float
    """`engine` less `against`."""
    interval: Interval | None
    """95 %, of the mean difference."""
    p_value: float
    """Adjusted for that several engines are tested by this metric (Holm)."""
    test: str
    pictures: int


@dataclass(frozen=True)
class Worst:
    """One of the pictures that an engine does worst."""

    engine: str
    picture: str
    metric: str
    value: float


def paired_tests(rows: Sequence[QualityRow], against: str) -> list[PairedTest]:
    """Every engine against `against`, by each of `METRICS`; none where fewer than `FEWEST` pictures can be compared."""
    engines = [engine for engine in dict.fromkeys(row.engine for row in rows) if engine != against]
    found: list[PairedTest] = []
    for metric in METRICS:
        tests = [test for engine in engines if (test := _test(rows, engine, against, metric))]
        adjusted = holm([test.p_value for test in tests])
        several = f", Holm over {len(tests)} engines" if len(tests) > 1 else ""
        found += [
            replace(test, p_value=p_value, test=test.test + several)
            for test, p_value in zip(tests, adjusted, strict=True)
        ]
    return found


def _test(rows: Sequence[QualityRow], engine: str, against: str, metric: str) -> PairedTest | None:
    """One test, not adjusted; None where there are too few pictures."""
    ours, theirs = (
        {row.picture: value for row in rows if row.engine == name and (value := getattr(row, metric)) is not None}
        for name in (engine, against)
    )
    differences = [value - theirs[picture] for picture, value in ours.items() if picture in theirs]
    p_value = paired_p_value(differences)
    if p_value is None:
        return None
    mean, count = math.fsum(differences) / len(differences), len(differences)
    return PairedTest(engine, against, metric, mean, mean_interval(differences), p_value, method(count), count)


def worst_pictures(rows: Sequence[QualityRow]) -> list[Worst]:
    """The `WORST` pictures of each engine, the worst first: by PSNR, or by NIQE where there is no ground truth."""
    paired = any(row.ssim is not None for row in rows)
    metric, sign = ("psnr", 1) if paired else ("niqe", -1)
    found: list[Worst] = []
    for engine in dict.fromkeys(row.engine for row in rows):
        figures = [(row.picture, getattr(row, metric)) for row in rows if row.engine == engine]
        ranked = sorted(((value * sign, picture) for picture, value in figures if value is not None))
        found += [Worst(engine, picture, metric, value * sign) for value, picture in ranked[:WORST]]
    return found


def gaps(rows: Sequence[QualityRow]) -> list[str]:
    """A line for each of `SHORTEST` that some outputs have no figure for, and one where there are too few pictures."""
    good = [row for row in rows if row.failure is None]
    lines = [
        f"{metric.upper()} has no figure for {missing} of {len(good)} outputs: it takes sides of at least {side} "
        "pixels, and content (areas of one grey have none)"
        for metric, side in SHORTEST.items()
        if (missing := sum(getattr(row, metric) is None for row in good))
    ]
    pictures = len({row.picture for row in rows})
    if pictures < FEWEST:
        lines.append(f"no intervals and no tests: they take {FEWEST} pictures, and there are {pictures}")
    return lines

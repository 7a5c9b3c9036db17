"""The quality part of a bench report as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mirnet_deploy.benchmarks.comparing import WORST, PairedTest, Worst
from mirnet_deploy.benchmarks.drawing import FIGURES, empty_table, interval, number, probability
from mirnet_deploy.benchmarks.quality import ALIGNED, METRICS, QualityMean, QualityRow, is_infinite
from mirnet_deploy.benchmarks.report import Quality

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MOST_ROWS = 60
"""Rows of the table by picture above which it is left out; the JSON has them."""
WITHOUT_TARGET = ("niqe", "brisque")


def print_quality(quality: Quality, console: Console) -> None:
    """Prints the pictures (up to `MOST_ROWS` rows), the means, the tests, and the worst of more than a few pictures."""
    from rich.text import Text

    metrics = METRICS if quality.paired else WITHOUT_TARGET
    if len(quality.pictures) <= MOST_ROWS:
        console.print(picture_table(quality.pictures, [*metrics, "gt_mean_psnr"] if quality.paired else metrics))
    console.print(means_table(f"Quality on {quality.data}", quality.means, metrics))
    if quality.paired:
        console.print(means_table("GT-mean: brightness given", quality.means, ALIGNED))
    if quality.tests:
        console.print(tests_table(quality.tests))
    for line in worst_lines(quality.worst) if len({row.picture for row in quality.pictures}) > WORST else ():
        console.print(Text(line), soft_wrap=True)


def means_table(title: str, means: Sequence[QualityMean], metrics: Sequence[str]) -> Table:
    """Means over the pictures, one row per engine or baseline; below a mean its 95 % interval, where there is one."""
    columns = [*metrics, *(["brightness_psnr"] if metrics == ALIGNED else [])]
    headings = [FIGURES[each][0] for each in columns]
    known = ", 95 %" if any(mean.intervals.get(metric) for mean in means for metric in metrics) else ""
    table = empty_table(f"{title} (means{known})", ["engine", *headings, "pictures"])
    for mean in means:
        table.add_row(mean.engine, *(_mean(mean, each) for each in columns), counted(vars(mean)))
    return table


def _mean(mean: QualityMean, metric: str) -> str:
    bounds = mean.intervals.get(metric)
    return figure(vars(mean), metric) + (f"\n{interval(bounds, FIGURES[metric][1])}" if bounds else "")


def counted(mean: Mapping[str, Any]) -> str:
    """Of how many pictures the fields of a row of means are, and how many equal their ground truths."""
    count = f"{mean['pictures']}" if mean["pictures"] == mean["of"] else f"{mean['pictures']} of {mean['of']}"
    return f"{count}, {mean['identical']} equal" if mean.get("identical") else count


def figure(row: Mapping[str, Any], metric: str) -> str:
    """A metric of the fields of a row of pictures or of means, with its digits."""
    return "inf" if is_infinite(row, metric) else number(row.get(metric), FIGURES[metric][1])


def picture_table(rows: Sequence[QualityRow], metrics: Sequence[str]) -> Table:
    """One row per picture and engine."""
    table = empty_table("Quality by picture", ["picture", "engine", *(FIGURES[metric][0] for metric in metrics)], 2)
    for row in rows:
        if row.failure:
            table.add_row(row.picture, row.engine, "failed")
            continue
        table.add_row(row.picture, row.engine, *(figure(vars(row), metric) for metric in metrics))
    return table


def tests_table(tests: Sequence[PairedTest]) -> Table:
    """Differences of means between engines, and how likely they are by chance."""
    title = f"Differences from {tests[0].against} on the same pictures (means, 95 %)"
    table = empty_table(title, ["engine", "metric", "mean difference", "95 %", "p", "pictures"])
    for test in tests:
        heading, digits = FIGURES[test.metric]
        figures = [
            f"{test.mean_difference:+.{digits}f}",
            interval(test.interval, digits, "+"),
            probability(test.p_value),
        ]
        table.add_row(test.engine, heading, *figures, str(test.pictures))
    return table


def worst_lines(worst: Sequence[Worst]) -> list[str]:
    """A line for each engine: its worst pictures, the worst first."""
    lines = []
    for engine in dict.fromkeys(each.engine for each in worst):
        found = [each for each in worst if each.engine == engine]
        heading, digits = FIGURES[found[0].metric]
        pictures = ", ".join(f"{each.picture} ({each.value:.{digits}f})" for each in found)
        lines.append(f"worst of {engine} by {heading}: {pictures}")
    return lines

"""The comparison of two bench reports, as a table for people and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mirnet_deploy.artifacts.version import __version__, running_commit
from mirnet_deploy.benchmarks.drawing import FIGURES, MISSING, empty_table, interval, number
from mirnet_deploy.benchmarks.regression import MEMORY, Change, Regression

if TYPE_CHECKING:
    from rich.console import Console

RATIOS = {"p50": "p50_ms", **MEMORY}
"""What changes by a factor -> its field."""
STYLES = {"worse": "red", "better": "green", "not compared": "yellow", "unclear": "yellow"}
LEGEND = (
    "old, new: medians of latency, means of quality over the pictures of both runs. change: new / old of latency and "
    "memory, new - old of quality. 95 %: bootstrap; below 6 pictures the range of their differences. "
    "worse: of latency, all of the interval is beyond the tolerance; of memory, the ratio is; of quality, the change "
    "is, and all of the interval is a loss. same: all of it is within the tolerance. unclear: it is too wide to say."
)


def print_regression(regression: Regression, old: Path, new: Path, console: Console) -> None:
    """Prints the remarks, a row for each figure, and how many are worse."""
    from rich.text import Text

    for remark in regression.remarks:
        console.print(Text(remark, style="yellow"), soft_wrap=True)
    columns = ["engine", "at", "figure", "verdict", "old", "new", "change", "95 %"]
    table = empty_table(f"{old} -> {new}", columns, 4)
    for each in regression.changes:
        verdict = f"{each.verdict}: {each.reason}" if each.reason else each.verdict
        styled = Text(verdict, STYLES.get(each.verdict, ""))
        table.add_row(each.engine, each.where, _unit(each.figure)[0], styled, *_figures(each))
    console.print(table)
    limits = ", ".join(f"{metric} {value:g}" for metric, value in regression.tolerances.items())
    for line in (LEGEND, f"tolerances: {limits}"):
        console.print(Text(line, style="dim"))
    counts = Counter(each.verdict for each in regression.changes)
    judged = sum(counts.values()) - counts["not compared"]
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("worse", "unclear", "same", "better"))
    left = f"; {counts['not compared']} not compared" if counts["not compared"] else ""
    console.print(Text(f"{said}{left}" if judged else f"nothing was judged: {counts['not compared']} not compared"))


def _unit(figure: str) -> tuple[str, int]:
    """Heading and digits of a `Change.figure`; the number of pictures is its own heading."""
    return FIGURES.get(RATIOS.get(figure, figure), (figure, 0))


def _figures(change: Change) -> list[str]:
    digits = _unit(change.figure)[1]
    finer, sign = (3, "") if change.figure in RATIOS else (digits + 1, "+")
    within = interval(change.interval or change.range, finer, sign)
    changed = MISSING if change.change is None else f"{change.change:{sign}.{finer}f}"
    return [
        *(number(change.old, digits), number(change.new, digits)),
        *(changed, f"range {within}" if change.range else within),
    ]


def regression_json(regression: Regression, old: Path, new: Path) -> str:
    """The JSON text: plain values, None where there is no figure."""
    values = {
        "format": "mirnet-deploy bench --from",
        "format_version": 1,
        "tool_version": __version__,
        "commit": running_commit(),
        "old": str(old),
        "new": str(new),
        "worse": len(regression.worse),
        **asdict(regression),
    }
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

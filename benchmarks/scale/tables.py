"""The report of `bench scale` in Markdown, for the terminal and for pages; from the values of its JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mirnet_deploy.benchmarks.drawing import MISSING
from mirnet_deploy.benchmarks.scale.plan import KIND
from mirnet_deploy.errors import UsageError

FORMAT = f"mirnet-deploy {KIND}"
SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
RESOURCES = ("processors", "GPU", "network in", "network out", "read requests", "write requests", "driver")
"""In the order of the table; others come behind."""


def read_scale(path: Path) -> dict[str, Any]:
    """The report in a file of `bench scale --json`.

    Raises:
        UsageError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("format_version")) != (FORMAT, 1):
        raise UsageError(f"{path} is not a report of `{FORMAT} --json` of format version 1")
    return content


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    """So many columns are text and stand to the left."""

    def markdown(self) -> str:
        """The table, with its title in a line above it."""
        lines = ["| " + " | ".join(row) + " |" for row in self.rows]
        rule = "|" + "|".join("---" if place < self.words else "---:" for place in range(len(self.heads))) + "|"
        return "\n".join([f"{self.title}:", "", "| " + " | ".join(self.heads) + " |", rule, *lines]) + "\n"


def tables(report: dict[str, Any]) -> dict[str, Table]:
    """Name -> a table. What the report has nothing of is left out."""
    made = {
        "measured": _measured(report),
        "runs": _runs(report["runs"]),
        "hosts": _rates(report["hosts"], "One job on ever more hosts", ("hosts",)),
        "in_flight": _rates(report["in_flight"], "One host with ever more pictures under way", ("in_flight",)),
        "drivers": _drivers(report["drivers"]),
        "check": _check(report),
        "assumptions": assumptions_table(report["assumptions"]),
    }
    return {name: table for name, table in made.items() if table.rows}


def figure(value: float | None) -> str:
    """Three significant digits.

    >>> figure(12_599_999), figure(23_134.4), figure(0.01234), figure(0), figure(None), figure(1e12), figure(9.999e8)
    ('12.6 M', '23,100', '0.0123', '0', '–', '1 T', '1 G')
    """
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    for size, suffix in SUFFIXES:
        if abs(rounded) >= size:
            return f"{rounded / size:.3g} {suffix}"
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:.3g}"


def _measured(report: dict[str, Any]) -> Table:
    rows = []
    for costs in report["costs"].values():
        mean = {name: fmean(each[name] for each in costs["pictures"]) for name in costs["pictures"][0]}
        times = [figure(1000 * mean[name]) for name in ("read_s", "compute_s", "write_s")]
        sizes = [figure(mean[name] / 1000) for name in ("bytes_in", "bytes_out")]
        start = figure(costs["cold_start_s"])
        drawn = f"{costs['files']:,} of {costs['drawn_from']:,}"
        first = [costs["source"], str(len(costs["pictures"])), drawn, figure(mean["pixels"] / 1e6)]
        rows.append([*first, *times, *sizes, start])
    heads = ["measured", "runs", "files", "MP", "read ms", "compute ms", "write ms", "kB in", "kB out", "cold start s"]
    return Table("One picture, means", heads, rows)


def _runs(rows: list[dict[str, Any]]) -> Table:
    def cells(row: dict[str, Any]) -> list[str]:
        million = None if row["usd"] is None else row["usd"] / row["pictures"] * 1e6
        money = ("hosts_usd", "requests_usd", "storage_usd", "moved_usd", "usd")
        numbers = (figure(row[name]) for name in ("hosts", "in_flight", "jobs", "at_once"))
        place = [figure(row["pictures"]), row["kind"], *numbers]
        place += [_memory(row), _rate(row), figure(row["hours"])]
        return [*place, *(figure(row[name]) for name in money), figure(million)]

    heads = ["pictures", "on", "hosts", "in flight", "jobs", "at once", "GB a host", "pictures/h", "hours"]
    heads += ["hosts USD", "requests USD", "storage USD", "transfer USD", "all USD", "USD per M"]
    return Table("What it costs", heads, list(map(cells, rows)), words=2)


def _rates(rows: list[dict[str, Any]], title: str, varied: tuple[str, ...]) -> Table:
    used = dict.fromkeys(name for row in rows for name in row["rate"]["utilisation"])
    resources = list(dict.fromkeys(name for name in (*RESOURCES, *used) if name in used))

    def cells(row: dict[str, Any]) -> list[str]:
        rate = row["rate"]
        shares = [rate["utilisation"].get(name) for name in resources]
        percent = [MISSING if each is None else f"{each:.0%}" for each in shares]
        place = [row["kind"], *(figure(row[name]) for name in varied)]
        return [*place, _rate(row), rate["bottleneck"], _memory(row), *percent]

    names = [name.replace("_", " ") for name in varied]
    return Table(title, ["on", *names, "pictures/h", "limited by", "GB a host", *resources], list(map(cells, rows)))


def _rate(row: dict[str, Any]) -> str:
    rate = row["rate"]
    return figure(rate["pictures_per_hour"]) + ("" if rate["converged"] else " (not steady)")


def _memory(row: dict[str, Any]) -> str:
    """That a host needs at least, of that which it has."""
    need, there = row["memory_gb"], row["memory_there_gb"]
    return f"{'does not fit: ' if need > there else ''}{figure(need)} of {figure(there)}"


def _drivers(rows: list[dict[str, Any]]) -> Table:
    names = ("pictures", "lists", "list_hours", "lists_usd", "names_gb", "manifest_gb", "drive_hours", "jobs")
    heads = [
        "pictures",
        "list requests",
        "hours to list",
        "USD",
        "names GB",
        "manifest GB",
        "hours to hand out",
        "jobs",
    ]
    return Table("What one driver has to do", heads, [[figure(row[name]) for name in names] for row in rows])


def _check(report: dict[str, Any]) -> Table:
    rounds = report["check"]
    heads = ["round", "predicted pictures/s", "measured pictures/s", "ratio"]
    names = ("predicted_per_s", "measured_per_s", "ratio")
    rows = [[str(number), *(figure(each[name]) for name in names)] for number, each in enumerate(rounds, 1)]
    if rows:
        known = ([each[name] for each in rounds if each[name] is not None] for name in names)
        rows.append(["median", *(figure(median(values) if values else None) for values in known)])
    return Table(f"This machine, `{report['check_command']}`, against the simulation", heads, rows)


def assumptions_table(rows: list[dict[str, Any]]) -> Table:
    """The table of `Deployment.listed()`."""

    def cells(row: dict[str, Any]) -> list[str]:
        value = row["value"]
        shown = value if isinstance(value, str) else "none" if value is None else f"{value:,.12g}"
        return [f"`{row['name']}`", f"{shown} {row['unit']}".strip(), row["source"]]

    return Table(
        "Assumed, not measured (`--set NAME=VALUE`)", ["name", "value", "from"], list(map(cells, rows)), words=3
    )

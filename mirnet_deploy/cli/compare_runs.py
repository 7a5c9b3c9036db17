"""`mirnet-deploy bench --from OLD NEW`: two reports compared, for users' CI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mirnet_deploy.cli.options import console, write_json
from mirnet_deploy.errors import MirnetDeployError

ONLY_FROM = ("tolerances", "any_machine")
"""Parameters that mean nothing without --from."""
BESIDE_FROM = frozenset({*ONLY_FROM, "from_runs", "json_path", "force"})
"""All that go with it."""


def from_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --from and what belongs to it."""
    options = (
        click.option(
            "--from",
            "from_runs",
            nargs=2,
            type=click.Path(path_type=Path),
            metavar="OLD NEW",
            help="Measure nothing, compare two reports of --json; exits 1 where the new one is worse beyond the noise.",
        ),
        click.option(
            "--tolerance",
            "tolerances",
            multiple=True,
            metavar="METRIC=VALUE",
            help="With --from: how much worse a figure may be, as latency=0.1 (a tenth) or psnr=0.2 (dB); repeatable.",
        ),
        click.option(
            "--any-machine",
            is_flag=True,
            help="With --from: judge latency and memory on other machines, and with other settings and libraries.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def compare_runs(old: Path, new: Path, tolerances: Sequence[str], any_machine: bool, json_path: str | None) -> None:
    """Prints the comparison of two reports, and writes it to the file of --json.

    Raises:
        MirnetDeployError: the new one is worse.
        UsageError: a file is not a report, a tolerance is none, or there is nothing to compare.
    """
    from mirnet_deploy.benchmarks.regression import compare_reports, parse_tolerances
    from mirnet_deploy.benchmarks.regression_table import print_regression, regression_json
    from mirnet_deploy.benchmarks.stored import read_report

    limits = parse_tolerances(tolerances)
    regression = compare_reports(read_report(old), read_report(new), limits, any_machine=any_machine)
    print_regression(regression, old, new, console(stderr=json_path == "-"))
    write_json(regression_json(regression, old, new), json_path)
    if worse := len(regression.worse):
        figures = "figures are" if worse > 1 else "figure is"
        raise MirnetDeployError(f"{worse} {figures} worse than in {old}; see the table above")

"""`mirnet-deploy bench scale`: what very many pictures take, by a simulation whose parameters are measured here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mirnet_deploy.cli.lazy import this_command
from mirnet_deploy.cli.options import ENGINE_HELP, FILE_NAME, check_target, json_option, write_json
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import DataError, UsageError

if TYPE_CHECKING:
    from mirnet_deploy.benchmarks.scale.check import Check
    from mirnet_deploy.benchmarks.scale.costs import Costs, ManifestCost
    from mirnet_deploy.benchmarks.scale.deployment import Deployment
    from mirnet_deploy.benchmarks.scale.measuring import Measuring

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
FILE = click.Path(path_type=Path)


def _runs(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pictures and hosts of each --run."""
    found = []
    for text in values:
        match = re.fullmatch(r"([1-9]\d{0,11})([kMGT]?):([1-9]\d{0,8})", text)
        if match is None:
            raise UsageError(f"--run is {text!r}; expected PICTURES:HOSTS such as 500k:1 or 1G:100")
        found.append((int(match[1]) * UNITS[match[2]], int(match[3])))
    return tuple(found)


@click.command("scale", context_settings={"show_default": True})
@click.argument("pictures", nargs=-1, type=FILE_NAME, metavar="[PICTURE...]")
@click.option("--engine", default="lite", help=ENGINE_HELP)
@click.option("--size", default="600x400", metavar="WxH", help="Of the packaged picture, taken without PICTURE.")
@click.option("--threads", type=click.IntRange(1), default=1, help="CPU threads of an actor.")
@click.option("--processes", type=click.IntRange(1), help="To measure in at once.  [default: as many as fit]")
@click.option("--runs", type=click.IntRange(1), default=8, help="Pictures that each of them draws and measures.")
@click.option("--from", "cpu_report", type=FILE, help="Take times from this report of `bench --json` instead.")
@click.option("--gpu-from", "gpu_report", type=FILE, help="Also hosts with GPUs: a report of `bench --json` on one.")
@click.option(
    "--hosts", type=click.IntRange(1), multiple=True, default=[1, 10, 100, 1000, 10000], help="In one job; repeatable."
)
@click.option(
    "--run",
    "runs_of",
    multiple=True,
    default=["1M:1", "1G:100", "1T:10000"],
    callback=_runs,
    metavar="PICTURES:HOSTS",
    help="What to find the cost of; M, G and T are 10^6, 10^9 and 10^12; repeatable.",
)
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="Another value of an assumption; repeatable.")
@click.option("--check", "checked", is_flag=True, help="Also run real commands here, and compare with the simulation.")
@click.option(
    "--command", "template", help="To check, with {source} and {target}.  [default: `enhance` with --threads]"
)
@click.option("--commands", type=click.IntRange(1), help="At once.  [default: --processes; with --command 1]")
@click.option("--each", type=click.IntRange(1), default=32, help="Pictures of each actor in the check.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Of the check.")
@click.option("--show", type=FILE, help="Measure nothing: print the tables of a file of --json.")
@json_option("the whole report")
@click.option("--force", is_flag=True, help="Replace the file of --json where it exists.")
@click.pass_context
def command(
    context: click.Context, /, show: Path | None, json_path: str | None, force: bool, checked: bool, **options: Any
) -> None:
    """Find what very many pictures take on very many hosts: pictures an hour, what limits them, and what it costs.

    What one picture takes is measured here. Hosts, storage and prices are assumptions, each with its source in the
    output. The tables are Markdown.
    """
    from mirnet_deploy.benchmarks.scale.check import run_check
    from mirnet_deploy.benchmarks.scale.plan import ScaleReport, Work, simulate_all
    from mirnet_deploy.benchmarks.scale.tables import read_scale, tables
    from mirnet_deploy.files import temporary_folder

    if show is not None:
        _refuse_given(context, [name for name in context.params if name != "show"], "with --show")
        click.echo("\n".join(each.markdown() for each in tables(read_scale(show)).values()), nl=False)
        return
    if not checked:
        _refuse_given(context, ("template", "commands", "each", "rounds"), "without --check")
    check_target("--json", json_path, force)
    with temporary_folder() as folder:
        what = _measuring(options, folder)
        check = _check(what, options) if checked else None  # that it is sound is better known before the work
        costs, manifest, deployment = _measured(what, options)
        work = Work(deployment, manifest, costs, options["hosts"], options["runs_of"])
        report = ScaleReport(this_command(), costs, manifest, work.assumptions)
        with progress_bar("simulating", work.steps) as advance:
            for _ in simulate_all(work, report):
                advance(1)
        if check:
            report.check_command = check.command
            with progress_bar("checking", check.rounds) as advance:
                for each in run_check(check):
                    report.check.append(each)
                    advance(1)
    write_json(report.to_json(), json_path)
    made = tables(report.to_dict()).values()
    click.echo("\n".join(each.markdown() for each in made), nl=False, err=json_path == "-")


def _refuse_given(context: click.Context, names: Iterable[str], where: str) -> None:
    """Refuses those of the parameters `names` that the user gave and that would have no effect.

    Raises:
        UsageError: the user gave one; the text ends with `where`.
    """
    by_name = {each.name: each for each in context.command.params}
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            shown = by_name[name].opts[0] if isinstance(by_name[name], click.Option) else "PICTURE"
            raise UsageError(f"{shown} means nothing {where}; leave it out")


def _measuring(options: dict[str, Any], folder: Path) -> Measuring:
    """What is measured here; `folder` takes the packaged picture, where that is measured."""
    from mirnet_deploy.benchmarks.inputs import Size
    from mirnet_deploy.benchmarks.scale.costs import sample_file
    from mirnet_deploy.benchmarks.scale.measuring import Measuring
    from mirnet_deploy.machine import describe_processor
    from mirnet_deploy.pairs import images_in

    given = [Path(each) for each in options["pictures"]]
    paths = [path for each in given for path in (images_in(each, recursive=True) if each.is_dir() else [each])]
    if given and not paths:
        raise DataError(f"{given[0]} holds no pictures")
    threads = options["threads"]
    return Measuring(
        model=options["engine"],
        paths=tuple(paths) or (sample_file(folder, Size.parse(options["size"])),),
        threads=threads,
        processes=options["processes"] or max(1, describe_processor()["cores"] // threads),
        pictures=options["runs"],
    )


def _measured(what: Measuring, options: dict[str, Any]) -> tuple[dict[str, Costs], ManifestCost, Deployment]:
    """Costs of `cpu` and, with a report of a GPU, `gpu`; those of the manifest; and what is assumed."""
    from mirnet_deploy.benchmarks.scale.costs import from_report, gpu_of
    from mirnet_deploy.benchmarks.scale.deployment import Deployment
    from mirnet_deploy.benchmarks.scale.measuring import measure
    from mirnet_deploy.benchmarks.stored import read_report

    cpu, gpu = ((path, path and read_report(path)) for path in (options["cpu_report"], options["gpu_report"]))
    defaults: dict[str, tuple[Any, str]] = {}
    if gpu[1]:
        name = gpu_of(gpu[1])
        if name is None:
            raise UsageError(f"--gpu-from {gpu[0]} is of no GPU")
        if "H200" not in name:
            reason = f"unknown: the report is of {name}, and the other values are those of hosts with H200"
            defaults = {"gpu.kind": (f"hosts with {name}", reason), "gpu.usd_per_hour": (None, reason)}
    if cpu[1] and gpu_of(cpu[1]):
        raise UsageError(f"--from {cpu[0]} is of a GPU; that is --gpu-from")
    deployment = Deployment.of(options["given"], defaults)
    here, manifest = measure(what)
    costs = {"cpu": from_report(cpu[0], cpu[1], here) if cpu[1] else here}
    if gpu[1]:
        costs["gpu"] = from_report(gpu[0], gpu[1], here)
    return costs, manifest, deployment


def _check(what: Measuring, options: dict[str, Any]) -> Check:
    from mirnet_deploy.benchmarks.scale.check import PLAIN, Check

    return Check(
        what=what,
        command=options["template"] or PLAIN,
        commands=options["commands"] or (1 if options["template"] else what.processes),
        pictures=options["each"],
        rounds=options["rounds"],
    )

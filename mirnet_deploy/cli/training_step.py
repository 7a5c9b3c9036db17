"""`mirnet-deploy bench training-step`: what a training step costs."""

from __future__ import annotations

import functools
import json
from typing import Any

import click

from mirnet_deploy.cli.options import RUNTIME_OPTIONS, check_target, json_option, write_json
from mirnet_deploy.errors import MirnetDeployError, MissingDependencyError, UsageError

WAYS = ("launched", "captured", "compiled")


def _ways(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    ways = tuple(value.split(","))
    for way in ways:
        if way not in WAYS:
            raise UsageError(f"--ways names {way!r}; expected {', '.join(WAYS)}")
    return ways


@click.command("training-step", context_settings={"show_default": True})
@click.option("--preset", type=click.Choice(["paper", "base", "lite"]), default="lite", help="Size of the network.")
@click.option("--batch", type=click.IntRange(min=1), default=16, help="Crops in a step.")
@click.option("--crop", type=int, default=128, help="Side of a crop.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="bf16", help="Of the network.")
@RUNTIME_OPTIONS["device"]
@click.option("--runs", type=click.IntRange(min=1), default=20, help="Timed steps in each way.")
@click.option("--ways", default=",".join(WAYS), callback=_ways, help="Which to time; ratios are to the first.")
@json_option("the figures")
@click.option("--force", is_flag=True, help="Replace the file of --json where it exists.")
def command(device: str, json_path: str | None, force: bool, **options: Any) -> None:
    """Time a training step on random crops: launched kernel by kernel, captured as a CUDA graph, and compiled too."""
    try:
        from mirnet_deploy.benchmarks.origin import origin
        from mirnet_deploy.benchmarks.training_step import StepSettings, measure_ways
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'this needs {error.name}: pip install "mirnet-deploy[train]"') from error
    check_target("--json", json_path, force)
    say = functools.partial(click.echo, err=json_path == "-")
    report = origin("bench training-step") | measure_ways(StepSettings(**options), device, say)
    try:
        write_json(json.dumps(report, indent=1) + "\n", json_path)
    except OSError as error:
        raise MirnetDeployError(f"{json_path} cannot be written: {error.strerror or error}") from error

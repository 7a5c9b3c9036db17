"""`mirnet-deploy bench cluster`: what `enhance --ray` costs beside plain `enhance`."""

from __future__ import annotations

import json

import click

from mirnet_deploy.cli.options import ENGINE_HELP, require
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import UsageError


@click.command("cluster", context_settings={"show_default": True})
@click.option("--model", default="lite", help=ENGINE_HELP)
@click.option("--size", default="600x400", metavar="WxH", help="Of the pictures.")
@click.option("--few", type=click.IntRange(1), default=8, help="Pictures of the short commands.")
@click.option("--many", type=click.IntRange(2), default=32, help="Pictures of the long commands.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Commands of each kind.")
@click.option("--actors", type=click.IntRange(1), default=2, help="Of one thread; plain has so many threads.")
@click.option("--backend", type=click.Choice(["onnxruntime", "openvino"]), default="onnxruntime", help="Of both.")
def command(model: str, size: str, few: int, many: int, rounds: int, actors: int, backend: str) -> None:
    """Time a cluster of this machine's processes beside one process with as many threads.

    Prints as JSON what the start takes, and the ratio of the steady rates: cluster to plain.
    """
    if many <= few:
        raise UsageError(f"--many is {many} and --few {few}; expected more of the former")
    require("bench cluster", "ray", "ray", "pyarrow")
    from mirnet_deploy.benchmarks.cluster import Work, measure_cluster
    from mirnet_deploy.benchmarks.inputs import Size

    options = ("--backend", backend, "--precision", "fp32")
    work = Work(model, Size.parse(size), few, many, rounds, actors, options)
    with progress_bar("measuring", 4 * rounds) as bar:
        figures = measure_cluster(work, bar)
    click.echo(json.dumps(figures, indent=2))

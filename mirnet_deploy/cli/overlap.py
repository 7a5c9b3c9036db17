"""`mirnet-deploy bench overlap`: whether copies and computing overlap on a GPU."""

from __future__ import annotations

import json

import click

from mirnet_deploy.cli.options import ENGINE_HELP, runtime_options
from mirnet_deploy.settings import RuntimeSettings


@click.command("overlap", context_settings={"show_default": True})
@click.option("--engine", default="lite", help=ENGINE_HELP)
@click.option("--size", default="1920x1080", metavar="WxH", help="Of the frames.")
@click.option("--frames", type=click.IntRange(2), default=24, help="Of the video, which is one photograph that moves.")
@click.option("--in-flight", type=click.IntRange(1), default=3, help="Frames under way at once.")
@runtime_options("device", "tile")
def command(engine: str, size: str, frames: int, in_flight: int, settings: RuntimeSettings) -> None:
    """Time copies and runs of a video on a GPU.

    Prints as JSON how long each was busy, and the share of the copies' time in which the engine was busy too.
    """
    from mirnet_deploy.benchmarks.inputs import Size
    from mirnet_deploy.benchmarks.origin import origin
    from mirnet_deploy.benchmarks.overlap import measure_overlap

    figures = origin("bench overlap") | measure_overlap(engine, settings, Size.parse(size), frames, in_flight)
    click.echo(json.dumps(figures, indent=2))

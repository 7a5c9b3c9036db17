"""`mirnet-deploy bench ort-cuda`: which way of opening ONNX Runtime's sessions is the fastest on a GPU."""

from __future__ import annotations

from pathlib import Path

import click

from mirnet_deploy.cli.options import NUMBER, RUNTIME_OPTIONS, check_target
from mirnet_deploy.errors import MirnetDeployError, UsageError


@click.command("ort-cuda", context_settings={"show_default": True})
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--engine", "engines", multiple=True, default=["lite"], help="A model or an .onnx file; repeatable.")
@click.option(
    "--size", "sizes", multiple=True, default=["600x400", "1920x1080", "512x512"], metavar="WxH", help="Repeatable."
)
@click.option("--runs", type=click.IntRange(min=1), default=15, help="Timed runs of each.")
@click.option("--max-seconds", type=NUMBER, default=180.0, help="No measurement begins after that.")
@RUNTIME_OPTIONS["device"]
def command(
    target: Path, engines: tuple[str, ...], sizes: tuple[str, ...], runs: int, max_seconds: float, device: str
) -> None:
    """Time the ways to run ONNX files on CUDA, with the data on the device, into TARGET, a JSON file.

    What TARGET holds already is not measured again. Exits 1 when a way failed; the others are measured all the same.
    """
    from mirnet_deploy.benchmarks.inputs import Size
    from mirnet_deploy.benchmarks.ort_cuda import OrtCudaSettings, measure_ways

    if max_seconds <= 0:
        raise UsageError(f"--max-seconds is {max_seconds:g}; expected more than 0")
    check_target("TARGET", target, force=True)  # a file that is there is gone on with
    settings = OrtCudaSettings(engines, tuple(map(Size.parse, sizes)), runs, max_seconds, device)
    try:
        rows = measure_ways(settings, target, click.echo)
    except OSError as error:
        raise MirnetDeployError(f"{target} cannot be written: {error.strerror or error}") from error
    if failed := sum(row.failure is not None for row in rows):
        raise MirnetDeployError(f"{failed} measurements failed; they are listed above")

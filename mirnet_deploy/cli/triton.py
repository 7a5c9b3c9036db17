"""`mirnet-deploy triton`: a model repository for Triton Inference Server."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mirnet_deploy.cli.options import FILE_NAME, runtime_options
from mirnet_deploy.errors import MirnetDeployError
from mirnet_deploy.settings import RuntimeSettings


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("artifacts", nargs=-1, required=True, type=FILE_NAME, metavar="ARTIFACT...")
@runtime_options()
@click.option("--instances", type=int, default=1, show_default=True, help="Copies of each model on each device.")
@click.option(
    "--max-batch",
    type=int,
    default=4,
    show_default=True,
    help="Most tiles of one size that Triton gives an ONNX file at once; a plan has its own.",
)
@click.option(
    "--queue-delay",
    type=int,
    default=1000,
    show_default=True,
    metavar="US",
    help="Microseconds that a tile waits for others to share a batch with.",
)
@click.option(
    "--means", is_flag=True, help="ONNX files can be given the means of a whole picture, as plans are; no batches then."
)
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger whole pictures (default: 250 million).")
@click.option("--tiles/--no-tiles", default=True, help="Also one model for each ARTIFACT by itself; or mirnet alone.")
@click.option("--force", is_flag=True, help="Replace the configuration of models that are there already.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def command(
    folder: Path,
    artifacts: tuple[str, ...],
    settings: RuntimeSettings,
    instances: int,
    max_batch: int,
    queue_delay: int,
    means: bool,
    max_pixels: int | None,
    tiles: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make DIR a model repository of Triton Inference Server, or add to it.

    ARTIFACT is a model's name, such as lite, or an .onnx or .plan file. The model `mirnet` takes whole pictures of any
    size and runs the first ARTIFACT with the settings of this command, as `mirnet-deploy enhance` would. Besides, every
    ARTIFACT becomes a model of one tile: an .onnx file for the backend onnxruntime, a .plan file of TensorRT for the
    backend tensorrt. A model that is in DIR already gets a further version.
    """
    from mirnet_deploy.triton.config import Serving
    from mirnet_deploy.triton.repository import models_of, write_repository

    most = {} if max_pixels is None else {"max_pixels": max_pixels}
    serving = Serving(settings.device, instances, max_batch, queue_delay, means, settings.threads, **most)
    models = models_of(artifacts, settings, serving, tiles=tiles)
    placed = []
    try:
        for each in write_repository(folder, models, force=force):
            placed.append(each)
            if not as_json:
                click.echo(f"{each.folder}: {each.action}, {each.version}, from {each.model.artifact}")
    except OSError as error:
        raise MirnetDeployError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        if as_json:
            entries = [
                {
                    "model": each.model.name,
                    "version": each.version,
                    "action": each.action,
                    "path": str(each.folder),
                    "artifact": str(each.model.artifact),
                }
                for each in placed
            ]
            click.echo(json.dumps(entries, indent=2))

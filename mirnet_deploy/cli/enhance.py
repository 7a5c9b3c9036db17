"""`mirnet-deploy enhance`: options, report and exit code. The work is done in `jobs`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.build_missing import build_missing_option
from mirnet_deploy.cli.enhance_report import report_on
from mirnet_deploy.cli.options import FILE_NAME, cluster_options, runtime_options
from mirnet_deploy.cli.pipes import open_pipes
from mirnet_deploy.cli.process import end, on_signals
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.settings import RuntimeSettings

if TYPE_CHECKING:
    from mirnet_deploy.cli.options import ClusterOptions
    from mirnet_deploy.jobs.inputs import NoTask, Task
    from mirnet_deploy.jobs.job import Job, Result
    from mirnet_deploy.jobs.making import Model


@contextmanager
def prepared_libraries() -> Iterator[None]:
    """Within the block --max-pixels alone judges sizes, not Pillow too; and OpenBLAS, which numpy and OpenCV have each
    their own of, gets one thread and its memory: with more it brings the process down where memory is short, and what
    it computes here is small."""
    threads = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = threads or "1"
    import numpy as np
    from PIL import Image

    np.ones((64, 64)) @ np.ones((64, 64))
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:  # a program may have called the command
        Image.MAX_IMAGE_PIXELS = most
        if threads is None:
            os.environ.pop("OPENBLAS_NUM_THREADS", None)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, type=FILE_NAME, metavar="PATH...")
@click.option("-o", "--output", type=click.Path(), help="A folder; or for one picture its result's name, or -.")
@click.option(
    "--model",
    default="lite",
    type=FILE_NAME,
    metavar="NAME|FILE",
    show_default=True,
    help="A model's name, an .onnx or a .plan file, or the folder of a fleet.",
)
@build_missing_option
@runtime_options()
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Pictures to enhance at a time; one more is read or written. With more than one, large ones go in tiles.",
)
@click.option("-r", "--recursive", is_flag=True, help="Look into the folders of a folder too.")
@click.option("--force", is_flag=True, help="Do again what is done, and replace files that are not mirnet-deploy's.")
@click.option(
    "--format",
    "target_format",
    type=click.Choice(["png", "jpg", "webp", "tiff", "bmp", "heic", "avif", "jxl"]),
    help="Of the results (default: as the input; TIFF for RAW). 16 bit becomes 8 where the format holds no more.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Of JPEG, and of WebP, HEIC, AVIF and JPEG XL where they are not lossless.",
)
@click.option(
    "--subsampling",
    type=click.Choice(["4:4:4", "4:2:2", "4:2:0"]),
    default="4:4:4",
    show_default=True,
    help="Of the colour of JPEG, HEIC and 8-bit AVIF.",
)
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures unread (default: 250 million).")
@click.option(
    "--colour-management/--no-colour-management",
    default=True,
    help="Convert pictures with an ICC profile to sRGB, which the network learned, and back; or take all for sRGB.",
)
@cluster_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@prepared_libraries()
def command(
    paths: tuple[str, ...],
    settings: RuntimeSettings,
    output: str | None,
    model: str,
    build_missing: bool,
    jobs: int,
    recursive: bool,
    as_json: bool,
    target_format: Any,
    cluster: ClusterOptions | None,
    **writing: Any,
) -> None:
    """Make dark pictures brighter and cleaner.

    PATH is a picture (PNG, JPEG, WebP, TIFF, BMP; with extras also HEIC, AVIF, JPEG XL and camera RAW), a folder, a
    glob, or - (standard input). NAME.EXT becomes NAME_enhanced.EXT beside it, or NAME.EXT at the same place below
    -o FOLDER; RAW becomes a 16-bit TIFF, NAME_enhanced.tif; -o - writes one result to standard output. What was done
    before with the same model and settings is skipped; results are never enhanced again; a file that mirnet-deploy did
    not make is not replaced without --force. With --ray PATH and FOLDER may be URLs of an object store.
    """
    from mirnet_deploy.jobs.inputs import find_tasks
    from mirnet_deploy.jobs.job import Job
    from mirnet_deploy.jobs.settings import JobSettings

    artifact, sha256 = _artifact(model, settings.device, build_missing, cluster is not None)
    given = {name: value for name, value in writing.items() if value is not None}
    job_settings = JobSettings(model, sha256, settings, target_format=target_format, **given)
    if cluster is not None:
        from mirnet_deploy.cli.enhance_ray import enhance_on_cluster

        if enhance_on_cluster(cluster, paths, output, job_settings, jobs, recursive, as_json):
            sys.exit(1)
        return
    with open_pipes(paths, None if output is None else Path(output), as_json) as pipes, ExitStack() as opened:
        entries = find_tasks(pipes.paths, output=pipes.output, target_format=target_format, recursive=recursive)
        pipes.check(entries)

        def open_model() -> Model:
            from mirnet_deploy.files import cache_folder, held
            from mirnet_deploy.runtime import MIRNetRuntime

            # Two that each take half of the free memory would take all of it.
            alone = opened.enter_context(held(cache_folder("alone"))) and jobs == 1
            return opened.enter_context(MIRNetRuntime(artifact, settings, alone=alone))

        def report(results: Sequence[Result]) -> list[Result]:
            handed_on = pipes.hand_on(results)
            told = [result.to_dict(model) for result in handed_on]
            report_on(told, as_json, pipes.to_stdout, {"model_file": str(artifact), "model_sha256": sha256})
            return handed_on

        results = report(_run(Job(job_settings, open_model, jobs), entries, report))
    if any(result.status == "failed" for result in results):
        sys.exit(1)


def _artifact(model: str, device: str, build_missing: bool, on_cluster: bool) -> tuple[Path, str]:
    """The file that runs, and its SHA-256.

    Raises:
        ArtifactError: there is none, or it cannot be read.
        UsageError: it is a fleet, and for a cluster, whose machines may have GPUs of different kinds.
    """
    from mirnet_deploy.artifacts.fleet import is_fleet
    from mirnet_deploy.artifacts.models import resolve_model
    from mirnet_deploy.cli.build_missing import build_missing as build
    from mirnet_deploy.engines.fleet import artifact_for
    from mirnet_deploy.errors import ArtifactError, UsageError
    from mirnet_deploy.files import file_sha256

    if on_cluster and is_fleet(resolve_model(model)):
        raise UsageError(f"--ray runs one file on every machine, and {model} is a fleet of several; name the file")
    if on_cluster and build_missing:
        raise UsageError("--build-missing builds for the GPU of this machine, and --ray runs on others; leave it out")
    if build_missing:
        build([model], device)
    try:
        artifact = artifact_for(model, device)
        return artifact, file_sha256(artifact)
    except OSError as error:
        raise ArtifactError(f"model {model} cannot be read: {error.strerror or error}") from error


def _run(job: Job, entries: Sequence[Task | NoTask], report: Callable[[Sequence[Result]], object]) -> list[Result]:
    """Runs the job; a signal ends the process at once, with a report, but not in the middle of a write."""

    from mirnet_deploy.errors import MirnetDeployError

    def stop(number: int) -> None:
        with job.no_more_writes():
            try:
                bar.close()
                report([result for _, result in sorted(job.results.items())])
            except MirnetDeployError as error:  # standard output is full
                click.echo(f"error: {error}", err=True)
            click.echo("interrupted: run the same command again to go on", err=True)
            end(number)

    with progress_bar("enhancing", len(entries)) as bar, on_signals(stop):
        return job.run(entries, bar)

"""`mirnet-deploy enhance`: options, report and exit code. The work is done in `jobs`."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.options import runtime_options
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.settings import RuntimeSettings

if TYPE_CHECKING:
    from mirnet_deploy.jobs.inputs import NoTask, Task
    from mirnet_deploy.jobs.job import Job, Result
    from mirnet_deploy.jobs.making import Model
    from mirnet_deploy.jobs.settings import JobSettings

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A folder, or the result's name for one picture.")
@click.option("--model", default="lite", show_default=True, help="A model's name, an .onnx or a .plan file.")
@runtime_options()
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Pictures at a time.")
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    paths: tuple[str, ...],
    settings: RuntimeSettings,
    output: Path | None,
    model: str,
    jobs: int,
    recursive: bool,
    as_json: bool,
    target_format: Any,
    **writing: Any,
) -> None:
    """Make dark pictures brighter and cleaner.

    PATH is a picture (PNG, JPEG, WebP, TIFF, BMP; with extras also HEIC, AVIF, JPEG XL and camera RAW), a folder or a
    glob. NAME.EXT becomes NAME_enhanced.EXT beside it, or NAME.EXT at the same place below -o FOLDER. RAW becomes a
    16-bit TIFF, NAME_enhanced.tif. What was done before with the same model and settings is skipped;
    results are never enhanced again; a file that mirnet-deploy did not make is not replaced without --force.
    """
    from mirnet_deploy.artifacts.models import resolve_model
    from mirnet_deploy.errors import ArtifactError
    from mirnet_deploy.files import file_sha256
    from mirnet_deploy.jobs.inputs import find_tasks
    from mirnet_deploy.jobs.job import Job
    from mirnet_deploy.jobs.settings import JobSettings

    _silence_libraries()
    entries = find_tasks(paths, output=output, target_format=target_format, recursive=recursive)
    try:
        sha256 = file_sha256(resolve_model(model))
    except OSError as error:
        raise ArtifactError(f"model {model} cannot be read: {error.strerror or error}") from error
    given = {name: value for name, value in writing.items() if value is not None}
    job_settings = JobSettings(model, sha256, settings, target_format=target_format, **given)
    with ExitStack() as opened:

        def open_model() -> Model:
            from mirnet_deploy.runtime import MIRNetRuntime

            return opened.enter_context(MIRNetRuntime(model, settings))

        results = _run(Job(job_settings, open_model, jobs), entries, as_json)
    _report(results, job_settings, as_json)
    if any(result.status == "failed" for result in results):
        sys.exit(1)


def _silence_libraries() -> None:
    """Silences Pillow and OpenCV: a damaged file gets one line, ours, and --max-pixels alone judges sizes."""
    from PIL import Image

    warnings.filterwarnings("ignore", module="PIL")
    Image.MAX_IMAGE_PIXELS = None
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")


def _run(job: Job, entries: Sequence[Task | NoTask], as_json: bool) -> list[Result]:
    """Runs the job; Ctrl-C and SIGTERM end the process at once, but not in the middle of a write."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with progress_bar("enhancing", len(entries)) as bar:
            return job.run(entries, bar)
    except KeyboardInterrupt:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        with job.no_more_writes():
            _report([result for _, result in sorted(job.results.items())], job.settings, as_json)
            click.echo("interrupted: run the same command again to go on", err=True)
            sys.stdout.flush()
            sys.stderr.flush()
            # Not sys.exit, which waits for the threads: the engine may take minutes for a large picture.
            os._exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(results: Sequence[Result], settings: JobSettings, as_json: bool) -> None:
    """Results on stdout, as JSON or as lines; failures, and what the user should know, on stderr."""
    counts = {status: sum(result.status == status for result in results) for status in ("done", "skipped", "failed")}
    if as_json:
        pictures = [_json_entry(result, settings) for result in results]
        click.echo(json.dumps({"pictures": pictures, "model_sha256": settings.model_sha256, **counts}, indent=2))
    else:
        for result in results:
            if result.status == "done":
                click.echo(f"{result.input} -> {result.output}")
    for result in results:
        if result.status == "done" and result.note:
            click.echo(f"note: {result.output}: {result.note}", err=True)
    for result in results:
        if result.status == "failed":
            click.echo(f"error: {result.error}", err=True)
    why = Counter(result.note for result in results if result.status == "skipped")
    reasons = f" ({', '.join(f'{note}: {count}' for note, count in why.items())})" if why else ""
    summary = f"{counts['done']} enhanced, {counts['skipped']} skipped{reasons}, {counts['failed']} failed"
    click.echo(summary, err=as_json)


def _json_entry(result: Result, settings: JobSettings) -> dict[str, Any]:
    return {
        "input": str(result.input),
        "output": None if result.output is None else str(result.output),
        "status": result.status,
        "error": result.error,
        "note": result.note,
        "seconds": None if result.seconds is None else round(result.seconds, 3),
        "width": result.width,
        "height": result.height,
        "model": settings.model,
        "made": None if result.made is None else result.made.to_dict(),
    }

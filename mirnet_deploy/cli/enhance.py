"""`mirnet-deploy enhance`: the options, the report and the exit code. The work is in `planning` and `enhancing`."""

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
from typing import TYPE_CHECKING, Any, Literal

import click

from mirnet_deploy.cli.progress import progress_bar

if TYPE_CHECKING:
    from mirnet_deploy.consistency import Consistency
    from mirnet_deploy.enhancing import Batch, Enhancer, Result, Settings
    from mirnet_deploy.finishing import Brightness
    from mirnet_deploy.planning import NoTask, Task

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended."""
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _bytes(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    number, unit = (value[:-1], value[-1].upper()) if value[-1:].isalpha() else (value, "")
    if unit not in UNITS or not (number.isascii() and number.isdigit() and int(number)):
        raise click.BadParameter(f"{value!r} is no size; expected bytes, or for example 800M or 2G")
    return int(number) * UNITS[unit]


def _tile(_: click.Context, __: click.Parameter, value: str) -> int | Literal["auto", "none"]:
    if value == "auto":
        return "auto"
    if value == "none":
        return "none"
    if not (value.isascii() and value.isdigit() and int(value)):
        raise click.BadParameter(f"{value!r} is no tile; expected auto, none or a side in pixels, for example 512")
    return int(value)


def _brightness(_: click.Context, __: click.Parameter, value: str) -> Brightness:
    from mirnet_deploy.errors import UsageError
    from mirnet_deploy.finishing import Finish

    if value == "auto":
        return "auto"
    try:
        return Finish(float(value)).brightness
    except (ValueError, UsageError):
        raise click.BadParameter(f"{value!r} is no brightness; expected auto or a number from 0 to 1") from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A folder, or the result's name for one picture.")
@click.option("--model", default="lite", show_default=True, help="A model's name, an .onnx or a .plan file.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine (default: all cores).")
@click.option(
    "--tile",
    callback=_tile,
    default="auto",
    show_default=True,
    metavar="auto|N|none",
    help="Side of a tile in pixels; auto: none where memory allows, else the fastest; none: never tile.",
)
@click.option(
    "--consistency",
    type=click.Choice(["exact", "fast", "local"]),
    default="exact",
    show_default=True,
    help="Tiles agree as if the picture ran whole (exact), nearly so, in one pass (fast), or not at all (local).",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="DB",
    help="PSNR between tiles and whole that exact must reach.",
)
@click.option(
    "--brightness",
    callback=_brightness,
    default="auto",
    show_default=True,
    metavar="auto|0..1",
    help="Mean of the result; highlights roll off. auto: what the model makes of it.",
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="How much of the result is blended with the picture as it was.",
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Tiles in one run of the engine.")
@click.option(
    "--max-memory",
    callback=_bytes,
    metavar="SIZE",
    help="Memory that a picture may take on its way, such as 800M or 2G: of the GPU, or else of the host.",
)
@click.option("--no-graph", is_flag=True, help="On a GPU: launch everything by itself, no CUDA graphs.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Pictures at a time.")
@click.option("-r", "--recursive", is_flag=True, help="Look into the folders of a folder too.")
@click.option("--force", is_flag=True, help="Do again what is done, and replace files that are not mirnet-deploy's.")
@click.option(
    "--format",
    "target_format",
    type=click.Choice(["png", "jpg", "webp", "tiff", "bmp"]),
    help="Of the results (default: as the input). 16 bit becomes 8 where the format holds no more.",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of JPEG and lossy WebP.")
@click.option(
    "--subsampling",
    type=click.Choice(["4:4:4", "4:2:2", "4:2:0"]),
    default="4:4:4",
    show_default=True,
    help="Of JPEG's colour.",
)
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures unread (default: 250 million).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    paths: tuple[str, ...],
    output: Path | None,
    model: str,
    device: str,
    threads: int | None,
    tile: int | Literal["auto", "none"],
    consistency: Consistency,
    tolerance: float,
    brightness: Brightness,
    strength: float,
    batch: int,
    max_memory: int | None,
    no_graph: bool,
    jobs: int,
    recursive: bool,
    force: bool,
    target_format: Any,
    quality: int,
    subsampling: Any,
    max_pixels: int | None,
    as_json: bool,
) -> None:
    """Make dark pictures brighter and cleaner.

    PATH is a picture (PNG, JPEG, WebP, TIFF, BMP), a folder or a glob. NAME.EXT becomes NAME_enhanced.EXT beside it, or
    NAME.EXT at the same place below -o FOLDER. What was done before with the same model and settings is skipped;
    results are never enhanced again; a file that mirnet-deploy did not make is not replaced without --force.
    """
    from mirnet_deploy.engines import resolve_model
    from mirnet_deploy.engines.base import parse_device
    from mirnet_deploy.enhancing import Batch, Settings
    from mirnet_deploy.errors import ArtifactError
    from mirnet_deploy.finishing import Finish
    from mirnet_deploy.images import DEFAULT_MAX_PIXELS
    from mirnet_deploy.metadata import file_sha256
    from mirnet_deploy.planning import plan

    _leave_the_talking_to_us()
    if device != "auto":
        parse_device(device)  # said also where every picture is done already
    entries = plan(paths, output=output, target_format=target_format, recursive=recursive)
    try:
        sha256 = file_sha256(resolve_model(model))
    except OSError as error:
        raise ArtifactError(f"model {model} cannot be read: {error.strerror or error}") from error
    settings = Settings(
        model=model,
        model_sha256=sha256,
        tile=str(tile),
        consistency=consistency,
        tolerance=tolerance,
        finish=Finish(brightness, strength),
        quality=quality,
        subsampling=subsampling,
        target_format=target_format,
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
        force=force,
    )
    with ExitStack() as opened:

        def open_model() -> Enhancer:
            from mirnet_deploy.runtime import MIRNetRuntime

            runtime = MIRNetRuntime(
                model,
                device=device,
                tile=tile,
                threads=threads,
                batch=batch,
                max_memory=max_memory,
                graphs=not no_graph,
                consistency=consistency,
                tolerance=tolerance,
                brightness=brightness,
                strength=strength,
            )
            return opened.enter_context(runtime)

        results = _run(Batch(settings, open_model, jobs), entries, as_json)
    _report(results, settings, as_json)
    if any(result.status == "failed" for result in results):
        sys.exit(1)


def _leave_the_talking_to_us() -> None:
    """Damaged files get one line, and it is ours; sizes are judged by --max-pixels alone, for every format."""
    from PIL import Image

    warnings.filterwarnings("ignore", module="PIL")
    Image.MAX_IMAGE_PIXELS = None
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")


def _run(work: Batch, entries: Sequence[Task | NoTask], as_json: bool) -> list[Result]:
    """Runs the batch; Ctrl-C and SIGTERM end the process at once, between two writes."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with progress_bar("enhancing", len(entries)) as bar:
            return work.run(entries, bar)
    except KeyboardInterrupt:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        with work.no_more_writes():
            _report([result for _, result in sorted(work.results.items())], work.settings, as_json)
            click.echo("interrupted: run the same command again to go on", err=True)
            sys.stdout.flush()
            sys.stderr.flush()
            # Not sys.exit: that waits for the threads, and a large picture is minutes in the engine.
            os._exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(results: Sequence[Result], settings: Settings, as_json: bool) -> None:
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


def _json_entry(result: Result, settings: Settings) -> dict[str, Any]:
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

"""`mirnet-deploy bench`: latency, memory and quality of engines, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mirnet_deploy.errors import MirnetDeployError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mirnet_deploy.benchmarks.tiling import TilingSettings


def _tile(text: str) -> str | int:
    if text in ("auto", "none"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--tile is {text!r}; expected auto, none or a side in pixels")
    return int(text)


def _refuse_idle(tiling: bool) -> None:
    """What was asked for and would not happen is an error."""
    source = click.get_current_context().get_parameter_source
    idle = ("sizes", "runs", "warmup", "no_graph", "data", "baselines", "claimed", "sheet")
    for name in idle if tiling else ("middle", "modes", "seams"):
        if source(name) is ParameterSource.COMMANDLINE:
            option = "--size" if name == "sizes" else "--" + name.replace("_", "-")
            raise UsageError(f"{option} means nothing {'with' if tiling else 'without'} --tiling; leave it out")


@click.command(context_settings={"show_default": True})
@click.option(
    "--engine",
    "engines",
    multiple=True,
    required=True,
    metavar="NAME|FILE[@HOW]",
    help="lite, or an .onnx, .plan or checkpoint file. Repeat to compare: engines take turns, ratios are to the first. "
    "@fp16 and @compiled: a checkpoint in PyTorch's half precision; @session: an ONNX file by InferenceSession.run; "
    "@alone: the engine without the pipeline.",
)
@click.option("--size", "sizes", multiple=True, default=["600x400"], metavar="WxH", help="Size to time at; repeatable.")
@click.option("--runs", default=10, help="Timed runs of each engine at each size.")
@click.option("--warmup", default=2, help="Runs before them that are not counted.")
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Where to run.")
@click.option("--threads", type=int, default=None, help="CPU threads of each engine.  [default: the library's]")
@click.option("--tile", default="auto", metavar="auto|N|none", help="Tiles of the runtime; a checkpoint runs whole.")
@click.option("--no-graph", is_flag=True, help="On a GPU: launch everything by itself, no CUDA graphs.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with low/ and high/: measures PSNR and SSIM.")
@click.option("--baselines", is_flag=True, help="With --data: also what needs no model, the untouched input first.")
@click.option(
    "--claimed", type=float, metavar="DB", help="With --data: which figure of the first engine this PSNR really is."
)
@click.option("--sheet", type=click.Path(path_type=Path), help="With --data: PNG of input, outputs and truth.")
@click.option(
    "--tiling", type=click.Path(path_type=Path), help="Picture or folder: instead, compare tiles with the whole."
)
@click.option("--middle", metavar="WxH", help="With --tiling: cut larger pictures to their middle.")
@click.option("--modes", default="local,fast,exact", help="With --tiling: which to measure.")
@click.option(
    "--seams", type=click.Path(path_type=Path), help="With --tiling: PNG or JPEG of the worst picture's error."
)
@click.option("--json", "json_path", metavar="FILE", help="Write the whole report as JSON; - is standard output.")
@click.option("--force", is_flag=True, help="Replace the files of --json, --sheet and --seams where they exist.")
def command(
    engines: tuple[str, ...],
    sizes: tuple[str, ...],
    runs: int,
    warmup: int,
    device: str,
    threads: int | None,
    tile: str,
    no_graph: bool,
    data: Path | None,
    baselines: bool,
    claimed: float | None,
    sheet: Path | None,
    tiling: Path | None,
    middle: str | None,
    modes: str,
    seams: Path | None,
    json_path: str | None,
    force: bool,
) -> None:
    """Measure latency and memory of engines, and PSNR and SSIM with --data; or, with --tiling, what tiles cost.

    Exits 1 when something could not be measured; the rest is still reported.
    """
    from mirnet_deploy.benchmarks.bench import BenchConfig, pairs_of, run_bench, steps
    from mirnet_deploy.benchmarks.latency import Size
    from mirnet_deploy.benchmarks.tables import print_report
    from mirnet_deploy.benchmarks.tiling import TilingSettings
    from mirnet_deploy.cli.progress import progress_bar
    from mirnet_deploy.files import check_target, write_atomically

    _refuse_idle(tiling is not None)
    json_file = Path(json_path) if json_path not in (None, "-") else None
    for option, path in (("--sheet", sheet), ("--seams", seams), ("--json", json_file)):
        if path is not None:
            check_target(option, path, force)
    if tiling is not None:
        cut = Size.parse(middle) if middle else None
        settings = TilingSettings(tiling, cut, tuple(modes.split(",")), _tile(tile), device, threads)
        _bench_tiling(engines, settings, seams, json_path)
        return
    config = BenchConfig(
        engines=engines,
        sizes=tuple(dict.fromkeys(Size.parse(size) for size in sizes)),
        runs=runs,
        warmup=warmup,
        device=device,
        tile=_tile(tile),
        threads=threads,
        data=data,
        baselines=baselines,
        claimed=claimed,
        graphs=not no_graph,
    )
    if sheet is not None and data is None:
        raise UsageError("--sheet needs pairs of pictures: add --data FOLDER (with low/ and high/)")
    pairs = pairs_of(config)
    with progress_bar("bench", steps(config, pairs)) as advance:
        report, drawn = run_bench(config, pairs, lambda: advance(1))
    console = _console(json_path)
    print_report(report, console)
    if json_path == "-":
        click.echo(report.to_json(), nl=False)
    try:
        if json_file is not None:
            write_atomically(json_file, report.to_json().encode())
        if sheet is not None and drawn is not None:
            drawn.save(sheet)
    except OSError as error:
        raise MirnetDeployError(f"the report cannot be written: {error}") from error
    if report.failures:
        raise MirnetDeployError(f"{len(report.failures)} measurements failed; they are listed above")


def _console(json_path: str | None) -> Console:
    """Standard output holds either the JSON or the tables, so that a pipe gets one of them clean."""
    from rich.console import Console

    console = Console(stderr=json_path == "-")
    if not console.is_terminal:
        console.width = 120  # not the 80 columns that rich takes a file to have
    return console


def _bench_tiling(
    engines: tuple[str, ...], settings: TilingSettings, seams: Path | None, json_path: str | None
) -> None:
    from mirnet_deploy.benchmarks.tiling import (
        draw_seams,
        measure_tiling,
        picture_name,
        pictures_below,
        print_tiling,
    )
    from mirnet_deploy.cli.progress import progress_bar
    from mirnet_deploy.files import write_atomically

    if len(engines) != 1:
        raise UsageError(f"--tiling measures one engine, and {len(engines)} are named")
    paths = pictures_below(settings.pictures)
    with progress_bar("tiling", len(paths)) as advance:
        report = measure_tiling(engines[0], paths, settings, lambda: advance(1))
    print_tiling(report, _console(json_path))
    try:
        if json_path == "-":
            click.echo(report.to_json(), nl=False)
        elif json_path is not None:
            write_atomically(Path(json_path), report.to_json().encode())
        if seams is not None:
            if report.worst is None:
                raise MirnetDeployError(f"{seams} is not drawn: no picture was cut into tiles in the mode exact")
            worst = next(path for path in paths if picture_name(path, settings.pictures) == report.worst.picture)
            draw_seams(engines[0], worst, report.worst.tile, seams, settings)
    except OSError as error:
        raise MirnetDeployError(f"the report cannot be written: {error}") from error

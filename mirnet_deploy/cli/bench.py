"""`mirnet-deploy bench`: latency, memory and quality of engines, side by side; or, with --tiling, what tiles cost."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mirnet_deploy.cli.compare import compare_options, comparing
from mirnet_deploy.cli.compare_runs import BESIDE_FROM, ONLY_FROM, compare_runs, from_options
from mirnet_deploy.cli.lazy import LazyGroup, this_command
from mirnet_deploy.cli.options import (
    ENGINE_HELP,
    NUMBER,
    check_target,
    console,
    json_option,
    runtime_options,
    write_json,
)
from mirnet_deploy.cli.process import end, on_signals
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.settings import RuntimeSettings

if TYPE_CHECKING:
    from mirnet_deploy.benchmarks.comparison import Comparison
    from mirnet_deploy.benchmarks.report import Report
    from mirnet_deploy.benchmarks.tiling import TilingReport, TilingSettings

SUBCOMMANDS = {
    "night": ("mirnet_deploy.cli.night", "Find faults in pictures that have no ground truth."),
    "ort-cuda": ("mirnet_deploy.cli.ort_cuda", "Time the ways to run ONNX files on a GPU."),
    "overlap": ("mirnet_deploy.cli.overlap", "Time how copies and computing overlap on a GPU."),
    "peers": ("mirnet_deploy.cli.peers", "Compare the runtime on the CPU with all that one might run instead."),
    "training-step": ("mirnet_deploy.cli.training_step", "Time a training step, in the ways in which it can run."),
}
ONLY_TILING = ("middle", "modes", "seams")
NOT_TILING = (
    *("sizes", "runs", "warmup", "graphs", "data", "baselines", "claimed", "sheet", "no_memory", "max_seconds"),
    *("compare", "exported"),
)
_OPTION = {
    "sizes": "--size",
    "graphs": "--no-graph",
    "engines": "--engine",
    "json_path": "--json",
    "tolerances": "--tolerance",
    "from_runs": "--from",
}
"""Parameter -> its option, where that does not follow from the name."""


@click.group(
    cls=LazyGroup,
    lazy=SUBCOMMANDS,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND ...]",
    context_settings={"show_default": True},
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME|FILE[@HOW]",
    help=f"{ENGINE_HELP[:-1]}; or a checkpoint. Repeat to compare: engines take turns, ratios are to the first. "
    "@fp16 and @compiled: a checkpoint in PyTorch's half precision; @channels-last and @compiled-fp32: in float32; "
    "@local128 and @local256: with the means of its surroundings; @session and @native: an ONNX file by "
    "InferenceSession.run, and by OpenVINO's own API; @alone: the engine without the pipeline. "
    "Checkpoints, @session and @native run pictures whole, whatever --tile says.",
)
@compare_options
@from_options
@click.option("--size", "sizes", multiple=True, default=["600x400"], metavar="WxH", help="Size to time at; repeatable.")
@click.option("--runs", default=10, help="Timed runs of each engine at each size.")
@click.option("--warmup", default=2, help="Runs before them that are not counted.")
@runtime_options("device", "threads", "tile", "graphs")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with low/ and high/: measures PSNR and SSIM.")
@click.option("--baselines", is_flag=True, help="With --data: also what needs no model, the untouched input first.")
@click.option(
    "--claimed", type=NUMBER, metavar="DB", help="With --data: which figure of the first engine this PSNR really is."
)
@click.option("--sheet", type=click.Path(path_type=Path), help="With --data: PNG of input, outputs and ground truth.")
@click.option(
    "--tiling",
    type=click.Path(path_type=Path),
    help="Picture or folder: instead, compare tiles with the whole; --tile auto are tiles of 256 and 512.",
)
@click.option("--middle", metavar="WxH", help="With --tiling: cut larger pictures to their middle.")
@click.option("--modes", default="local,fast,exact", help="With --tiling: which to measure.")
@click.option(
    "--seams", type=click.Path(path_type=Path), help="With --tiling: PNG or JPEG of the worst picture's error."
)
@click.option("--no-memory", is_flag=True, help="Leave out peak memory, a process for each engine and size.")
@click.option("--max-seconds", type=NUMBER, help="End after so many seconds, with what there is by then; exits 1.")
@json_option("the whole report, anew whenever there is more of it,")
@click.option("--force", is_flag=True, help="Replace the files of --json, --sheet and --seams where they exist.")
@click.pass_context
def command(context: click.Context, /, settings: RuntimeSettings, **options: Any) -> None:
    """Measure latency and memory of engines, and PSNR and SSIM with --data; or, with --tiling, what tiles cost; or
    compare the forms of a checkpoint (--compare), or two reports (--from).

    Exits 1 when something could not be measured; the rest is still reported.
    """
    if context.invoked_subcommand:
        _refuse_given(tuple(context.params), f"before {context.invoked_subcommand}; put options behind it")
        return
    if options["from_runs"]:
        _refuse_given(tuple(each for each in context.params if each not in BESIDE_FROM), "with --from; leave it out")
    else:
        _refuse_given(ONLY_FROM, "without --from; leave it out")
    if options["compare"] is None:
        _refuse_given(("exported",), "without --compare; leave it out")
    tiling = options["tiling"] is not None
    _refuse_given(NOT_TILING if tiling else ONLY_TILING, f"{'with' if tiling else 'without'} --tiling; leave it out")
    for name in ("sheet", "seams", "json_path"):
        check_target(_OPTION.get(name, f"--{name}"), options[name], options["force"])
    try:
        if options["from_runs"]:
            old, new = options["from_runs"]
            compare_runs(old, new, options["tolerances"], options["any_machine"], options["json_path"])
        elif tiling:
            _bench_tiling(settings, options)
        elif options["compare"]:
            with comparing(settings, options) as (comparison, chosen):
                _bench(settings, chosen, comparison)
        else:
            _bench(settings, options)
    except OSError as error:
        raise MirnetDeployError(f"the report cannot be written: {error}") from error


def _refuse_given(names: tuple[str, ...], where: str) -> None:
    """Refuses those of the parameters `names` that the user gave and that would have no effect.

    Raises:
        UsageError: the user gave one; the text ends with `where`.
    """
    source = click.get_current_context().get_parameter_source
    for name in names:
        if source(name) is ParameterSource.COMMANDLINE:
            option = _OPTION.get(name, "--" + name.replace("_", "-"))
            raise UsageError(f"{option} means nothing {where}")


def _bench(settings: RuntimeSettings, options: dict[str, Any], comparison: Comparison | None = None) -> None:
    from mirnet_deploy.benchmarks.bench import BenchConfig, pairs_of, run_bench, steps
    from mirnet_deploy.benchmarks.inputs import Size
    from mirnet_deploy.benchmarks.peers import PAUSE_S
    from mirnet_deploy.benchmarks.report import INTERRUPTED
    from mirnet_deploy.benchmarks.tables import print_report, row_line

    sizes = tuple(dict.fromkeys(Size.parse(size) for size in options["sizes"]))
    named = {name: options[name] for name in ("engines", "runs", "warmup", "data", "baselines", "claimed")}
    limit = float("inf") if options["max_seconds"] is None else options["max_seconds"]
    named |= {"compare": options["compare"], "names": options.get("names", ())}
    config = BenchConfig(sizes=sizes, runtime=settings, memory=not options["no_memory"], max_seconds=limit, **named)
    sheet = options["sheet"]
    if sheet is not None and config.data is None:
        raise UsageError("--sheet needs pairs of pictures: add --data FOLDER (with low/ and high/)")
    pairs = pairs_of(config)
    # Standard output holds either the JSON or the tables, so that a pipe gets one of them clean.
    json_path, to_pipe = options["json_path"], options["json_path"] == "-"
    shown, measured, stopped_by = 0, False, signal.SIGINT.value
    command = this_command()

    def whole(report: Report) -> Report:
        report = replace(report, command=command)
        return comparison.added_to(report) if comparison else report

    def notice(so_far: Report) -> None:
        nonlocal shown
        for row in so_far.latency[shown:]:
            click.echo(row_line(row), err=True)
        shown = len(so_far.latency)
        if not to_pipe:
            write_json(whole(so_far).to_json(), json_path)

    def step() -> None:
        nonlocal measured
        measured = True
        if comparison:
            time.sleep(PAUSE_S)  # threads of one library that spin for more work would take the next one's cores
        advance()

    def stop(number: int) -> None:
        nonlocal stopped_by
        if not measured:  # the engines are being imported
            end(number)
        stopped_by = number
        raise KeyboardInterrupt

    with on_signals(stop), progress_bar("bench", steps(config, pairs)) as advance:
        report, drawn = run_bench(config, pairs, step, notice, comparison.watch if comparison else None)
    report = whole(report)
    print_report(report, console(stderr=to_pipe))
    write_json(report.to_json(), json_path)
    if sheet is not None and drawn is not None:
        drawn.save(sheet)
    if report.ended == INTERRUPTED:
        click.get_current_context().exit(128 + stopped_by)
    if report.ended != "whole":
        raise MirnetDeployError(f"{report.ended}; what was measured is above")
    if report.failures:
        raise MirnetDeployError(f"{len(report.failures)} measurements failed; they are listed above")


def _bench_tiling(settings: RuntimeSettings, options: dict[str, Any]) -> None:
    from mirnet_deploy.benchmarks.inputs import Size
    from mirnet_deploy.benchmarks.tiling import TilingSettings, measure_tiling, pictures_below, print_tiling

    engines, middle = options["engines"], options["middle"]
    cut = Size.parse(middle) if middle else None
    tiling = TilingSettings(options["tiling"], cut, tuple(options["modes"].split(",")), settings)
    if len(engines) != 1:
        raise UsageError(f"--tiling measures one engine, and {len(engines)} are named")
    if options["seams"] is not None and "exact" not in tiling.modes:
        raise UsageError("--seams draws the mode exact; add it to --modes")
    paths = pictures_below(tiling.pictures)
    with progress_bar("tiling", len(paths)) as advance:
        report = measure_tiling(engines[0], paths, tiling, lambda: advance(1))
    print_tiling(report, console(stderr=options["json_path"] == "-"))
    write_json(report.to_json(), options["json_path"])
    if options["seams"] is not None:
        _draw_seams(engines[0], paths, tiling, report, options["seams"])


def _draw_seams(engine: str, paths: list[Path], tiling: TilingSettings, report: TilingReport, target: Path) -> None:
    from mirnet_deploy.benchmarks.seams import draw_seams
    from mirnet_deploy.benchmarks.tiling import picture_name

    if report.worst is None:
        raise MirnetDeployError(f"{target} is not drawn: no picture was cut into tiles in the mode exact")
    worst = next(path for path in paths if picture_name(path, tiling.pictures) == report.worst.picture)
    draw_seams(engine, worst, report.worst.tile, target, tiling)

"""`mirnet-deploy bench`: latency, memory and quality of engines, side by side; or, with --tiling, what tiles cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mirnet_deploy.cli.bench_run import run_engines, run_tiling
from mirnet_deploy.cli.build_missing import build_missing, build_missing_option
from mirnet_deploy.cli.compare import compare_options, comparing
from mirnet_deploy.cli.compare_runs import BESIDE_FROM, ONLY_FROM, compare_runs, from_options
from mirnet_deploy.cli.lazy import LazyGroup
from mirnet_deploy.cli.options import (
    ENGINE_HELP,
    NUMBER,
    check_target,
    json_option,
    runtime_options,
)
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.settings import RuntimeSettings

SUBCOMMANDS = {
    "cluster": ("mirnet_deploy.cli.bench_cluster", "Time a cluster of this machine's processes beside one process."),
    "night": ("mirnet_deploy.cli.night", "Find faults in pictures that have no ground truth."),
    "ort-cuda": ("mirnet_deploy.cli.ort_cuda", "Time the ways to run ONNX files on a GPU."),
    "overlap": ("mirnet_deploy.cli.overlap", "Time how copies and computing overlap on a GPU."),
    "peers": ("mirnet_deploy.cli.peers", "Compare the runtime on the CPU with all that one might run instead."),
    "scale": ("mirnet_deploy.cli.scale", "Find what very many pictures take on very many hosts."),
    "tables": ("mirnet_deploy.cli.tables", "Make the tables of Markdown pages from stored results."),
    "training-step": ("mirnet_deploy.cli.training_step", "Time a training step, in the ways in which it can run."),
}
ONLY_TILING = ("middle", "modes", "seams")
NOT_TILING = (
    *("sizes", "runs", "warmup", "graphs", "data", "results", "baselines", "claimed", "sheet"),
    *("no_memory", "floor", "max_seconds", "in_flight", "sweeps", "compare", "exported"),
)
_OPTION = {
    "sizes": "--size",
    "sweeps": "--sweep",
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
@build_missing_option
@compare_options
@from_options
@click.option("--size", "sizes", multiple=True, default=["600x400"], metavar="WxH", help="Size to time at; repeatable.")
@click.option("--runs", default=10, help="Timed runs of each engine at each size.")
@click.option(
    "--warmup",
    default="auto",
    metavar="auto|N",
    help="Runs before them that are not counted; auto: until they are even.",
)
@click.option(
    "--floor",
    is_flag=True,
    help="Also each engine's arithmetic and memory traffic, and the time that a matrix product and a copy, timed in "
    "turn with it, take for as much.",
)
@click.option(
    "--in-flight", multiple=True, type=int, metavar="N", help="Also throughput with N pictures at once; repeatable."
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    type=click.Choice(["size", "tile", "batch", "threads"]),
    help="Also how cost grows over this; repeatable. Tiles, batches and threads are tried on the largest --size.",
)
@runtime_options("device", "threads", "tile", "batch", "graphs")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with low/ and high/: measures PSNR, SSIM, FLIP, NIQE and BRISQUE. With pictures alone: the last two.",
)
@click.option(
    "--results",
    multiple=True,
    metavar="NAME=DIR",
    help="With --data: a folder with another method's results, in files of the same names; repeatable.",
)
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
@click.option(
    "--html", type=click.Path(path_type=Path), help="One page with figures, plots and pictures; works offline."
)
@click.option("--no-memory", is_flag=True, help="Leave out peak memory and cold start, a process for each row.")
@click.option("--max-seconds", type=NUMBER, help="End after so many seconds, with what there is by then; exits 1.")
@json_option("the whole report, anew whenever there is more of it,")
@click.option(
    "--force", is_flag=True, help="Replace the files of --json, --html, --sheet and --seams where they exist."
)
@click.pass_context
def command(context: click.Context, /, settings: RuntimeSettings, **options: Any) -> None:
    """Measure latency, phases and memory of engines, and quality with --data; or, with --tiling, what tiles cost; or
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
    for name in ("sheet", "seams", "html", "json_path"):
        check_target(_OPTION.get(name, f"--{name}"), options[name], options["force"])
    if options["html"] is not None:
        from mirnet_deploy.benchmarks.page.page import environment

        environment()  # that jinja2 is missing is better said now
    if options["build_missing"]:
        from mirnet_deploy.benchmarks.subjects.base import SubjectSpec

        build_missing([SubjectSpec(engine).model for engine in options["engines"]], settings.device)
    try:
        if options["from_runs"]:
            old, new = options["from_runs"]
            compare_runs(old, new, options["tolerances"], options["any_machine"], options["json_path"])
        elif tiling:
            run_tiling(settings, options)
        elif options["compare"]:
            with comparing(settings, options) as (comparison, chosen):
                run_engines(settings, chosen, comparison)
        else:
            run_engines(settings, options)
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

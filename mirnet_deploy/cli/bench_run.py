"""What `mirnet-deploy bench` does once its options are sound: a run of engines, or of tiles against the whole."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.lazy import this_command
from mirnet_deploy.cli.options import console, write_json
from mirnet_deploy.cli.process import end, on_signals
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.settings import RuntimeSettings

if TYPE_CHECKING:
    from mirnet_deploy.benchmarks.bench import BenchConfig
    from mirnet_deploy.benchmarks.comparison import Comparison
    from mirnet_deploy.benchmarks.report import Report


def run_engines(settings: RuntimeSettings, options: dict[str, Any], comparison: Comparison | None = None) -> None:
    """Measures the engines of `options`, and prints and writes what is known of them whenever there is more.

    Args:
        comparison: whose forms the engines are, with --compare.

    Raises:
        MirnetDeployError: something could not be measured; the rest was reported.
        UsageError: options do not go together.
    """
    from mirnet_deploy.benchmarks.bench import run_bench, scenes_of, steps
    from mirnet_deploy.benchmarks.page.page import bench_page
    from mirnet_deploy.benchmarks.page.pictures import Gallery
    from mirnet_deploy.benchmarks.tables import print_report
    from mirnet_deploy.files import write_atomically

    config, sheet, html = _config(settings, options), options["sheet"], options["html"]
    gallery = None if html is None else Gallery()
    if sheet is not None and config.data is None:
        raise UsageError("--sheet needs pictures: add --data FOLDER (with low/ and high/)")
    scenes = scenes_of(config)
    # Standard output holds either the JSON or the tables, so that a pipe gets one of them clean.
    to_pipe, under_way = options["json_path"] == "-", _UnderWay(options["json_path"], comparison)
    watch = comparison.watch if comparison else None
    with on_signals(under_way.stop), progress_bar("bench", steps(config, scenes)) as advance:
        report, drawn = run_bench(config, scenes, lambda: under_way.step(advance), under_way.notice, gallery, watch)
    report = under_way.whole(report)
    # All files first: whoever reads standard output may stop reading, which ends the process.
    if not to_pipe:
        write_json(report.to_json(), options["json_path"])
    if sheet is not None and drawn is not None:
        drawn.save(sheet)
    if gallery is not None:
        write_atomically(html, bench_page(report.to_dict(), gallery.entries).encode(errors="replace"))
    if to_pipe:
        write_json(report.to_json(), "-")
    print_report(report, console(stderr=to_pipe))
    _exit(report, under_way.stopped_by)


class _UnderWay:
    """Tells of a run while it lasts, and takes signals."""

    def __init__(self, json_path: str | None, comparison: Comparison | None) -> None:
        self._json_path, self._comparison = json_path, comparison
        self._command = this_command()
        self._shown, self._measured = 0, False
        self.stopped_by = signal.SIGINT.value

    def whole(self, report: Report) -> Report:
        """The report with what the run itself does not know."""
        report = replace(report, command=self._command)
        return self._comparison.added_to(report) if self._comparison else report

    def notice(self, so_far: Report) -> None:
        """Prints what is new in the report, and writes all of it."""
        from mirnet_deploy.benchmarks.row_lines import row_lines

        lines = row_lines(so_far)
        for line in lines[self._shown :]:
            click.echo(line, err=True)
        self._shown = len(lines)
        if self._json_path != "-":
            write_json(self.whole(so_far).to_json(), self._json_path)

    def step(self, advance: Callable[[], object]) -> None:
        """Notes that something is measured from now on."""
        self._measured = True
        advance()

    def stop(self, number: int) -> None:
        """Ends the run with what there is; or the process, while engines are still imported."""
        if not self._measured:
            end(number)
        self.stopped_by = number
        raise KeyboardInterrupt


def _config(settings: RuntimeSettings, options: dict[str, Any]) -> BenchConfig:
    from mirnet_deploy.benchmarks.bench import BenchConfig
    from mirnet_deploy.benchmarks.inputs import Size
    from mirnet_deploy.benchmarks.warmup import parse_warmup

    given = ("engines", "runs", "floor", "in_flight", "data", "results", "baselines", "claimed", "compare")
    return BenchConfig(
        sizes=tuple(dict.fromkeys(Size.parse(size) for size in options["sizes"])),
        warmup=parse_warmup(options["warmup"]),
        runtime=settings,
        sweeps=tuple(dict.fromkeys(options["sweeps"])),
        memory=not options["no_memory"],
        max_seconds=float("inf") if options["max_seconds"] is None else options["max_seconds"],
        names=options.get("names", ()),
        **{name: options[name] for name in given},
    )


def _exit(report: Report, stopped_by: int) -> None:
    """Ends with what a script must know: 128 and the signal's number, or 1 for a report that lacks something."""
    from mirnet_deploy.benchmarks.report import INTERRUPTED

    if report.ended == INTERRUPTED:
        click.get_current_context().exit(128 + stopped_by)
    if report.ended != "whole":
        raise MirnetDeployError(f"{report.ended}; what was measured is above")
    if report.failures:
        raise MirnetDeployError(f"{len(report.failures)} measurements failed; they are listed above")


def run_tiling(settings: RuntimeSettings, options: dict[str, Any]) -> None:
    """Measures tiles against the whole.

    Raises:
        MirnetDeployError: a picture cannot be measured, or --seams has nothing to draw.
        UsageError: options do not go together.
    """
    from mirnet_deploy.benchmarks.inputs import Size
    from mirnet_deploy.benchmarks.page.tiles import tiling_page
    from mirnet_deploy.benchmarks.seams import draw_seams, find_seams
    from mirnet_deploy.benchmarks.tiling import (
        TilingSettings,
        measure_tiling,
        picture_name,
        pictures_below,
        print_tiling,
    )
    from mirnet_deploy.files import write_atomically

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
    worst, seams, html = report.worst, options["seams"], options["html"]
    found = None
    if worst is not None and (seams is not None or html is not None):
        path = next(path for path in paths if picture_name(path, tiling.pictures) == worst.picture)
        found = find_seams(engines[0], path, worst.tile, tiling)
    if html is not None:
        page = tiling_page(report.to_dict(), found, None if worst is None else asdict(worst))
        write_atomically(html, page.encode(errors="replace"))
    if seams is not None:
        if found is None:
            raise MirnetDeployError(f"{seams} is not drawn: no picture was cut into tiles in the mode exact")
        draw_seams(found, seams)

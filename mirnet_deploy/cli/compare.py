"""`mirnet-deploy bench --compare`: the forms of one checkpoint, found or made, run once and handed to the bench."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.artifacts_of import checkpoint_of, forms_files
from mirnet_deploy.cli.options import require
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.settings import RuntimeSettings

if TYPE_CHECKING:
    from mirnet_deploy.benchmarks.comparison import Comparison


def compare_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --compare and what belongs to it."""
    options = (
        click.option(
            "--compare",
            metavar="CHECKPOINT|NAME",
            help="In place of engines: every form of one checkpoint that runs here, and how far each is from PyTorch's "
            "results in FP32.",
        ),
        click.option(
            "--exported",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="With --compare: where its exported files are; what is missing is made for the run.  [default: beside "
            "it]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def comparing(settings: RuntimeSettings, options: dict[str, Any]) -> Iterator[tuple[Comparison, dict[str, Any]]]:
    """The forms of the checkpoint of --compare, each run once; and the options of a bench run of those that run.

    Their files are there for the length of the block.

    Raises:
        MirnetDeployError: the checkpoint is not one, or none of its forms runs here.
        UsageError: other options do not go with it.
    """
    if options["engines"]:
        raise UsageError("--compare chooses the engines by itself; leave --engine out")
    if options["sweeps"]:
        raise UsageError("--compare takes no --sweep; sweep one form by --engine")
    if len(options["sizes"]) != 1:
        raise UsageError(f"--compare measures at one size, and {len(options['sizes'])} are given")
    require("bench --compare", "bench", "skimage")
    require("bench --compare", "export", "torch", "onnx", "onnxscript")
    require("bench --compare", "cpu", "onnxruntime")
    from mirnet_deploy.artifacts.models import is_checkpoint
    from mirnet_deploy.benchmarks.comparison import Comparison
    from mirnet_deploy.benchmarks.forms import forms_of
    from mirnet_deploy.benchmarks.inputs import Size

    def say(line: str) -> None:
        click.echo(line, err=True)

    given, size = Path(options["compare"]), Size.parse(options["sizes"][0])
    checkpoint = given if is_checkpoint(given) or given.exists() else checkpoint_of(options["compare"])
    with temporary_folder() as folder:
        with progress_bar("finding and making files", None):
            files = forms_files(checkpoint, options["exported"] or checkpoint.parent, folder, say)
        comparison = Comparison(forms_of(files, settings.device))
        with progress_bar("first runs", len(comparison.forms)) as advance:
            comparison.first_runs(settings, size, advance, say)
        if not comparison.running:
            raise MirnetDeployError(f"no form of {checkpoint} runs here; the reasons are above")
        names, engines = zip(*comparison.running.items(), strict=True)
        baselines = options["baselines"] or options["data"] is not None
        chosen = {"engines": engines, "names": names, "compare": checkpoint, "baselines": baselines}
        yield comparison, {**options, **chosen}

"""The command line: `mirnet-deploy COMMAND`. A command's module is imported when the command runs or shows its help."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from typing import Any

import click

from mirnet_deploy.artifacts.version import __version__
from mirnet_deploy.cli.lazy import LazyGroup
from mirnet_deploy.errors import MirnetDeployWarning

COMMANDS = {
    "enhance": ("mirnet_deploy.cli.enhance", "Make dark pictures brighter and cleaner."),
    "train": ("mirnet_deploy.cli.train", "Train a MIRNet on pairs, or on well-lit photographs."),
    "ship": ("mirnet_deploy.cli.ship", "Train weights to ship in a given time, and beside them a twin to measure."),
    "weights": ("mirnet_deploy.cli.weights", "Keep a checkpoint's weights alone: in 8 bits, or averaged with others."),
    "export": ("mirnet_deploy.cli.export", "Turn a checkpoint into ONNX files and a TensorRT plan, with proof."),
    "triton": ("mirnet_deploy.cli.triton", "Make a model repository for Triton Inference Server."),
    "bench": ("mirnet_deploy.cli.bench", "Measure latency, memory, PSNR and SSIM of engines."),
    "info": ("mirnet_deploy.cli.info", "Show what an artifact or a checkpoint is."),
    "doctor": ("mirnet_deploy.cli.doctor", "Show what this machine can do and what to install for the rest."),
}

_show_others = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    """Shows our warnings in one line, and those of libraries as Python does."""
    if issubclass(category, MirnetDeployWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        _show_others(message, category, *rest, **more)


class _Notes(logging.Handler):
    """Shows what the package logs in one line each, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"note: {record.getMessage()}", err=True)


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mirnet-deploy")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def main(debug: bool) -> None:
    """MIRNet low-light enhancement, from training to a production engine."""
    warnings.showwarning = _show_warning
    warnings.filterwarnings("ignore", module="PIL")  # a damaged file gets one line, ours
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names need not be text; they go out as they came in
            stream.reconfigure(errors="surrogateescape")
    package = logging.getLogger("mirnet_deploy")
    if not debug:
        if not any(isinstance(each, _Notes) for each in package.handlers):  # a program may call this more than once
            package.addHandler(_Notes())
        package.setLevel(logging.INFO)
    else:
        # Also tracebacks of errors that are caught on the way, such as those of one picture among many.
        logging.basicConfig()
        package.setLevel(logging.DEBUG)

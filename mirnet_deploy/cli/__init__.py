"""The command line: `mirnet-deploy COMMAND`. A command's module is imported when the command runs or shows its help."""

from __future__ import annotations

import importlib
import io
import logging
import sys
import warnings
from typing import Any

import click

from mirnet_deploy import __version__
from mirnet_deploy.errors import MirnetDeployError, MirnetDeployWarning, UsageError

COMMANDS = {
    "enhance": ("mirnet_deploy.cli.enhance", "Make dark pictures brighter and cleaner."),
    "train": ("mirnet_deploy.cli.train", "Train a MIRNet on pairs, or on well-lit photographs."),
    "export": ("mirnet_deploy.cli.export", "Turn a checkpoint into ONNX files and a TensorRT plan, with proof."),
    "bench": ("mirnet_deploy.cli.bench", "Measure latency, memory, PSNR and SSIM of engines."),
    "info": ("mirnet_deploy.cli.info", "Show what an artifact or a checkpoint is."),
    "doctor": ("mirnet_deploy.cli.doctor", "Show what this machine can do and what to install for the rest."),
}
"""Name -> the module that holds `command`, and the line for the list (so that the list needs no imports)."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is asked for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MirnetDeployError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {error}", err=True)
            sys.exit(2 if isinstance(error, UsageError) else 1)


_show_others = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    """Ours are one line; those of libraries as Python shows them."""
    if issubclass(category, MirnetDeployWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        _show_others(message, category, *rest, **more)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mirnet-deploy")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def main(debug: bool) -> None:
    """MIRNet low-light enhancement, from training to a production engine."""
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name need not be text; it goes out as it came in
            stream.reconfigure(errors="surrogateescape")
    if debug:
        # What is caught on the way, such as the failure of one picture of a batch.
        logging.basicConfig()
        logging.getLogger("mirnet_deploy").setLevel(logging.DEBUG)

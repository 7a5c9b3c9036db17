"""Groups of commands that are imported on demand, and the one place that turns errors into lines and exit codes."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import click

from mirnet_deploy.errors import MirnetDeployError, UsageError, not_loaded, one_line

ARGUMENTS = "mirnet_deploy.arguments"
"""Key of a context's `meta`: all words behind the program's name."""
CHANGES_A_RUN = ("MIRNET_DEPLOY_BACKEND", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""Variables of the environment that decide what a command runs on."""


def this_command() -> str:
    """What a shell repeats the command with that is under way: its words as they were given, and those of
    `CHANGES_A_RUN` that are set. Paths in it are relative where they were given so."""
    words = click.get_current_context().meta.get(ARGUMENTS, [])
    variables = [f"{name}={shlex.quote(os.environ[name])}" for name in CHANGES_A_RUN if name in os.environ]
    return " ".join([*variables, shlex.join(["mirnet-deploy", *words])])


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports a command only when it is asked for.

    Args:
        lazy: name -> the module that holds `command`, and the command's line in the list, which thus needs no imports.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._lazy = lazy

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta.setdefault(ARGUMENTS, [*args])  # of the outermost group, which comes first
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        command: click.Command = importlib.import_module(self._lazy[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (MirnetDeployError, ImportError, MemoryError) as error:
            if ctx.find_root().params.get("debug"):
                raise
            text = "out of memory" if isinstance(error, MemoryError) else error
            click.echo(f"error: {not_loaded(error) if isinstance(error, ImportError) else text}", err=True)
            sys.exit(2 if isinstance(error, UsageError) else 1)
        except OSError as error:  # of a name that is too long, or a folder that may not be looked into, for example
            if ctx.find_root().params.get("debug") or error.filename is None:  # streams have none
                raise
            click.echo(f"error: {one_line(os.fsdecode(error.filename))}: {error.strerror}", err=True)
            sys.exit(1)

"""What several commands share: the options of a runtime, checks before the work, and where results are printed."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.errors import MirnetDeployError, MissingDependencyError, UsageError
from mirnet_deploy.settings import RuntimeSettings, parse_tile

if TYPE_CHECKING:
    from rich.console import Console

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
WIDTH = 120
"""Columns of a table that does not go to a terminal; rich would take 80."""


ENGINE_HELP = "A model's name, such as lite, an .onnx or .plan file, or a fleet's folder."

Command = Callable[..., None]


class Number(click.FloatRange):
    """A number of an option, neither NaN nor infinite, which pass every check of a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            raise UsageError(f"{param.opts[0] if param else 'a number'} is {value}; expected a finite number")
        return number


NUMBER = Number()
FILE_NAME = click.Path(readable=False)
"""Text that may be the name of a file, which shells complete then. Nothing is checked."""


def _option(field: str, help: str, convert: Callable[[Any], Any] = lambda value: value, **attributes: Any) -> Any:
    """The option of a field of `RuntimeSettings`, which knows its default and checks its value."""

    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is None:
            return None
        try:
            return getattr(RuntimeSettings(**{field: convert(value)}), field)
        except UsageError as error:
            raise UsageError(f"--{str(error).replace(field, field.replace('_', '-'), 1)}") from error

    default = RuntimeSettings.__dataclass_fields__[field].default
    shown = {"default": default, "show_default": default is not None, **attributes}
    return click.option(f"--{field.replace('_', '-')}", callback=check, help=help, **shown)


def _brightness(text: str) -> Any:
    """A number where the text is one, else the text as it is; `RuntimeSettings` checks both."""
    try:
        return float(text)
    except ValueError:
        return text


def _bytes(text: str) -> int:
    """A number of bytes, with one of `UNITS` behind it if wanted."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if unit not in UNITS or not (number.isascii() and number.isdigit() and int(number)):
        raise UsageError(f"max_memory is {text!r}; expected bytes, or for example 800M or 2G")
    return int(number) * UNITS[unit]


RUNTIME_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "device": _option("device", "Where to run.", metavar="auto|cpu|cuda[:N]"),
    "backend": _option(
        "backend",
        "Library that runs an ONNX file. auto: the fastest here, which is measured once; onnxruntime on a GPU.",
        type=click.Choice(["auto", "onnxruntime", "openvino"]),
    ),
    "precision": _option(
        "precision",
        "In which the CPU computes. auto: bf16 where that is faster and within 50 dB of fp32.",
        type=click.Choice(["auto", "fp32", "bf16"]),
    ),
    "threads": _option("threads", "CPU threads of a run.  [default: all cores]", type=int),
    "tile": _option(
        "tile",
        "Side of a tile in pixels; auto: none where memory allows, else 512 or what memory holds; none: never.",
        parse_tile,
        metavar="auto|N|none",
    ),
    "consistency": _option(
        "consistency",
        "Tiles agree as if the picture ran whole (exact), nearly so, in one pass (fast), or not at all (local).",
        type=click.Choice(["exact", "fast", "local"]),
    ),
    "tolerance": _option("tolerance", "PSNR between tiles and whole that exact must reach.", type=float, metavar="DB"),
    "brightness": _option(
        "brightness",
        "Mean of the result; highlights roll off. auto: what the model makes of it.",
        _brightness,
        metavar="auto|0..1",
    ),
    "strength": _option(
        "strength", "How much of the result is blended with the picture as it was.", type=float, metavar="0..1"
    ),
    "batch": _option("batch", "Tiles in one run of the engine.", type=int),
    "max_memory": _option(
        "max_memory",
        "Memory that a picture may take on its way, such as 800M or 12G: of the GPU, or else of the host. With "
        "20G larger ones run whole, which is faster, in up to half of the free memory; with 2G fewer do.",
        _bytes,
        metavar="SIZE",
    ),
    "whole_pixels": _option(
        "whole_pixels",
        "With --tile auto: pixels up to which a picture runs whole.  [default: what half of the free memory holds, up "
        "to 2.1 GiB; with enhance and OpenVINO, one picture at a time, to 4.75 or 8.5 GiB]",
        type=int,
        metavar="N",
    ),
    "graphs": click.option(
        "--no-graph",
        "graphs",
        is_flag=True,
        callback=lambda context, parameter, value: not value,
        help="On a GPU: launch every kernel by itself, without CUDA graphs.",
    ),
}
"""Field of `RuntimeSettings` -> its option. A field that is not here can only be set in Python."""


def runtime_options(*names: str) -> Callable[[Command], Command]:
    """Adds options of a runtime to a command, which gets their values as `settings: RuntimeSettings`.

    Args:
        names: fields of `RuntimeSettings`; without any, all that have an option.
    """
    chosen = names or tuple(RUNTIME_OPTIONS)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(*args: Any, **options: Any) -> None:
            values = {name: options.pop(name) for name in chosen}
            command(*args, settings=RuntimeSettings(**values), **options)

        decorated: Command = with_settings
        for name in reversed(chosen):
            decorated = RUNTIME_OPTIONS[name](decorated)
        return decorated

    return decorate


@dataclass(frozen=True)
class ClusterOptions:
    """Where a job runs that does not run in the command's own process."""

    address: str
    """"local", or a Ray cluster's."""
    actors: int | None
    """None for as many as fit."""
    gpus_per_actor: float
    manifest: str | None
    """A path or a URL; None for one in the output."""


def cluster_options(command: Command) -> Command:
    """Adds --ray and what belongs to it to a command, which gets `cluster: ClusterOptions | None`."""

    @functools.wraps(command)
    def with_cluster(*args: Any, ray: str | None, **options: Any) -> None:
        given = {name: options.pop(name) for name in ("actors", "gpus_per_actor", "manifest")}
        if ray is None:
            if unused := next((name for name, value in given.items() if value is not None), None):
                raise UsageError(f"--{unused.replace('_', '-')} is for a cluster; add --ray local, or its address")
            for text in (*options["paths"], options["output"] or ""):
                if re.match(r"\w+://", text):
                    raise UsageError(f"{text} is a URL; add --ray local, or the address of a cluster")
            command(*args, cluster=None, **options)
            return
        cluster = ClusterOptions(ray, given["actors"], given["gpus_per_actor"] or 0.0, given["manifest"])
        command(*args, cluster=cluster, **options)

    decorated: Command = with_cluster
    for option in reversed(
        (
            click.option(
                "--ray", metavar="local|ADDRESS", help="Spread the pictures over this machine, or over a Ray cluster."
            ),
            click.option("--actors", type=click.IntRange(1), help="Processes on the cluster.  [default: what fits]"),
            click.option(
                "--gpus-per-actor", type=Number(0, min_open=True), metavar="F", help="GPUs of each, such as 1 or 0.5."
            ),
            click.option(
                "--manifest",
                metavar="FILE|URL",
                help="What became of each picture, by which a run goes on.  [default: mirnet-deploy.jsonl below -o]",
            ),
        )
    ):
        decorated = option(decorated)
    return decorated


def require(what: str, extra: str, *modules: str) -> None:
    """Checks that libraries are installed which are imported only later, after minutes of work.

    Raises:
        MissingDependencyError: one is not.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingDependencyError(f'{what} needs {module}: pip install "mirnet-deploy[{extra}]"')


def require_training() -> None:
    """`require` for what a training imports at its first validation, or shortly before it."""
    require("training", "train", "tensorboard", "matplotlib", "skimage")


def json_option(what: str) -> Callable[[Command], Command]:
    """The option --json of a command, which gets its value as `json_path`; see `write_json`."""
    return click.option("--json", "json_path", metavar="FILE", help=f"Write {what} as JSON; - is standard output.")


def write_json(text: str, json_path: str | None) -> None:
    """Writes `text` to the file of --json, or to standard output where that is "-".

    Raises:
        MirnetDeployError: the file cannot be written.
    """
    from mirnet_deploy.files import write_atomically

    if json_path == "-":
        click.echo(text, nl=False)
    elif json_path is not None:
        try:
            write_atomically(Path(json_path), text.encode())
        except OSError as error:
            raise MirnetDeployError(f"{json_path} cannot be written: {error.strerror or error}") from error


def check_target(option: str, target: str | Path | None, force: bool) -> None:
    """Checks that `target`, which the user named with `option`, can be written: before minutes of work, not after them.

    Args:
        target: a file; None where the user named none, "-" for standard output.

    Raises:
        UsageError: it cannot be written, or it exists and `force` is not set.
    """
    if target is None or target == "-":
        return
    from mirnet_deploy.files import is_there

    path = Path(target)
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{option} {path} cannot be written; expected a file name in a folder that can be written")
    if is_there(path) and not force:
        raise UsageError(f"{option} {path} exists; name another file or add --force")


def console(*, stderr: bool = False) -> Console:
    """The console that tables are printed on."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = WIDTH
    return made

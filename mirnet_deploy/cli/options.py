"""What several commands share: the options of a runtime, and the console."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.errors import UsageError
from mirnet_deploy.settings import RuntimeSettings, parse_tile

if TYPE_CHECKING:
    from rich.console import Console

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
WIDTH = 120
"""Columns of a table where there is no terminal; rich would take 80."""


Checked = Callable[[click.Context, click.Parameter, Any], Any]


def _checked(field: str, convert: Callable[[str], Any]) -> Checked:
    """A callback that converts the text of an option, and lets `RuntimeSettings` check it."""

    def check(context: click.Context, parameter: click.Parameter, value: str) -> Any:
        try:
            return getattr(RuntimeSettings(**{field: convert(value)}), field)
        except UsageError as error:
            raise click.BadParameter(str(error), context, parameter) from error

    return check


def _brightness(text: str) -> Any:
    """A number, where the text is one; else the text, which `RuntimeSettings` judges."""
    try:
        return float(text)
    except ValueError:
        return text


def _bytes(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A number of bytes, with K, M or G if wanted."""
    if value is None:
        return None
    number, unit = (value[:-1], value[-1].upper()) if value[-1:].isalpha() else (value, "")
    if unit not in UNITS or not (number.isascii() and number.isdigit() and int(number)):
        raise click.BadParameter(f"{value!r} is no size; expected bytes, or for example 800M or 2G", context, parameter)
    return int(number) * UNITS[unit]


Command = Callable[..., None]
_shown: dict[str, Any] = {"show_default": True}
RUNTIME_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "device": click.option(
        "--device",
        callback=_checked("device", str),
        default="auto",
        metavar="auto|cpu|cuda:N",
        help="Where to run.",
        **_shown,
    ),
    "threads": click.option("--threads", type=click.IntRange(1), help="CPU threads of a run (default: all cores)."),
    "tile": click.option(
        "--tile",
        callback=_checked("tile", parse_tile),
        default="auto",
        metavar="auto|N|none",
        help="Side of a tile in pixels; auto: none where memory allows, else the fastest; none: never tile.",
        **_shown,
    ),
    "consistency": click.option(
        "--consistency",
        type=click.Choice(["exact", "fast", "local"]),
        default="exact",
        help="Tiles agree as if the picture ran whole (exact), nearly so, in one pass (fast), or not at all (local).",
        **_shown,
    ),
    "tolerance": click.option(
        "--tolerance",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        metavar="DB",
        help="PSNR between tiles and whole that exact must reach.",
        **_shown,
    ),
    "brightness": click.option(
        "--brightness",
        callback=_checked("brightness", _brightness),
        default="auto",
        metavar="auto|0..1",
        help="Mean of the result; highlights roll off. auto: what the model makes of it.",
        **_shown,
    ),
    "strength": click.option(
        "--strength",
        type=click.FloatRange(0, 1),
        default=1.0,
        help="How much of the result is blended with the picture as it was.",
        **_shown,
    ),
    "batch": click.option(
        "--batch", type=click.IntRange(1), default=1, help="Tiles in one run of the engine.", **_shown
    ),
    "max_memory": click.option(
        "--max-memory",
        callback=_bytes,
        metavar="SIZE",
        help="Memory that a picture may take on its way, such as 800M or 2G: of the GPU, or else of the host.",
    ),
    "graphs": click.option(
        "--no-graph",
        "graphs",
        is_flag=True,
        callback=lambda ctx, param, value: not value,
        help="On a GPU: launch everything by itself, no CUDA graphs.",
    ),
}
"""Field of `RuntimeSettings` -> its option. A field that is not here is the programmer's alone."""


def runtime_options(*names: str) -> Callable[[Command], Command]:
    """Adds options of a runtime to a command, which gets them as `settings: RuntimeSettings`.

    Args:
        names: fields of `RuntimeSettings`; none for all that have an option.
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


def console(*, stderr: bool = False) -> Console:
    """Where tables go."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = WIDTH
    return made

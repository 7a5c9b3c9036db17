"""What several commands share: the options of a runtime, the types of their values, and the console."""

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


class Tile(click.ParamType):
    """The side of a tile."""

    name = "auto|N|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As `parse_tile`."""
        try:
            return parse_tile(value) if isinstance(value, str) else value
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Brightness(click.ParamType):
    """A mean brightness, or "auto"."""

    name = "auto|0..1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A float in [0, 1], or "auto"."""
        try:
            return RuntimeSettings(brightness=value if value == "auto" else float(value)).brightness
        except (ValueError, UsageError):
            self.fail(f"{value!r} is no brightness; expected auto or a number from 0 to 1", param, ctx)


class Bytes(click.ParamType):
    """A number of bytes, with K, M or G if wanted."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """An int."""
        if not isinstance(value, str):
            return value
        number, unit = (value[:-1], value[-1].upper()) if value[-1:].isalpha() else (value, "")
        if unit not in UNITS or not (number.isascii() and number.isdigit() and int(number)):
            self.fail(f"{value!r} is no size; expected bytes, or for example 800M or 2G", param, ctx)
        return int(number) * UNITS[unit]


class Device(click.ParamType):
    """Where to run."""

    name = "auto|cpu|cuda:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text, checked."""
        try:
            return RuntimeSettings(device=value).device
        except UsageError as error:
            self.fail(str(error), param, ctx)


Command = Callable[..., None]
_shown: dict[str, Any] = {"show_default": True}
RUNTIME_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "device": click.option("--device", type=Device(), default="auto", help="Where to run.", **_shown),
    "threads": click.option(
        "--threads", type=click.IntRange(1), help="CPU threads of a run (default: all cores)."
    ),
    "tile": click.option(
        "--tile",
        type=Tile(),
        default="auto",
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
        type=Brightness(),
        default="auto",
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
        type=Bytes(),
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

        for name in reversed(chosen):
            with_settings = RUNTIME_OPTIONS[name](with_settings)
        return with_settings

    return decorate


def console(*, stderr: bool = False) -> Console:
    """Where tables go."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = WIDTH
    return made

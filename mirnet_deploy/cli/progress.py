"""The one progress bar of all commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a bar on; any thread may call it."""

    def __call__(self, n: float = 1) -> None: ...


@contextmanager
def progress_bar(description: str, total: float | None) -> Iterator[Advance]:
    """A bar on stderr for the length of the block; yields `advance(n=1)`.

    Nothing is drawn, and rich is not even imported, where stderr is no terminal. `total` None: the length is not known.
    The bar goes away at the end, so that what is left on the screen is the command's result.
    """
    if not sys.stderr.isatty():

        def stay_silent(n: float = 1) -> None:
            pass

        yield stay_silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    # stdout is not redirected: it may be a pipe that wants the command's results, bar or no bar.
    bar = Progress(*columns, *times, console=Console(stderr=True), transient=True, redirect_stdout=False)
    with bar:
        task = bar.add_task(description, total=total)

        def advance(n: float = 1) -> None:
            bar.advance(task, n)

        yield advance

"""The one progress bar of all commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mirnet_deploy.jobs.progress import Show


class Bar:
    """A bar, with a line below it for each picture under way. Any thread may use it. This class draws nothing."""

    def __call__(self, n: float = 1) -> None:
        """Moves the bar on by `n`."""

    @contextmanager
    def line(self) -> Iterator[Show]:
        """A line below the bar for the length of the block; yields the function that updates it."""
        yield lambda description, share: None

    def close(self) -> None:
        """Clears the bar away before the end of its block: for a process that ends at once."""


@contextmanager
def progress_bar(description: str, total: float | None) -> Iterator[Bar]:
    """A bar on stderr for the length of the block.

    Where stderr is not a terminal, nothing is drawn and rich is not imported. The bar goes away at the end, so that the
    screen shows only the command's result.

    Args:
        total: what the steps add up to; None where unknown.
    """
    if not sys.stderr.isatty():
        yield Bar()
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
        yield _RichBar(bar, bar.add_task(description, total=total))


class _RichBar(Bar):
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def __call__(self, n: float = 1) -> None:
        self._progress.advance(self._task, n)

    def close(self) -> None:
        self._progress.stop()

    @contextmanager
    def line(self) -> Iterator[Show]:
        task = self._progress.add_task("", total=1.0, visible=False)

        def show(description: str, share: float) -> None:
            # Not quite 1: there rich would stop the line's clock, and another pass may follow.
            self._progress.update(task, description=description, completed=min(share, 0.9999), visible=True)

        try:
            yield show
        finally:
            self._progress.remove_task(task)

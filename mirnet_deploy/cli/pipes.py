"""`-` in `enhance`: standard input as one of the pictures, standard output as the place of the one result.

Both are files in a temporary folder for the length of the work, so that all else is as for any picture. What standard
output gets is what a file would hold, the record included.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING

from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.files import temporary_folder

if TYPE_CHECKING:
    from mirnet_deploy.jobs.inputs import NoTask, Task
    from mirnet_deploy.jobs.job import Result

DASH = Path("-")


@dataclass(frozen=True)
class Pipes:
    """What stands for `-`."""

    paths: tuple[str, ...]
    """Of the pictures."""
    output: Path | None
    """As of `find_tasks`."""
    source: Path | None = None
    """The file with what standard input held."""
    to_stdout: bool = False

    def check(self, entries: Sequence[Task | NoTask]) -> None:
        """Checks that there is one picture for standard output, which is read by somebody.

        Raises:
            UsageError: this is not so.
        """
        if not self.to_stdout:
            return
        if len(entries) != 1 or Path(self.paths[0]).is_dir():
            raise UsageError("-o - takes one picture, but the input may be several; name a folder")
        if sys.stdout.isatty():
            raise UsageError("-o - would write a picture to the terminal; add > FILE or a pipe")
        if getattr(sys.stdout.buffer, "name", None) == os.devnull:  # not for > /dev/null, which has no name here
            raise UsageError("-o - has nowhere to go: standard output is closed")

    def hand_on(self, results: Sequence[Result]) -> list[Result]:
        """Writes the result to standard output, if it is wanted there, and returns the results with `-` as their names.

        Raises:
            MirnetDeployError: standard output cannot be written.
        """
        return [self._named(self._handed_on(result) if self.to_stdout else result) for result in results]

    def _handed_on(self, result: Result) -> Result:
        if result.status == "skipped":
            error = f"{result.input} is {result.note}: nothing was written to standard output"
            return replace(result, status="failed", error=error)
        if result.status == "done" and result.output:
            with result.output.open("rb") as file:
                copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()
        return replace(result, output=DASH)

    def _named(self, result: Result) -> Result:
        if self.source is None or result.input != self.source:
            return result
        error = result.error and result.error.replace(str(self.source), "standard input")
        return replace(result, input=DASH, error=error)


@contextmanager
def open_pipes(paths: tuple[str, ...], output: Path | None, as_json: bool) -> Iterator[Pipes]:
    """Reads standard input to its end, if it is among `paths`.

    Raises:
        UsageError: `-` and the other arguments contradict each other.
        MirnetDeployError: standard input cannot be read or stored.
    """
    to_stdout = output == DASH
    if "-" in paths and output is None:
        raise UsageError("- has no name from which that of its result could follow; add -o FILE, or -o -")
    if to_stdout and as_json:
        raise UsageError("-o - and --json both want standard output; leave one out")
    if "-" not in paths and not to_stdout:
        yield Pipes(paths, output)
        return
    with ExitStack() as opened:
        try:
            folder = opened.enter_context(temporary_folder())
        except OSError as error:
            raise MirnetDeployError(f"no temporary folder can be made: {error.strerror or error}") from error
        source = folder / "stdin"
        if "-" in paths:
            _store(source)
        files = tuple(str(source) if path == "-" else path for path in paths)
        yield Pipes(files, folder / "stdout" if to_stdout else output, source, to_stdout)


def _store(target: Path) -> None:
    """Copies standard input to a file."""
    try:
        with target.open("wb") as file:
            while block := _read():
                file.write(block)
    except OSError as error:
        raise MirnetDeployError(
            f"standard input cannot be stored in {target.parent}: {error.strerror or error}"
        ) from error


def _read() -> bytes:
    try:
        return sys.stdin.buffer.read(1 << 20)
    except OSError as error:
        raise MirnetDeployError(f"standard input cannot be read: {error.strerror or error}") from error

"""The edges of the process: its standard streams, and the signals that end it.

No signal raises an exception (see `__main__`). What has to be done first is done in the signal's handler, between two
steps of the main thread; then the process ends, without waiting for threads: an engine may take minutes for a picture.

`_signal` is the part of `signal` that is built into Python. The rest makes enumerations of all values, and where memory
fails in that, CPython raises a SystemError without a cause in place of a MemoryError.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from mirnet_deploy.cli import main
from mirnet_deploy.errors import MirnetDeployError
from mirnet_deploy.files import remove_temporary

SIGNALS = [getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name)]
SIGPIPE = 13
"""Its number on all systems that have it."""
SHOW_CURSOR = b"\x1b[?25h"
"""Of ECMA-48 terminals. A progress bar hides it."""


def run() -> None:
    """Runs the command that `sys.argv` holds, and exits."""
    _open_streams()
    with on_signals(end):
        try:
            main()
        except MirnetDeployError as error:  # of standard output, while it takes the text of --help
            click.echo(f"error: {error}", err=True)
            sys.exit(1)


def end(number: int) -> NoReturn:
    """Ends the process at once as the signal `number` would, leaving nothing half-written; a shell sees 128 more."""
    remove_temporary()
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), SHOW_CURSOR)
    os._exit(128 + number)


@contextmanager
def on_signals(act: Callable[[int], object], again: Callable[[int], object] = end) -> Iterator[None]:
    """Within the block Ctrl-C, SIGTERM and SIGHUP call `act` with their number, and then `again` if they come again. A
    signal that is ignored, as under nohup, stays so. In a thread, where Python takes no handlers, the host's stay."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(number: int, frame: Any) -> None:
        for each in before:
            _signal.signal(each, lambda number, frame: again(number))
        act(number)

    handlers = {number: _signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (None, _signal.SIG_IGN)}
    try:
        for number in before:
            _signal.signal(number, first)
        yield
    finally:
        for number, handler in before.items():
            _signal.signal(number, handler)


@contextmanager
def _writing_out() -> Iterator[None]:
    """Guards writes to standard output. Where nobody reads it any more (`… | head -1`), the process ends quietly.

    Raises:
        MirnetDeployError: it cannot be written. Not an OSError, which a command would take for one of its files'.
    """
    try:
        yield
    except BrokenPipeError:
        end(SIGPIPE)
    except OSError as error:
        # What is still buffered would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise MirnetDeployError(f"standard output cannot be written: {error.strerror or error}") from error


class _Output(io.BufferedWriter):
    """The bytes of standard output; see `_writing_out`."""

    def write(self, data: Any) -> int:
        with _writing_out():
            return super().write(data)

    def flush(self) -> None:
        with _writing_out():
            super().flush()


class _Messages(io.BufferedWriter):
    """The bytes of standard error. Where it cannot be written, the work goes on without it."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            super().write(data)
        return len(data)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _open_streams() -> None:
    """Gives the process all three standard streams. Those that were closed (by `2>&-`, or a service) lead nowhere: what
    opens a file next would get their number, and what a library prints would go into that file."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: PTH123, SIM115 (takes the lowest number, which is the closed one)
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    for name, kind in (("stdout", _Output), ("stderr", _Messages)):
        old = getattr(sys, name)
        new = kind(getattr(old.buffer, "raw", old.buffer))  # `python -u` has no buffer between
        setattr(sys, name, io.TextIOWrapper(new, old.encoding, old.errors, line_buffering=old.line_buffering))

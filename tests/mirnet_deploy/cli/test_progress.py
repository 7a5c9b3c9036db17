"""The progress bar is drawn on a terminal's stderr and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mirnet_deploy.jobs.progress import Passes

pty = pytest.importorskip("pty", reason="POSIX terminals")

PROGRAM = """
import sys, time
from mirnet_deploy.cli.progress import progress_bar
with progress_bar("developing", 3) as advance:
    advance()
    advance(2)
    with advance.line() as show:
        show("night.jpg, pass 2", 0.625)
        time.sleep(0.3)  # the bar is drawn ten times a second
    print("result")
with progress_bar("of unknown length", None) as advance:
    advance(0.5)
assert ("rich" in sys.modules) == (sys.argv[1] == "terminal")
"""


def test_nothing_is_drawn_where_stderr_is_not_a_terminal() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM, "pipe"], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("result\n", "")


def test_a_terminal_sees_the_bar_and_stdout_stays_clean() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "terminal"], stdout=subprocess.PIPE, stderr=theirs, check=True, env=environment
    )
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # how Linux reports that the terminal was closed
        pass
    os.close(ours)
    assert result.stdout == b"result\n"
    assert b"developing" in seen
    assert b"100%" in seen
    assert b"night.jpg, pass 2" in seen
    assert b"62%" in seen


def test_every_pass_is_shown_with_its_share() -> None:
    seen: list[tuple[str, float]] = []
    passes = Passes("night.jpg", 24, lambda description, share: seen.append((description, share)))
    for pixels in (18, 6, 18, 6):
        passes.advance(pixels)
    assert seen == [
        ("night.jpg", 0),
        ("night.jpg, pass 1", 0.75),
        ("night.jpg, pass 1", 1.0),
        ("night.jpg, pass 2", 0.75),
        ("night.jpg, pass 2", 1.0),
    ]

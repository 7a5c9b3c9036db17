"""Tiny training runs in child processes, some of which kill themselves at a chosen point.

The children come from a fork server that has torch loaded but has never used it: a fork costs milliseconds, and no
child inherits threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from click.testing import CliRunner

_context = multiprocessing.get_context("forkserver")
# What a run imports later on; importing it would take most of a child's time.
SLOW_IMPORTS = ["torch._dynamo", "torch.utils.tensorboard", "matplotlib.backends.backend_agg", "matplotlib.figure"]
# skimage.metrics itself loads what it holds only when that is used.
SLOW_IMPORTS += ["skimage.metrics.simple_metrics", "skimage.metrics._structural_similarity"]
_context.set_forkserver_preload([*SLOW_IMPORTS, "mirnet_deploy.cli.train", "mirnet_deploy.training.trainer"])

TINY = "--n-feat 8 --n-rrg 1 --n-msrb 1 --crop 16 --batch 2 --threads 1 --precision fp32 --seed 3".split()
PACE = "--steps 10 --validate-every 4 --validate-limit 2 --save-every 3".split()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_in_step(number: int, kind: signal.Signals | None = None) -> None:
    from mirnet_deploy.training.step import Step

    original = Step.__call__

    def step(self: Any, batch: Any) -> None:
        original(self, batch)
        if self._state.step == number:
            os.kill(os.getpid(), kind) if kind else _die()

    Step.__call__ = step  # type: ignore[method-assign]


def _kill_in_the_middle_of_write(number: int) -> None:
    import torch

    original = torch.save
    writes = 0

    def save(content: Any, stream: Any) -> None:
        nonlocal writes
        writes += 1
        original(content, stream)
        if writes == number:
            stream.truncate(stream.tell() // 2)
            stream.flush()
            _die()

    torch.save = save  # type: ignore[assignment]


def _kill_after_row(number: int) -> None:
    from mirnet_deploy.training import logs

    original = logs.RunLog.add

    def add(self: Any, row: Any) -> None:
        original(self, row)
        if len(self.history) == number:
            _die()

    logs.RunLog.add = add  # type: ignore[method-assign]


KILLS: dict[str, Callable[[], None]] = {
    "in the first step": partial(_kill_in_step, 1),
    "before the first validation": partial(_kill_in_step, 4),
    "between two checkpoints": partial(_kill_in_step, 5),
    "in the last step": partial(_kill_in_step, 10),
    "in the middle of the first write": partial(_kill_in_the_middle_of_write, 1),
    "in the middle of a later write": partial(_kill_in_the_middle_of_write, 4),
    "between a row and its checkpoint": partial(_kill_after_row, 2),
}

STOPS = {"SIGTERM": partial(_kill_in_step, 5, signal.SIGTERM)}
"""What a run answers by saving and ending."""


def _child(arguments: list[str], kill: str | None, report: Any) -> None:
    from mirnet_deploy.cli import main

    if kill:
        (KILLS | STOPS)[kill]()
    result = CliRunner().invoke(main, ["train", *arguments])
    report.send((result.exit_code, result.output + ("" if result.exception is None else repr(result.exception))))


def train(*arguments: str, kill: str | None = None) -> tuple[int, str]:
    """Runs `mirnet-deploy train` in a child: (exit code, output), or (-9, "") where it was killed."""
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_child, args=(list(arguments), kill, sender))
    process.start()
    sender.close()
    try:
        code, output = receiver.recv()
    except EOFError:
        process.join()
        return process.exitcode or 0, ""
    process.join()
    return code, output

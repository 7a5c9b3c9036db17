"""When an engine has warmed up: caches filled, kernels compiled, buffers grown, clocks risen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from mirnet_deploy.errors import UsageError

WITHIN = 0.05
"""The share by which two medians may differ in an engine that has settled."""
LAST = 3
"""Runs of which each median is taken: one run that is out of line does not decide."""
LEAST, MOST = 2, 20
"""Rounds of a warm-up that ends by itself; between them, no more than there are timed rounds."""
WarmupSetting = int | Literal["auto"]
"""Rounds before the timed ones; "auto" ends when all engines are settled at the same time."""


@dataclass(frozen=True)
class Warmup:
    """What came before the timed runs of an engine."""

    runs: int = 0
    stable: bool | None = None
    """`settled` at the end."""


def settled(times: Sequence[float]) -> bool | None:
    """Whether the median of the last 3 runs is within 5 % of the median of the 3 before; None of fewer than 6 runs,
    which are too few to tell.

    >>> settled([90, 12, 11, 11.5, 11]), settled([90, 12, 11, 11.5, 11, 12]), settled([40, 30, 20, 12, 11, 12])
    (None, True, False)
    """
    if len(times) < 2 * LAST:
        return None
    before = median(times[-2 * LAST : -LAST])
    return abs(median(times[-LAST:]) - before) <= WITHIN * before


def most_rounds(warmup: WarmupSetting, runs: int) -> int:
    """Rounds that a warm-up takes at most before `runs` timed ones."""
    return max(LEAST, min(MOST, runs)) if warmup == "auto" else warmup


def parse_warmup(text: str) -> WarmupSetting:
    """A warm-up as a user writes it.

    >>> parse_warmup("auto"), parse_warmup("3")
    ('auto', 3)

    Raises:
        UsageError: the text is something else.
    """
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--warmup is {text!r}; expected auto or a number of runs") from None

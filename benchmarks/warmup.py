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
"""Runs, at most, of which each median is taken."""
LEAST, MOST = 2, 20
"""Rounds of a warm-up that ends by itself; between them, no more than there are timed rounds."""
WarmupSetting = int | Literal["auto"]
"""Rounds before the timed ones; "auto" ends when all engines have settled."""


@dataclass(frozen=True)
class Warmup:
    """What came before the timed runs of an engine."""

    runs: int = 0
    stable: bool | None = None
    """Whether it had settled (`settled`) by the end; None after fewer than 2 runs, which cannot tell."""


def settled(times: Sequence[float]) -> bool:
    """Whether the median of the last k runs is within 5 % of the median of the k runs before; k is 3, or half of the
    runs where there are fewer than 6. One run, or none, has not settled.

    >>> settled([90, 12, 11]), settled([90, 12, 11, 11.5]), settled([90, 12, 11, 11.5, 11])
    (False, False, True)
    """
    last = min(LAST, len(times) // 2)
    if not last:
        return False
    before = median(times[-2 * last : -last])
    return abs(median(times[-last:]) - before) <= WITHIN * before


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

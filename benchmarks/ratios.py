"""How sure a ratio of two medians is: of times that were measured in the same rounds, or in two runs.

Both are the bootstrap with percentiles, `RESAMPLES` times from a fixed seed; the interval is from the 2.5th to the
97.5th percentile of the ratios. Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13. There is
none of fewer than `FEWEST` values: even the whole range of 5 values holds a median only in 94 % of samples
(1 - 2 / 2**5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.statistics import FEWEST, RESAMPLES


def ratio_interval(times: Sequence[float], ours: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % interval of median(times) / median(ours), whose values of one place were measured in the same round.

    Rounds are drawn with replacement, as many as there are, and both medians taken of the same rounds. A last round
    that only one of them has, as an interrupt leaves it, does not count.
    """
    rounds = min(len(times), len(ours))
    if rounds < FEWEST:
        return None
    drawn = _drawn(np.random.default_rng(0), rounds)
    return _percentiles(_medians(times, drawn) / _medians(ours, drawn))


def unpaired_ratio(old: Sequence[float], new: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % interval of median(new) / median(old), whose values are of different processes: both are drawn anew with
    replacement, each by itself.
    """
    if min(len(old), len(new)) < FEWEST:
        return None
    generator = np.random.default_rng(0)
    before, after = (_medians(each, _drawn(generator, len(each))) for each in (old, new))
    return _percentiles(after / before)


def _drawn(generator: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Places of `RESAMPLES` samples of `count` values."""
    return generator.integers(0, count, (RESAMPLES, count))


def _medians(values: Sequence[float], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.median(np.asarray(values, np.float64)[drawn], axis=1))


def _percentiles(ratios: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(low), float(high)

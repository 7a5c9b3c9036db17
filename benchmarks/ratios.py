"""How sure a ratio of two medians is that were measured in the same rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mirnet_deploy.benchmarks.statistics import FEWEST, RESAMPLES


def ratio_interval(times: Sequence[float], ours: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % interval of median(times) / median(ours), whose values of one place were measured in the same round.

    The paired bootstrap with percentiles: rounds are drawn with replacement, as many as there are, and both medians
    taken of the same rounds, `RESAMPLES` times (from a fixed seed); the interval is from the 2.5th to the 97.5th
    percentile of these ratios. Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13. A last
    round that only one of them has, as an interrupt leaves it, does not count.

    Returns:
        None where there are fewer than `FEWEST` rounds: even the whole range of 5 values holds a median only in 94 %
        of samples (1 - 2 / 2**5).
    """
    rounds = min(len(times), len(ours))
    if rounds < FEWEST:
        return None
    drawn = np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
    medians, our_medians = (np.median(np.asarray(each, np.float64)[drawn], axis=1) for each in (times, ours))
    low, high = np.percentile(medians / our_medians, (2.5, 97.5))
    return float(low), float(high)

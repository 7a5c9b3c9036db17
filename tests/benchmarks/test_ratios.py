"""The interval of a ratio: against SciPy's bootstrap, and where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats

from mirnet_deploy.benchmarks.ratios import ratio_interval, unpaired_ratio


def test_a_clock_that_drifts_leaves_a_ratio_without_spread() -> None:
    ours = [10.0, 11, 12, 14, 20, 31, 40]
    assert ratio_interval([2 * each for each in ours], ours) == pytest.approx((2, 2))


def by_scipy(theirs: Sequence[float], ours: Sequence[float], *, paired: bool) -> Any:
    """SciPy's interval of the ratio of medians, to a hundredth."""
    expected = scipy.stats.bootstrap(
        (theirs, ours),
        lambda x, y, axis: np.median(x, axis=axis) / np.median(y, axis=axis),
        paired=paired,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    return pytest.approx((expected.low, expected.high), abs=0.01)


def test_the_interval_is_that_of_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(3)
    ours = rng.normal(100, 5, 21)
    theirs = 1.3 * ours + rng.normal(0, 4, 21)
    assert ratio_interval(list(theirs), list(ours)) == by_scipy(theirs, ours, paired=True)


def test_of_two_runs_the_interval_is_that_of_scipys_bootstrap_of_two_samples() -> None:
    old = np.random.default_rng(1).normal(100, 5, 30)
    new = np.random.default_rng(2).normal(110, 8, 21)
    assert unpaired_ratio(list(old), list(new)) == by_scipy(new, old, paired=False)


def test_few_rounds_have_no_interval() -> None:
    assert ratio_interval([1.0] * 5, [1.0] * 5) is None
    assert unpaired_ratio([1.0] * 5, [1.0] * 6) is None
    assert unpaired_ratio([1.0] * 6, [1.0] * 5) is None


def test_a_round_that_an_interrupt_cut_does_not_count() -> None:
    ours = [10.0, 11, 12, 14, 20, 31]
    theirs = [2 * each for each in ours]
    assert ratio_interval(theirs, [*ours, 1000]) == ratio_interval(theirs, ours) == pytest.approx((2, 2))
    assert ratio_interval(theirs[:5], ours) is None

"""The interval of a ratio: against SciPy's bootstrap, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from mirnet_deploy.benchmarks.ratios import ratio_interval


def test_a_clock_that_drifts_leaves_a_ratio_without_spread() -> None:
    ours = [10.0, 11, 12, 14, 20, 31, 40]
    assert ratio_interval([2 * each for each in ours], ours) == pytest.approx((2, 2))


def test_the_interval_is_that_of_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(3)
    ours = rng.normal(100, 5, 21)
    theirs = 1.3 * ours + rng.normal(0, 4, 21)
    found = ratio_interval(list(theirs), list(ours))
    expected = scipy.stats.bootstrap(
        (theirs, ours),
        lambda x, y, axis: np.median(x, axis=axis) / np.median(y, axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found == pytest.approx((expected.low, expected.high), abs=0.01)


def test_few_rounds_have_no_interval() -> None:
    assert ratio_interval([1.0] * 5, [1.0] * 5) is None


def test_a_round_that_an_interrupt_cut_does_not_count() -> None:
    ours = [10.0, 11, 12, 14, 20, 31]
    theirs = [2 * each for each in ours]
    assert ratio_interval(theirs, [*ours, 1000]) == ratio_interval(theirs, ours) == pytest.approx((2, 2))
    assert ratio_interval(theirs[:5], ours) is None

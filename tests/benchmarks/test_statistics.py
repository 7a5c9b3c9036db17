"""Intervals hold the mean as often as they say, and p values are those that one counts, and those of SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, permutation_test, t

from mirnet_deploy.benchmarks import statistics
from mirnet_deploy.benchmarks.statistics import expanded_tail, holm, mean_interval, method, paired_p_value


def test_an_interval_has_the_width_that_theory_gives_a_large_sample() -> None:
    values = np.random.default_rng(0).normal(20, 2, 400)
    low, high = mean_interval(values.tolist()) or (0, 0)
    error = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.02)


@pytest.mark.parametrize("count", [6, 10, 30])
def test_intervals_hold_the_mean_as_often_as_they_say(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so few values plain percentiles hold it in 85, 90 and 94 % of samples. The standard error here is 1 %."""
    monkeypatch.setattr(statistics, "RESAMPLES", statistics.AT_ONCE)
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(600):
        low, high = mean_interval(rng.normal(0, 1, count).tolist()) or (1, 1)
        held += low <= 0 <= high
    assert 0.91 <= held / 600 <= 0.975


def test_percentiles_are_those_that_give_the_width_of_students_t() -> None:
    """Of normal means with the spread that resampling gives them, sqrt((n - 1) / n) of the standard error."""
    for count in (6, 20):
        spread = math.sqrt((count - 1) / count)
        assert norm.ppf(expanded_tail(count)) * spread == pytest.approx(t.ppf(0.025, count - 1))


def test_an_interval_stays_within_the_values_where_most_are_equal() -> None:
    assert mean_interval([0.0] * 5 + [6.0]) == (0, pytest.approx(3, abs=1))


def test_intervals_repeat_and_ask_for_enough_values() -> None:
    values = [1.0, 2, 3, 4, 5, 9]
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values[:5]) is None
    assert paired_p_value(values[:5]) is None


def test_p_is_the_share_of_signs_that_reach_as_far() -> None:
    """Sums of at least 7 among the 64 of ±1 ±1 ±1 ±1 ±1 ±4: 4 + 5, 4 + 3 (five ways), and their mirror images."""
    assert paired_p_value([1, 1, 1, 1, -1, 4]) == 12 / 64


def test_engines_that_are_alike_have_p_1() -> None:
    assert paired_p_value([0.0] * 8) == 1
    assert paired_p_value([0.0] * 40) == 1


@pytest.mark.parametrize("count", [8, 13, 60])
def test_p_is_that_of_scipy(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.25, 1, count)
    expected = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        axis=-1,
    ).pvalue
    assert paired_p_value(differences.tolist()) == pytest.approx(expected, abs=1e-12 if count <= 13 else 0.015)
    assert ("all signs" in method(count)) == (count <= 16)


def test_six_pictures_are_too_few_for_more_than_one_comparison() -> None:
    least = paired_p_value([1.0] * 6)
    assert least == 2 / 2**6
    assert min(holm([least, least])) > 0.05


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    """Holm's own procedure: 0.01 x 4, 0.013 x 3, 0.014 x 2, 0.19; none below the one before it."""
    assert holm([0.013, 0.19, 0.01, 0.014]) == pytest.approx([0.04, 0.19, 0.04, 0.04])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []

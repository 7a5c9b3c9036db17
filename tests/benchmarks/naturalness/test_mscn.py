"""Fits and filters have the values that one finds by hand, and those of known distributions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mirnet_deploy.benchmarks.naturalness.mscn import fit, fit_symmetric, halved, luma, mscn, products


def test_sides_are_fitted_apart_and_zeros_belong_to_neither() -> None:
    found = fit(np.array([-2.0, -1, 0, 1, 2, 3]))
    assert found.left**2 == pytest.approx(5 / 2)
    assert found.right**2 == pytest.approx(14 / 3)
    assert found.mean > 0


def test_known_distributions_have_their_shapes() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(0, 3, 200_000), rng.laplace(0, 3, 200_000)])
    assert fit(values).shape == pytest.approx([2, 1], abs=0.03)
    shape, variance = fit_symmetric(values)
    assert shape == pytest.approx([2, 1], abs=0.03)
    assert variance == pytest.approx([9, 18], rel=0.02)
    assert fit(values).mean == pytest.approx([0, 0], abs=0.05)


def test_a_gaussian_has_a_scale_of_sqrt_2_times_its_deviation() -> None:
    found = fit(np.random.default_rng(1).normal(0, 1, 200_000))
    assert found.left_scale == pytest.approx(2**0.5, abs=0.02)
    assert found.right_scale == pytest.approx(2**0.5, abs=0.02)


def test_what_has_no_content_has_no_shape() -> None:
    assert np.isnan(fit(np.zeros((2, 9))).shape).all()
    assert np.isnan(fit_symmetric(np.zeros(9))[0])
    assert not mscn(np.full((20, 20), 200.0), cv2.BORDER_REPLICATE).any()


def test_values_of_one_sign_have_a_fit() -> None:
    found = fit(np.array([1.0, 2, 3, 4]))
    assert (found.left, found.right) == (0, pytest.approx(7.5**0.5))
    assert found.shape == pytest.approx(10), "the largest there is"


def test_a_picture_is_freed_of_its_local_mean_and_contrast() -> None:
    rows, cols = np.mgrid[0:7, 0:7] - 3
    window = np.exp(-(rows**2 + cols**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    grey = np.random.default_rng(2).uniform(0, 255, (7, 7))
    mean = (window * grey).sum()
    contrast = ((window * (grey - mean) ** 2).sum()) ** 0.5
    assert mscn(grey, cv2.BORDER_CONSTANT)[3, 3] == pytest.approx((grey[3, 3] - mean) / (contrast + 1))


def test_products_are_with_the_neighbours_beside_below_and_on_the_diagonals() -> None:
    values = np.arange(1.0, 10).reshape(3, 3)
    beside, below, diagonal, other = products(values)
    assert (beside[1, 1], below[1, 1], diagonal[1, 1], other[1, 1]) == (5 * 4, 5 * 2, 5 * 1, 5 * 3)
    assert beside[1, 0] == 4 * 6, "around the edge"


def test_a_halved_ramp_stays_a_ramp_and_odd_sizes_are_rounded_up() -> None:
    half = halved(np.tile(np.arange(40.0), (33, 1)))
    assert half.shape == (17, 20)
    assert half[8, 4:16] == pytest.approx(2 * np.arange(4, 16) + 0.5), "between the two pixels that it stands for"


def test_detail_of_one_pixel_does_not_fold_over_when_halved() -> None:
    stripes = np.tile([0.0, 200.0], (32, 16))
    assert halved(stripes)[8:-8, 4:-4] == pytest.approx(100, abs=1e-9)


def test_luma_is_in_whole_levels() -> None:
    picture = np.array([[[255, 255, 255], [10, 20, 30], [0, 255, 0]]], np.uint8)
    assert luma(picture).tolist() == [[255, 18, 150]]

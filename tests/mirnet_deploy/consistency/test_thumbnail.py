"""Thumbnails: their pixels are means of areas, and their size suits the engine."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mirnet_deploy.consistency.thumbnail import thumbnail_size
from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.pixels import shrink


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
@pytest.mark.parametrize(
    ("size", "to"), [((64, 96), (16, 24)), ((67, 91), (12, 20)), ((301, 1000), (36, 248)), ((700, 3000), (100, 432))]
)
def test_every_pixel_is_the_mean_of_an_area(dtype, white, size, to) -> None:
    image = (np.random.default_rng(0).random((*size, 3)) * white).astype(dtype)
    expected = cv2.resize(image.astype(np.float32) / white, to[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(shrink(image, to), expected, atol=2e-6)


def test_the_mean_of_the_picture_is_kept() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1203, 3001, 3), dtype=np.uint8)
    np.testing.assert_allclose(shrink(image, (172, 428)).mean((0, 1)), image.mean((0, 1)) / 255, rtol=1e-5)


def test_strides_change_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    np.testing.assert_array_equal(shrink(image[::-1, ::-1], (40, 28)), shrink(image[::-1, ::-1].copy(), (40, 28)))


@pytest.mark.parametrize("size", [(8, 8), (400, 600), (3000, 4000), (10, 100_000), (12_000, 9_000), (1, 1)])
@pytest.mark.parametrize("most", [350_000, 256 * 256])
def test_sizes_keep_the_budget_and_the_shape(size: tuple[int, int], most: int) -> None:
    small = thumbnail_size(*size, most, Limits())
    assert small[0] * small[1] <= most or 4 in small
    for side, length in zip(small, size, strict=True):
        assert side % 4 == 0
        assert side == 4 or side <= length / 4
    if min(small) > 100:
        assert small[0] / small[1] == pytest.approx(size[0] / size[1], rel=0.04)
        assert small[0] * small[1] > 0.95 * min(most, size[0] * size[1] / 16)


@pytest.mark.parametrize("size", [(3000, 4000), (10, 100_000), (900, 900), (20, 20)])
def test_sizes_fit_the_limits_of_a_plan(size: tuple[int, int]) -> None:
    rows, cols = thumbnail_size(*size, 350_000, Limits((1, 16, 24), (1, 256, 384)))
    assert 16 <= rows <= 256
    assert 24 <= cols <= 384

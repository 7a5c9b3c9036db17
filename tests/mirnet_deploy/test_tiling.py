"""The grid: every pixel in one core, everything aligned, halos on all sides but the picture's borders."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from mirnet_deploy.errors import UsageError
from mirnet_deploy.tiling import check_tile, make_grid, padded_side


def sizes():
    fixed = list(itertools.product((4, 8, 60, 64, 68, 128, 132), repeat=2))
    draw = random.Random(7)
    return fixed + [(4 * draw.randint(1, 60), 4 * draw.randint(1, 60)) for _ in range(30)]


@pytest.mark.parametrize(
    ("tile", "halo"), [((64, 64), 16), ((64, 64), 0), ((68, 96), 32), ((20, 12), 4), ((8, 200), 0)]
)
def test_cores_cover_the_picture_once_aligned_and_with_halos(tile, halo):
    for height, width in sizes():
        grid = make_grid(height, width, tile=tile, halo=halo)
        written = np.zeros((height, width), np.uint8)
        for each in grid:
            written[each.core] += 1
            assert each.size == grid.tile_size == (min(tile[0], height), min(tile[1], width))
            for axis, length in enumerate((height, width)):
                start, size = each.origin[axis], each.size[axis]
                core, core_size = each.core_origin[axis], each.core_size[axis]
                assert start >= 0
                assert start + size <= length
                assert core_size > 0
                assert start % 4 == core % 4 == core_size % 4 == 0
                assert (core == start == 0) or core - start >= halo
                end = core + core_size
                assert (end == start + size == length) or start + size - end >= halo
        assert (written == 1).all()


def test_no_more_tiles_than_needed():
    for length in range(68, 1000, 4):
        count = len(make_grid(4, length, tile=(64, 64), halo=16))
        # k tiles with halos cover k * (64 - 32) + 32 pixels.
        assert (count - 1) * 32 + 32 < length <= count * 32 + 32


def test_a_picture_that_fits_is_one_tile_without_halo():
    (tile,) = make_grid(64, 32, tile=(64, 64), halo=32)
    assert tile.window == tile.core == tile.core_in_tile == (slice(0, 64), slice(0, 32))


def test_core_in_tile_and_core_are_the_same_pixels():
    picture = np.arange(200 * 304).reshape(200, 304)
    for tile in make_grid(200, 304, tile=(96, 96), halo=16):
        assert np.array_equal(picture[tile.window][tile.core_in_tile], picture[tile.core])


@pytest.mark.parametrize(
    ("side", "multiple", "minimum", "expected"),
    [(1, 4, 0, 4), (4, 4, 0, 4), (5, 4, 0, 8), (5, 4, 64, 64), (65, 4, 62, 68)],
)
def test_padded_side(side, multiple, minimum, expected):
    assert padded_side(side, multiple, minimum) == expected


@pytest.mark.parametrize(("tile", "halo"), [(66, 0), (64, 32), (0, 0), (-4, 0)])
def test_an_impossible_tile_is_refused(tile, halo):
    with pytest.raises(UsageError, match=f"tile is {tile}"):
        check_tile(tile, halo, 4)
    with pytest.raises(UsageError, match=f"tile is {tile}"):
        make_grid(100, 100, tile=(tile, tile), halo=halo)


@pytest.mark.parametrize(("height", "width", "halo"), [(0, 4, 0), (6, 4, 0), (8, 8, 2), (8, 8, -4)])
def test_a_grid_off_the_multiple_is_refused(height, width, halo):
    with pytest.raises(UsageError, match="expected"):
        make_grid(height, width, tile=(64, 64), halo=halo)

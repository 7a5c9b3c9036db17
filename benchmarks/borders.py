"""Where the cores of tiles meet, and how large an error's steps are there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.tiling import make_grid, padded_side

Pixels = NDArray[np.float32]
"""float32 [H,W,3] RGB; pictures are in [0, 1]."""


def largest_step(error: Pixels, tile: int, halo: int) -> float:
    """The largest step of an error (result less reference) across a border between the cores of two tiles: the error on
    one side less that on the other, averaged over the border's length; in the channel where it is largest."""
    steps = [0.0]
    borders = tile_borders(error.shape[0], error.shape[1], tile, halo)
    for axis in (0, 1):
        along = [0, *borders[1 - axis], error.shape[1 - axis]]
        turned = error if axis == 0 else error.swapaxes(0, 1)
        for border in borders[axis]:
            jump = turned[border] - turned[border - 1]
            steps += [float(np.abs(jump[a:b].mean(axis=0)).max()) for a, b in pairwise(along) if b > a]
    return max(steps)


def tile_borders(height: int, width: int, tile: int, halo: int) -> tuple[list[int], list[int]]:
    """The rows and the columns of a picture at which the cores of two tiles meet: the first of the later one."""
    grid = make_grid(padded_side(height, 4), padded_side(width, 4), tile=(tile, tile), halo=halo)
    rows, columns = ([*sorted({each.core_origin[axis] for each in grid})][1:] for axis in (0, 1))
    return [row for row in rows if row < height], [column for column in columns if column < width]

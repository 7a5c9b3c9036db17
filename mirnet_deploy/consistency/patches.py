"""Which few patches stand for a whole picture: a systematic sample, spread evenly over it.

The means of a network's pools vary over a picture with its light, its colours and its detail, mostly slowly. Patches at
even distances therefore stand for it better than as many drawn at random, or than the typical ones of groups of similar
patches (measured in benchmarks/TILING.md). Source: Cochran, "Sampling Techniques", chapters 7 (regression) and 8
(systematic sampling).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.tiling import Tile, TileGrid, make_grid

PATCHES = 192
"""The most patches in a sample."""
FEWEST = 48
"""The fewest, below which a sample says too little."""
SHARE = 0.4
"""The share of all patches that a sample takes, up to `PATCHES` of them. With every second one, samples fell in step
with a picture (benchmarks/TILING.md)."""
AGAIN = 32
"""So many patches of a sample are measured a second time, or all of fewer."""
SAMPLE_COST = 0.8
"""The most that a sample may cost, as a share of a pass over all tiles. If it costs more, a pass takes its place."""
PATCH = 176
"""The largest side, in pixels of the picture, of a patch's core, over which its means are measured."""
HALO = 0.5
"""The halo of a patch, as a share of a tile's. Means over a patch hardly feel its border; single pixels do."""
_Pair = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True)
class Patches:
    """The patches of a picture and of its thumbnail: the same places, in the same order, row by row.

    The tiles of a list have one size. Their cores cover the picture, or thumbnail, exactly once.
    """

    large: list[Tile]
    """In the padded picture."""
    small: list[Tile]
    """In the thumbnail."""

    @classmethod
    def of(cls, thumbnail: _Pair, grid: TileGrid, limits: Limits) -> Patches | None:
        """Covers the picture of `grid` and its thumbnail, of size (height, width), with patches to draw a sample from.

        Cores begin and end on multiples of 4 in both, so a place in the picture may be off by 2 pixels. None if
        patches would be too small for the thumbnail or the engine, or a sample of them too small or too dear.
        """
        scales = grid.height / thumbnail[0], grid.width / thumbnail[1]
        halo = math.ceil(HALO * grid.halo / 4) * 4
        room = min(PATCH, min(grid.tile_size) - 2 * halo) - 4
        side = int(room / max(scales)) // 4 * 4
        if side < 4:
            return None
        cells = [(cell.core_origin, cell.core_size) for cell in make_grid(*thumbnail, tile=(side, side), halo=0)]
        places = [_scaled(origin, size, scales) for origin, size in cells]
        large, small = _with_halos(places, halo, grid.size), _with_halos(cells, halo, thumbnail)
        sides = *zip(large[0].size, limits.least[1:], strict=True), *zip(small[0].size, limits.least[1:], strict=True)
        if any(side < least for side, least in sides):
            return None
        made = cls(large, small)
        cost = (made.count + made.again) * math.prod(large[0].size) / (len(grid) * math.prod(grid.tile_size))
        return None if made.count < FEWEST or cost > SAMPLE_COST else made

    @property
    def count(self) -> int:
        """Patches in a sample of these."""
        return min(PATCHES, math.ceil(len(self.large) * SHARE))

    @property
    def again(self) -> int:
        """How many of them are measured a second time."""
        return min(AGAIN, self.count)


def evenly(areas: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Picks at most `count` of the patches with these `areas`, [n], at even distances along their order: indices,
    ascending. One of twice the area is as likely to be picked as two.

    >>> evenly(np.ones(6), 2)
    array([1, 4])
    """
    middles = (np.arange(count) + 0.5) / count * areas.sum()
    return np.unique(np.searchsorted(np.cumsum(areas), middles))


def regression_estimate(
    seen: NDArray[np.float64], known: NDArray[np.float64], of_all: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Estimates the mean over a whole picture, [K], of what was seen in a sample.

    The sample's mean of `known` differs from `of_all`. This difference times the slope of `seen` over `known` in the
    sample is how far the sample's mean of `seen` is off (Cochran, "Sampling Techniques", chapter 7).

    >>> regression_estimate(np.array([[1.0], [3.0]]), np.array([[10.0], [20.0]]), of_all=np.array([18.0]))
    array([2.6])

    Args:
        seen: [n,K], what was measured on each patch of the sample.
        known: [n,K], a similar quantity in the same places, here what was measured on the thumbnail.
        of_all: [K], the mean of `known` over everything.
    """
    seen_mean, known_mean = seen.mean(0), known.mean(0)
    spread = ((known - known_mean) ** 2).mean(0)
    slope = ((seen - seen_mean) * (known - known_mean)).mean(0) / np.maximum(spread, np.finfo(np.float32).tiny)
    return np.asarray(seen_mean + slope * (of_all - known_mean))


def _scaled(origin: _Pair, size: _Pair, scales: tuple[float, float]) -> tuple[_Pair, _Pair]:
    """Where a part of a thumbnail lies in the picture: origin and size, multiples of 4."""
    first = [round(start * scale / 4) * 4 for start, scale in zip(origin, scales, strict=True)]
    last = [round((a + b) * scale / 4) * 4 for a, b, scale in zip(origin, size, scales, strict=True)]
    return (first[0], first[1]), (last[0] - first[0], last[1] - first[1])


def _with_halos(cores: Sequence[tuple[_Pair, _Pair]], halo: int, bounds: _Pair) -> list[Tile]:
    """Tiles of one size around cores (origin and size), with at least `halo` pixels on every side, except at the border
    of the picture, whose height and width are `bounds`."""
    height, width = (min(max(size[axis] for _, size in cores) + 2 * halo, bounds[axis]) for axis in (0, 1))
    tiles = []
    for origin, core_size in cores:
        row = max(0, min(origin[0] - halo, bounds[0] - height))
        col = max(0, min(origin[1] - halo, bounds[1] - width))
        tiles.append(Tile((row, col), (height, width), origin, core_size))
    return tiles

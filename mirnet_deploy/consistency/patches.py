"""Which few patches stand for a whole picture: a stratified sample, drawn by what picture and thumbnail show.

The means of a network's pools vary over a picture with its light, its colours and its detail. Patches are therefore
sorted into strata of similar ones. In each stratum only the patch nearest to the middle is measured, and counts for the
whole stratum. Source: stratified sampling, Cochran, "Sampling Techniques", chapter 5; the strata are cut as a
regression tree cuts, Breiman et al., "Classification and Regression Trees".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.consistency.thumbnail import Guess, Thumbnail
from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.pixels import SCALES, Source
from mirnet_deploy.tiling import Tile, TileGrid, make_grid

PATCHES = 80
"""Patches in a sample. Their number, not their share of the picture, decides how well they stand for it."""
SAMPLE_COST = 0.8
"""The most that a sample may cost, as a share of a pass over all tiles. If it costs more, a pass takes its place."""
PATCH = 256
"""The largest side, in pixels of the picture, of a patch's core, over which its means are measured."""
_Pair = tuple[int, int]
"""Rows and columns."""
_DARK = 0.01
"""Added before logarithms, so that black is not infinitely far from almost black; in units of [0, 1]."""


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
        patches would be too small for the thumbnail or the engine, if there are no more than `PATCHES`, or if a sample
        would cost more than `SAMPLE_COST`.
        """
        scales = grid.height / thumbnail[0], grid.width / thumbnail[1]
        room = min(PATCH, min(grid.tile_size) - 2 * grid.halo) - 4
        side = int(room / max(scales)) // 4 * 4
        if side < 4:
            return None
        cells = [(cell.core_origin, cell.core_size) for cell in make_grid(*thumbnail, tile=(side, side), halo=0)]
        places = [_scaled(origin, size, scales) for origin, size in cells]
        large, small = _with_halos(places, grid.halo, grid.size), _with_halos(cells, grid.halo, thumbnail)
        sides = *zip(large[0].size, limits.least[1:], strict=True), *zip(small[0].size, limits.least[1:], strict=True)
        if any(side < least for side, least in sides):
            return None
        cost = PATCHES * math.prod(large[0].size) / (len(grid) * math.prod(grid.tile_size))
        return None if len(large) <= PATCHES or cost > SAMPLE_COST else cls(large, small)


def describe(image: Source, patches: Patches, thumbnail: Thumbnail, guess: Guess) -> NDArray[np.float64]:
    """Brightness and colour of every patch, before and after enhancement, its contrasts and its detail.

    Returns:
        float64 [n,9]: in the thumbnail, the logarithm of the mean red, green and blue before; the mean red, green and
        blue after; the standard deviation of grey before and after; and, in the picture, the logarithm of the mean
        absolute difference of green between neighbours in a row. Each column has mean 0 and standard deviation 1, or
        0 where all patches are alike.
    """
    white = SCALES[image.dtype]
    rows = []
    for large, small in zip(patches.large, patches.small, strict=True):
        before, after = (pixels[small.core].reshape(-1, 3) for pixels in (thumbnail.pixels, guess.enhanced))
        green = image[large.core][..., 1].astype(np.float32)
        detail = np.abs(np.diff(green, axis=1)).mean() / white
        contrasts = before.mean(1).std(), after.mean(1).std(), np.log(detail + _DARK / 4)
        rows.append([*np.log(before.mean(0) + _DARK), *after.mean(0), *contrasts])
    features = np.array(rows, np.float64)
    return np.asarray((features - features.mean(0)) / (features.std(0) + 1e-9))


def representatives(
    features: NDArray[np.float64], areas: NDArray[np.float64], count: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Picks `count` rows of `features`, [n,f], or all if there are fewer, to stand for all rows. `areas` is [n].

    The stratum that scatters most along one feature is cut in two where that removes most of the scatter, until there
    are `count` strata. The row nearest to a stratum's mean stands for it.

    >>> representatives(np.array([[0.0], [0.1], [0.2], [5.0], [5.2]]), np.array([1.0, 1, 2, 1, 3]), 2)
    (array([1, 4]), array([0.5, 0.5]))

    Returns:
        Indices of rows, ascending, [m], and the share of the total area that each stands for, [m]; the shares sum to 1.
    """
    strata = [np.arange(len(features))]
    scatter = [_scatter(features, areas)]
    while len(strata) < min(count, len(features)):
        widest = int(np.argmax([part.max() for part in scatter]))
        stratum, axis = strata.pop(widest), int(np.argmax(scatter.pop(widest)))
        for part in _cut(stratum, features[stratum, axis], areas[stratum]):
            strata.append(part)
            scatter.append(_scatter(features[part], areas[part]))
    picks = []
    for stratum in strata:
        middle = np.average(features[stratum], axis=0, weights=areas[stratum])
        picks.append(stratum[np.argmin(((features[stratum] - middle) ** 2).sum(axis=1))])
    shares = np.array([areas[stratum].sum() for stratum in strata]) / areas.sum()
    order = np.argsort(picks)
    return np.array(picks)[order], shares[order]


def regression_estimate(
    seen: NDArray[np.float64], known: NDArray[np.float64], shares: NDArray[np.float64], of_all: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Estimates the mean over a whole picture, [K], of what was seen in a sample.

    The sample's mean of `known` differs from `of_all`. This difference times the slope of `seen` over `known` in the
    sample is how far the sample's mean of `seen` is off (Cochran, "Sampling Techniques", chapter 7).

    >>> seen, known, shares = np.array([[1.0], [3.0]]), np.array([[10.0], [20.0]]), np.array([0.5, 0.5])
    >>> regression_estimate(seen, known, shares, of_all=np.array([18.0]))
    array([2.6])

    Args:
        seen: [n,K], what was measured on each patch of the sample.
        known: [n,K], a similar quantity in the same places, here what was measured on the thumbnail.
        shares: [n], the share of the picture that each patch stands for; they sum to 1.
        of_all: [K], the mean of `known` over everything.
    """
    seen_mean, known_mean = shares @ seen, shares @ known
    spread = shares @ (known - known_mean) ** 2
    slope = (shares @ ((seen - seen_mean) * (known - known_mean))) / np.maximum(spread, np.finfo(np.float32).tiny)
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


def _scatter(features: NDArray[np.float64], areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of squares around the mean, weighted by `areas`, [n], for each feature of `features`, [n,f]: [f].

    -1 for a single row, which cannot be cut.
    """
    if len(features) == 1:
        return np.full(features.shape[1], -1.0)
    middle = np.average(features, axis=0, weights=areas)
    return np.asarray((areas[:, None] * (features - middle) ** 2).sum(axis=0))


def _cut(
    stratum: NDArray[np.intp], values: NDArray[np.float64], areas: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cuts a stratum, indices [n], in two by one feature, `values` [n], where that removes most of the scatter.

    Returns:
        The indices of the two parts, those of the smaller values first.
    """
    order = np.argsort(values, kind="stable")
    area, moment = np.cumsum(areas[order]), np.cumsum((areas * values)[order])
    between = moment[:-1] ** 2 / area[:-1] + (moment[-1] - moment[:-1]) ** 2 / (area[-1] - area[:-1])
    first = int(np.argmax(between)) + 1
    return stratum[order[:first]], stratum[order[first:]]

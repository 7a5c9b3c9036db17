"""The grid of tiles over one picture: pure geometry, no pixels.

A grid is made for the *padded* picture, whose sides are multiples of the network's size multiple. All tiles have one
size, so any of them may share a batch. The last ones end at the border instead of reaching beyond it, and the extra
overlap is spread evenly. Every origin and every edge of a core is a multiple of the size multiple: the coarse levels of
the network then sample the same places in every tile (an origin that is not costs an error of 0.1). Cores cover the
picture exactly once. Between the edge of a core and the edge of its tile lie at least `halo` pixels, except at the
border of the picture, where the core ends with the tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from mirnet_deploy.errors import UsageError

Window = tuple[slice, slice]
"""Rows and columns."""
BORDER_ERROR = 0.1 / 255
"""The most that the border of a tile may add to the error of a pixel, of a range of 1, where the means are exact. Halos
are measured to stay within it, and predictions of errors include it."""


@dataclass(frozen=True)
class Tile:
    """One tile. All positions are (row, column) in pixels of the padded picture unless said otherwise."""

    origin: tuple[int, int]
    """First row and first column."""
    size: tuple[int, int]
    """Height and width."""
    core_origin: tuple[int, int]
    """First row and first column of the core, the part whose output is kept."""
    core_size: tuple[int, int]

    @property
    def window(self) -> Window:
        """The whole tile, as slices of the picture."""
        return _window(self.origin, self.size)

    @property
    def core(self) -> Window:
        """The core, as slices of the picture."""
        return _window(self.core_origin, self.core_size)

    @property
    def core_area(self) -> int:
        """Pixels in the core: the weight of the tile in the means of the picture."""
        return self.core_size[0] * self.core_size[1]

    @property
    def core_in_tile(self) -> Window:
        """The core, as slices of the tile."""
        return _window(
            (self.core_origin[0] - self.origin[0], self.core_origin[1] - self.origin[1]),
            self.core_size,
        )


@dataclass(frozen=True)
class TileGrid:
    """The tiles of one picture, row by row.

    Iterating gives the tiles, as often as wanted. The areas of their cores sum to the area of the padded picture.
    """

    height: int
    """Of the padded picture."""
    width: int
    tile_size: tuple[int, int]
    """Height and width of every tile."""
    halo: int
    tiles: tuple[Tile, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the padded picture."""
        return self.height, self.width

    @property
    def area(self) -> int:
        """Pixels of the padded picture."""
        return self.height * self.width

    def __iter__(self) -> Iterator[Tile]:
        return iter(self.tiles)

    def __len__(self) -> int:
        return len(self.tiles)


def check_tile(tile: int, halo: int, multiple: int) -> None:
    """Checks the side of a tile along an axis that may have to be cut.

    Raises:
        UsageError: `tile` is not a multiple of `multiple`, or leaves no core between two halos.
    """
    if tile % multiple or tile <= 2 * halo:
        raise UsageError(
            f"tile is {tile}; expected a multiple of {multiple} and more than {2 * halo} (twice the halo of {halo})"
        )


def padded_side(side: int, multiple: int, minimum: int = 0) -> int:
    """The smallest multiple of `multiple` that is at least `side` and `minimum`."""
    return -(-max(side, minimum) // multiple) * multiple


def make_grid(height: int, width: int, *, tile: tuple[int, int], halo: int, multiple: int = 4) -> TileGrid:
    """Covers a padded picture of `height` x `width` pixels with tiles of at most `tile` (height, width).

    An axis along which the picture fits into the tile is not cut.

    >>> for tile in make_grid(64, 160, tile=(96, 96), halo=16):
    ...     print(tile.origin, tile.size, tile.core_origin, tile.core_size)
    (0, 0) (64, 96) (0, 0) (64, 80)
    (0, 64) (64, 96) (0, 80) (64, 80)

    Raises:
        UsageError: a value is not a multiple of `multiple`, or the tile leaves no core along an axis that must be cut.
    """
    if height < multiple or width < multiple or height % multiple or width % multiple:
        raise UsageError(f"the padded picture is {width}x{height}; expected multiples of {multiple}")
    if halo < 0 or halo % multiple:
        raise UsageError(f"halo is {halo}; expected a multiple of {multiple}")
    rows = _cut(height, tile[0], halo, multiple)
    cols = _cut(width, tile[1], halo, multiple)
    size = (min(tile[0], height), min(tile[1], width))
    tiles = tuple(
        Tile((row, col), size, (top, left), (bottom - top, right - left))
        for row, top, bottom in rows
        for col, left, right in cols
    )
    return TileGrid(height, width, size, halo, tiles)


def rows_of(tiles: Iterable[Tile]) -> list[list[Tile]]:
    """Tiles that are given row by row, as lists of those that begin at the same height."""
    return [list(row) for _, row in groupby(tiles, key=lambda tile: tile.origin[0])]


def _cut(length: int, tile: int, halo: int, multiple: int) -> list[tuple[int, int, int]]:
    """Cuts one axis of `length` pixels: (origin, start of the core, end of the core) of every tile."""
    if length <= tile:
        return [(0, 0, length)]
    check_tile(tile, halo, multiple)
    stride = tile - 2 * halo  # the largest distance between the origins of two neighbours
    gaps = -(-(length - tile) // stride)
    # Rounding down keeps every distance within one multiple of the mean. The mean is at most the stride, which is a
    # multiple too: so no distance exceeds the stride, and every overlap is at least two halos.
    origins = [(length - tile) * i // (gaps * multiple) * multiple for i in range(gaps + 1)]
    edges = [0]
    for left, right in pairwise(origins):
        overlap = left + tile - right
        edges.append(right + overlap // (2 * multiple) * multiple)
    edges.append(length)
    return [(origin, *core) for origin, core in zip(origins, pairwise(edges), strict=True)]


def _window(origin: tuple[int, int], size: tuple[int, int]) -> Window:
    return slice(origin[0], origin[0] + size[0]), slice(origin[1], origin[1] + size[1])

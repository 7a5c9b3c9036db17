"""What kernels and engines must know about the tiles of a pass, as one block of the device's memory, read by offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.arguments import CORE, ORIGIN
from mirnet_deploy.devices.base import Tensor
from mirnet_deploy.tiling import Tile


@dataclass(frozen=True)
class TileTable:
    """Some tiles of one size. The last is repeated `filling` times, for engines that take no smaller batch.

    The block at `address` holds, one after another, `rows`, `cols`, an `ORIGIN` per tile and a `CORE` per tile.
    """

    tiles: tuple[Tile, ...]
    filling: int
    address: int

    @staticmethod
    def nbytes(count: int, size: tuple[int, int]) -> int:
        """Bytes of a table of `count` tiles (with the filling) of `size` (height, width)."""
        return count * (4 * sum(size) + ORIGIN.itemsize + CORE.itemsize)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the tiles."""
        return self.tiles[0].size

    @property
    def count(self) -> int:
        """The number n of tiles, with the filling."""
        return len(self.tiles) + self.filling

    @property
    def rows(self) -> Tensor:
        """float32 [n,height]: 1 for the rows of the core, else 0."""
        return Tensor(self.address, (self.count, self.size[0]))

    @property
    def cols(self) -> Tensor:
        """float32 [n,width]: 1 for the columns of the core, else 0."""
        return Tensor(self.address + self.rows.nbytes, (self.count, self.size[1]))

    def origins(self, first: int) -> int:
        """The address of the `ORIGIN` of tile `first`; those of the next ones follow."""
        return self.address + self.rows.nbytes + self.cols.nbytes + first * ORIGIN.itemsize

    def cores(self, first: int = 0) -> int:
        """The address of the `CORE` of tile `first`; those of the next ones follow."""
        return self.origins(self.count) + first * CORE.itemsize


def packed(tiles: Sequence[Tile], filling: int) -> NDArray[np.uint8]:
    """The block of a `TileTable`, uint8 [nbytes]."""
    height, width = tiles[0].size
    filled = [*tiles, *[tiles[-1]] * filling]
    rows, cols = np.zeros((len(filled), height), np.float32), np.zeros((len(filled), width), np.float32)
    for index, tile in enumerate(filled):
        rows[index, tile.core_in_tile[0]] = 1
        cols[index, tile.core_in_tile[1]] = 1
    origins = np.array([tile.origin for tile in filled], ORIGIN)
    cores = np.array([_core(tile) for tile in filled], CORE)
    parts: tuple[NDArray[Any], ...] = rows, cols, origins, cores
    return np.concatenate([part.reshape(-1).view(np.uint8) for part in parts])


def _core(tile: Tile) -> tuple[int, ...]:
    """The fields of the tile's `CORE`."""
    inner = tile.core_in_tile
    return inner[0].start, inner[1].start, *tile.core_origin, *tile.core_size

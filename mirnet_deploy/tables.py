"""What kernels and engines must know of the tiles of a pass, in the device's memory: uploaded once, read by offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import Driver
from mirnet_deploy.engines.base import Tensor
from mirnet_deploy.lanes import Lane
from mirnet_deploy.metadata import STATISTICS
from mirnet_deploy.tiling import Tile


@dataclass(frozen=True)
class TileTable:
    """Some tiles of one size; the last is repeated `filling` times, for engines that take no smaller batch."""

    name: str
    tiles: Sequence[Tile]
    rows: Tensor
    """Float32 [n,height]: 1 in the core, else 0."""
    cols: Tensor
    """As `rows`, [n,width]."""
    _origins: int
    _cores: int

    @classmethod
    def upload(cls, driver: Driver, lane: Lane, name: str, tiles: Sequence[Tile], filling: int) -> TileTable:
        """Into a buffer of `lane` that is called `name`, on its stream; what is there already is not uploaded again."""
        held = lane.tables.get(name)
        if held and held.rows.shape[0] == len(tiles) + filling and tuple(tiles) == tuple(held.tiles):
            return cast(TileTable, held)
        lane.stream.synchronize()  # the staging may be on its way yet
        height, width = tiles[0].size
        filled = [*tiles, *[tiles[-1]] * filling]
        rows, cols = np.zeros((len(filled), height), np.float32), np.zeros((len(filled), width), np.float32)
        for index, tile in enumerate(filled):
            rows[index, tile.core_in_tile[0]] = 1
            cols[index, tile.core_in_tile[1]] = 1
        origins = np.array([tile.origin for tile in filled], np.int32)
        parts: list[NDArray[Any]] = [rows, cols, origins, np.array([_core(tile) for tile in filled], np.int32)]
        packed = lane.staging(name, (sum(part.nbytes for part in parts),), np.uint8)
        address = lane.buffer(name, packed.nbytes)
        addresses, at = [], 0
        for part in parts:
            packed[at : at + part.nbytes] = part.reshape(-1).view(np.uint8)
            addresses.append(address + at)
            at += part.nbytes
        driver.upload(packed[None], address, packed.nbytes, lane.stream)
        weights = Tensor(addresses[0], rows.shape), Tensor(addresses[1], cols.shape)
        table = lane.tables[name] = cls(name, tiles, *weights, *addresses[2:])
        return table

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the tiles."""
        return self.tiles[0].size

    def pools(self, lane: Lane, context: Tensor, mode: Tensor) -> dict[str, Tensor]:
        """What an engine takes and gives besides pictures; the statistics are a buffer of `lane`."""
        count, size = self.rows.shape[0], context.shape[1]
        statistics = Tensor(lane.buffer(f"{self.name} statistics", count * size * 4), (count, size))
        return {"context": context, "mode": mode, "rows": self.rows, "cols": self.cols, STATISTICS: statistics}

    def origins(self, first: int) -> np.uintp:
        """For `cut`, from tile `first` on."""
        return np.uintp(self._origins + first * 8)

    def cores(self, first: int) -> np.uintp:
        """For `put` and `defect`."""
        return np.uintp(self._cores + first * 24)


def _core(tile: Tile) -> tuple[int, ...]:
    inner = tile.core_in_tile
    return inner[0].start, inner[1].start, *tile.core_origin, *tile.core_size

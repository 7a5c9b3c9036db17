"""The table of tiles in memory: every value at the place where kernels and engines read it."""

from __future__ import annotations

import numpy as np
import pytest

from mirnet_deploy.devices.arguments import CORE, ORIGIN
from mirnet_deploy.devices.host_kernels import at
from mirnet_deploy.pipeline.tile_table import TileTable, packed
from mirnet_deploy.tiling import make_grid


@pytest.mark.parametrize("filling", [0, 3])
def test_every_value_lies_where_it_is_read(filling: int) -> None:
    tiles = make_grid(152, 204, tile=(64, 80), halo=12).tiles
    block = packed(tiles, filling)
    table = TileTable(tiles, filling, block.ctypes.data)
    assert table.count == len(tiles) + filling
    assert len(block) == TileTable.nbytes(table.count, (64, 80))
    filled = [*tiles, *[tiles[-1]] * filling]
    weights = at(table.rows.address, table.rows.shape, np.float32), at(table.cols.address, table.cols.shape, np.float32)
    for number, tile in enumerate(filled):
        ones = np.zeros(tile.size, np.float32)
        ones[tile.core_in_tile] = 1
        np.testing.assert_array_equal(np.outer(weights[0][number], weights[1][number]), ones)
        assert at(table.origins(number), (1,), ORIGIN).tolist() == [tile.origin]
        inner = tile.core_in_tile[0].start, tile.core_in_tile[1].start
        assert at(table.cores(number), (1,), CORE).tolist() == [(*inner, *tile.core_origin, *tile.core_size)]

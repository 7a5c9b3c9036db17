"""Pictures that lie on a device already: a fixed number of passes is enqueued, and nothing waits.

The means are found as in `consistency`, by vectors that never leave the device. What that has more of, a sample of
patches and a prediction of the error, needs the host, and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mirnet_deploy.batches import Feeder
from mirnet_deploy.devices.base import KINDS, Driver, Frame
from mirnet_deploy.engines.base import CORRECTED, GIVEN, Tensor, batch_dtype
from mirnet_deploy.frames import as_bytes
from mirnet_deploy.lanes import Lane
from mirnet_deploy.metadata import STATISTICS
from mirnet_deploy.tables import TileTable
from mirnet_deploy.tiling import Tile, TileGrid


def enqueue_picture(
    feeder: Feeder,
    lanes: Sequence[Lane],
    source: Frame,
    target: Frame,
    grid: TileGrid,
    thumbnail: tuple[int, int] | None = None,
    passes: int = 1,
) -> None:
    """Enhances `source` into `target`, after what the first lane's stream holds now.

    Args:
        grid: the tiles of the padded picture.
        thumbnail: height and width, as of `thumbnail_size`; None for the plain network, every tile by itself.
        passes: over the tiles; each takes the means that the one before it found.

    Raises:
        EngineError: the engine or the device refuses.
    """
    driver, lane = feeder.engine.driver, lanes[0]
    table = TileTable.upload(driver, lane, "device tiles", grid.tiles, feeder.filling)
    if thumbnail is None:
        feeder.enqueue(lanes, source, target, table, grid.size)
        return
    dtype = batch_dtype(feeder.engine.metadata)
    small = shrunk(driver, lane, source, thumbnail, "device small", dtype)
    whole = Tile((0, 0), thumbnail, (0, 0), thumbnail)
    one = TileTable.upload(driver, lane, "device thumbnail", (whole,), feeder.filling)
    size = feeder.engine.metadata.context
    zeros, corrected, given = _constants(feeder, lane, size)
    context, lacking = (Tensor(lane.buffer(f"device {name}", size * 4), (1, size)) for name in ("context", "defect"))
    guess = one.pools(lane, lacking, corrected)
    passed = table.pools(lane, context, given)
    measured, length = np.uintp(guess[STATISTICS].address), np.int32(size)
    places = [np.uintp(tensor.address) for tensor in (zeros, context, lacking)]
    threads = (size, 1, 1)
    driver.launch("correct", threads, (places[0], places[0], places[2], length), lane.stream)  # no defect is known yet
    for number in range(passes):
        feeder.enqueue(lanes[:1], small, None, one, thumbnail, guess)
        driver.launch("correct", threads, (measured, places[2], places[1], length), lane.stream)
        feeder.enqueue(lanes, source, target, table, grid.size, passed)
        if number + 1 < passes:
            found = np.uintp(passed[STATISTICS].address), table.cores(0), np.int32(len(grid))
            driver.launch("defect", threads, (*found, measured, places[2], length), lane.stream)


def shrunk(driver: Driver, lane: Lane, source: Frame, size: tuple[int, int], name: str, dtype: np.dtype[Any]) -> Frame:
    """A picture made small on the device, RGB, in the buffer of `lane` that is called `name`."""
    height, width = size
    pitch = width * 3 * dtype.itemsize
    small = Frame(lane.buffer(name, height * pitch), pitch, height, width, dtype)
    rest = np.uintp(small.address), np.int64(pitch), np.int32(height), np.int32(width), np.int32(KINDS[dtype])
    driver.launch("shrink", (width, height, 1), (*source.arguments, *rest), lane.stream)
    return small


def _constants(feeder: Feeder, lane: Lane, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros, [1,K], and the two modes; uploaded once to every lane."""
    known = lane.knows("device constants")
    address = lane.buffer("device constants", (size + 4) * 4)
    if not known:
        values = lane.staging("device constants", (1, size + 4), np.float32)
        values[0] = np.concatenate([np.zeros(size), CORRECTED, GIVEN])
        feeder.engine.driver.upload(as_bytes(values), address, values.nbytes, lane.stream)
    corrected, given = (Tensor(address + (size + at) * 4, (2,)) for at in (0, 2))
    return Tensor(address, (1, size)), corrected, given

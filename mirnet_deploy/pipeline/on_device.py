"""Pictures that lie on a device already: a fixed number of passes is enqueued, and nothing waits.

The means are found as in `consistency`, by vectors that never leave the device. The rest of that method, a sample of
patches and a prediction of the error, needs the host and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.context import CORRECTED, GIVEN, STATISTICS
from mirnet_deploy.devices.base import DevicePicture, Tensor
from mirnet_deploy.devices.kernels import correct, defect, shrink
from mirnet_deploy.pipeline.feeder import Feeder, pool_tensors
from mirnet_deploy.pipeline.slots import Slot
from mirnet_deploy.tiling import Tile, TileGrid


def enqueue_picture(
    feeder: Feeder,
    slots: Sequence[Slot],
    source: DevicePicture,
    target: DevicePicture,
    grid: TileGrid,
    thumbnail: tuple[int, int] | None,
    passes: int,
) -> None:
    """Enhances `source` into `target`, after what the first slot's stream holds now.

    Args:
        grid: the tiles of the padded picture.
        thumbnail: height and width, as of `thumbnail_size`; None for the plain network, every tile by itself.
        passes: over the tiles; each takes the means that the one before it found.

    Raises:
        EngineError: the engine or the device refuses.
    """
    slot, metadata = slots[0], feeder.engine.metadata
    driver, stream = slot.driver, slot.stream
    table = slot.tile_table("device tiles", grid.tiles, feeder.filling)
    if thumbnail is None:
        feeder.enqueue(slots, source, target, table, grid.size)
        return
    small = shrunk(slot, source, thumbnail, "device small", metadata.batch_dtype)
    whole = Tile((0, 0), thumbnail, (0, 0), thumbnail)
    one = slot.tile_table("device thumbnail", (whole,), feeder.filling)
    size = metadata.context
    zeros, corrected, given = _constants(slot, size)
    context, lacking = (Tensor(slot.buffer(f"device {name}", size * 4), (1, size)) for name in ("context", "defect"))
    guess = pool_tensors(slot, "device thumbnail", one, lacking, corrected)
    passed = pool_tensors(slot, "device tiles", table, context, given)
    measured = Tensor(guess[STATISTICS].address, (1, size))
    correct(driver, stream, zeros, zeros, lacking)  # no defect is known yet
    for number in range(passes):
        feeder.enqueue(slots[:1], small, None, one, thumbnail, guess)
        correct(driver, stream, measured, lacking, context)
        feeder.enqueue(slots, source, target, table, grid.size, passed)
        if number + 1 < passes:
            defect(driver, stream, passed[STATISTICS], table.cores(), len(grid), measured, lacking)


def nbytes(context: int) -> int:
    """Memory of the device for the vectors of means and modes."""
    return 4 * (3 * context + 4)


def shrunk(slot: Slot, source: DevicePicture, size: tuple[int, int], name: str, dtype: np.dtype[Any]) -> DevicePicture:
    """A picture made small on the device, RGB, in a buffer of `slot` of that name."""
    height, width = size
    pitch = width * 3 * dtype.itemsize
    small = DevicePicture(slot.buffer(name, height * pitch), pitch, height, width, dtype)
    shrink(slot.driver, slot.stream, source, small)
    return small


def _constants(slot: Slot, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros, float32 [1,K], and the modes `CORRECTED` and `GIVEN`; uploaded to every slot once."""
    known = slot.knows("device constants")
    address = slot.buffer("device constants", (size + 4) * 4)
    if not known:
        values = slot.staging("device constants", (1, size + 4), np.float32)
        values[0] = np.concatenate([np.zeros(size), CORRECTED, GIVEN])
        slot.upload(values, address)
    corrected, given = (Tensor(address + (size + at) * 4, (2,)) for at in (0, 2))
    return Tensor(address, (1, size)), corrected, given

"""Pictures that lie on a device already: a fixed number of passes is enqueued, and none of the results is waited for.

The means are found as in `consistency`, with vectors that never leave the device. The rest of that method, a sample of
patches and a prediction of the error, needs the host and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.context import CORRECTED, GIVEN, STATISTICS
from mirnet_deploy.devices import kernels
from mirnet_deploy.devices.base import DevicePicture, Tensor
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
    """Enqueues the enhancement of `source` into `target`, after what the first slot's stream holds now.

    Args:
        grid: the tiles of the padded picture.
        thumbnail: height and width as from `thumbnail_size`; None where every tile uses the means of its own pixels.
        passes: over the tiles; each one after the first uses the means that the one before has corrected.

    Raises:
        EngineError: the engine or the device refuses.
    """
    slot, metadata = slots[0], feeder.engine.metadata
    driver, stream = slot.driver, slot.stream
    table = slot.tile_table("device tiles", grid.tiles, feeder.filling)
    if thumbnail is None:
        feeder.enqueue(slots, source, target, table, grid.size)
        return
    small = shrink_on_device(slot, source, thumbnail, "device small", metadata.batch_dtype)
    whole = Tile((0, 0), thumbnail, (0, 0), thumbnail)
    one = slot.tile_table("device thumbnail", (whole,), feeder.filling)
    size = metadata.context
    zeros, corrected, given = _constants(slot, size)
    context, defect = (Tensor(slot.buffer(f"device {name}", size * 4), (1, size)) for name in ("context", "defect"))
    guess = pool_tensors(slot, "device thumbnail", one, defect, corrected)
    passed = pool_tensors(slot, "device tiles", table, context, given)
    measured = Tensor(guess[STATISTICS].address, (1, size))
    kernels.correct(driver, stream, zeros, zeros, defect)  # no defect is known yet
    for number in range(passes):
        feeder.enqueue(slots[:1], small, None, one, thumbnail, guess)
        kernels.correct(driver, stream, measured, defect, context)
        feeder.enqueue(slots, source, target, table, grid.size, passed)
        if number + 1 < passes:
            kernels.defect(driver, stream, passed[STATISTICS], table.cores(), len(grid), measured, defect)


def nbytes(context: int) -> int:
    """Bytes of the device's memory for the vectors of means, three of [K] with K as `context`, and two modes."""
    return 4 * (3 * context + 4)


def shrink_on_device(
    slot: Slot, source: DevicePicture, size: tuple[int, int], name: str, dtype: np.dtype[Any]
) -> DevicePicture:
    """Enqueues shrinking a picture on the device to `size` (height, width): RGB of `dtype`, uint8 or float32, in the
    buffer of `slot` called `name`."""
    height, width = size
    pitch = width * 3 * dtype.itemsize
    small = DevicePicture(slot.buffer(name, height * pitch), pitch, height, width, dtype)
    kernels.shrink(slot.driver, slot.stream, source, small)
    return small


def _constants(slot: Slot, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros, float32 [1,K] with K as `size`, and the modes `CORRECTED` and `GIVEN`, float32 [2]. Uploaded once per
    slot."""
    values = np.concatenate([np.zeros(size), CORRECTED, GIVEN]).astype(np.float32)
    address = slot.constants("device constants", values)
    corrected, given = (Tensor(address + (size + at) * 4, (2,)) for at in (0, 2))
    return Tensor(address, (1, size)), corrected, given

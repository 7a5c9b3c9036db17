"""Pictures that lie on a device already: a fixed number of passes is enqueued, and none of the results is waited for.

The means are found as in `consistency`, with vectors that never leave the device. The sample of patches, which that
method also has, needs the host and is left out. What is known in the end, the difference that predicts the error, the
gain and the number of flaws, is gathered in a report on the device (`reports`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.context import CORRECTED, GIVEN, STATISTICS
from mirnet_deploy.devices import kernels, result_kernels
from mirnet_deploy.devices.arguments import REPORT
from mirnet_deploy.devices.base import DevicePicture, Tensor
from mirnet_deploy.pipeline.feeder import Feeder, pool_tensors
from mirnet_deploy.pipeline.reports import NAME
from mirnet_deploy.pipeline.slots import Slot
from mirnet_deploy.pipeline.tile_table import TileTable
from mirnet_deploy.tiling import Tile, TileGrid

WIDE_BYTES = 6
"""Bytes of a pixel of 16 bits."""


@dataclass(frozen=True)
class Finish:
    """What is done to a result after the network."""

    brightness: float | None
    """As in `RuntimeSettings`; None for "auto"."""
    strength: float
    widened: bool
    """Whether a picture of 8 bits is worked on in 16 until it is finished."""


def enqueue_picture(
    feeder: Feeder,
    slots: Sequence[Slot],
    source: DevicePicture,
    target: DevicePicture,
    grid: TileGrid,
    thumbnail: tuple[int, int] | None,
    passes: int,
    finish: Finish,
) -> None:
    """Enqueues the enhancement of `source` into `target`, after what the first slot's stream holds now.

    The first slot's report (`reports.NAME`) says what is known of it.

    Args:
        grid: the tiles of the padded picture.
        thumbnail: height and width as from `thumbnail_size`; None where every tile uses the means of its own pixels.
        passes: over the tiles; each one after the first uses the means that the one before has corrected.

    Raises:
        EngineError: the engine or the device refuses.
    """
    slot = slots[0]
    report = slot.buffer(NAME, REPORT.itemsize)
    result_kernels.clear(slot.driver, slot.stream, report, REPORT.itemsize)
    result = _wide(slot, target) if finish.widened else target
    table = slot.tile_table("device tiles", grid.tiles, feeder.filling)
    if thumbnail is None:
        feeder.enqueue(slots, source, result, table, grid.size, result_kernels.flaws_of(report))
    else:
        _enqueue_passes(feeder, slots, source, result, table, grid, thumbnail, passes, report)
    _enqueue_finish(slot, source, result, target, finish, report)


def _enqueue_passes(
    feeder: Feeder,
    slots: Sequence[Slot],
    source: DevicePicture,
    result: DevicePicture,
    table: TileTable,
    grid: TileGrid,
    thumbnail: tuple[int, int],
    passes: int,
    report: int,
) -> None:
    """Enqueues passes over tiles that share their means, and the difference between the thumbnail as the last pass had
    its means and as they are after it."""
    slot, metadata = slots[0], feeder.engine.metadata
    driver, stream, flaws = slot.driver, slot.stream, result_kernels.flaws_of(report)
    feeder.reserve(slots, len(grid), grid.tile_size, thumbnail)
    small = shrink_on_device(slot, source, thumbnail, "device small", metadata.batch_dtype)
    used, better = (_like(slot, small, f"device thumbnail {name}") for name in ("used", "better"))
    whole = Tile((0, 0), thumbnail, (0, 0), thumbnail)
    one = slot.tile_table("device thumbnail", (whole,), feeder.filling)
    size = metadata.context
    zeros, corrected, given = _constants(slot, size)
    context, defect = (Tensor(slot.buffer(f"device {name}", size * 4), (1, size)) for name in ("context", "defect"))
    guess = pool_tensors(slot, "device thumbnail", one, defect, corrected)
    passed = pool_tensors(slot, "device tiles", table, context, given)
    measured = Tensor(guess[STATISTICS].address, (1, size))
    kernels.correct(driver, stream, zeros, zeros, defect)  # no defect is known yet
    for _ in range(passes):
        feeder.enqueue(slots[:1], small, used, one, thumbnail, flaws, guess)
        kernels.correct(driver, stream, measured, defect, context)
        feeder.enqueue(slots, source, result, table, grid.size, flaws, passed)
        kernels.defect(driver, stream, passed[STATISTICS], table.cores(), len(grid), measured, defect)
    feeder.enqueue(slots[:1], small, better, one, thumbnail, flaws, guess)
    result_kernels.differ(driver, stream, used, better, report)
    # 8-bit results (interface `image`) hide NaN and infinite values, which the means still show.
    seen = passed[STATISTICS]
    result_kernels.check(driver, stream, replace(seen, shape=(len(grid), size)), report)


def _enqueue_finish(
    slot: Slot, source: DevicePicture, result: DevicePicture, target: DevicePicture, finish: Finish, report: int
) -> None:
    """Enqueues the tone curve and the blend with the source, from `result` into `target`."""
    driver, stream, curve = slot.driver, slot.stream, finish.brightness is not None
    if finish.brightness is not None:
        bins = slot.buffer("device histogram", result_kernels.HISTOGRAM_BYTES)
        sums = slot.buffer("device sums", result_kernels.SUMS_BYTES)
        result_kernels.find_gain(driver, stream, result, finish.brightness, report, bins, sums)
    if curve or finish.strength != 1:
        result_kernels.tone(driver, stream, result, source, target, report, curve, finish.strength)


def nbytes(context: int, small: tuple[int, int] | None, dtype: np.dtype[Any]) -> int:
    """Bytes of the device's memory for everything here but tables, what is measured on tiles, and a result of 16 bits
    (`WIDE_BYTES` a pixel).

    Args:
        context: the number K of means.
        small: height and width of the thumbnail, None where no means are shared.
        dtype: of the thumbnail.
    """
    total = REPORT.itemsize + result_kernels.HISTOGRAM_BYTES + result_kernels.SUMS_BYTES
    if small:
        # Three vectors of means, two modes; the thumbnail, and two results of it.
        total += 4 * (3 * context + 4) + 3 * 3 * small[0] * small[1] * dtype.itemsize
    return total


def shrink_on_device(
    slot: Slot, source: DevicePicture, size: tuple[int, int], name: str, dtype: np.dtype[Any]
) -> DevicePicture:
    """Enqueues shrinking a picture on the device to `size` (height, width): RGB of `dtype`, uint8 or float32, in the
    buffer of `slot` called `name`."""
    small = _picture(slot, name, size, dtype)
    kernels.shrink(slot.driver, slot.stream, source, small)
    return small


def _picture(slot: Slot, name: str, size: tuple[int, int], dtype: np.dtype[Any]) -> DevicePicture:
    """An RGB picture of `size` (height, width) in the buffer of `slot` called `name`."""
    pitch = size[1] * 3 * dtype.itemsize
    return DevicePicture(slot.buffer(name, size[0] * pitch), pitch, *size, dtype)


def _like(slot: Slot, picture: DevicePicture, name: str) -> DevicePicture:
    return _picture(slot, name, (picture.height, picture.width), picture.dtype)


def _wide(slot: Slot, target: DevicePicture) -> DevicePicture:
    """Where the result of 16 bits for a target of 8 lies."""
    return _picture(slot, "device wide", (target.height, target.width), np.dtype(np.uint16))


def _constants(slot: Slot, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros, float32 [1,K] with K as `size`, and the modes `CORRECTED` and `GIVEN`, float32 [2]. Uploaded once per
    slot."""
    values = np.concatenate([np.zeros(size), CORRECTED, GIVEN]).astype(np.float32)
    address = slot.constants("device constants", values)
    corrected, given = (Tensor(address + (size + at) * 4, (2,)) for at in (0, 2))
    return Tensor(address, (1, size)), corrected, given

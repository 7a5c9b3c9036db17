"""Tiles of a picture that lies on a device, through an engine: enqueued on the streams of some lanes, nothing waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mirnet_deploy.devices.base import Frame
from mirnet_deploy.engines.base import Engine, Tensor, batch_dtype
from mirnet_deploy.lanes import Lane
from mirnet_deploy.limits import Limits
from mirnet_deploy.metadata import STATISTICS, TENSOR_NAMES
from mirnet_deploy.tables import TileTable
from mirnet_deploy.tiling import Tile

FLAWS = "flaws"
"""The buffer in which lanes count values that are not numbers: int32 [1]."""


@dataclass(frozen=True)
class Feeder:
    """Cuts batches of tiles out of a picture, runs them, and puts their cores into the result."""

    engine: Engine
    limits: Limits
    batch: int
    """Tiles to run at once; the last batch is filled up to the least of the limits with its last tile."""

    @property
    def filling(self) -> int:
        """By how many tiles a table must be longer than what it lists."""
        return self.limits.least[0] - 1

    def enqueue(
        self,
        lanes: Sequence[Lane],
        source: Frame,
        target: Frame | None,
        table: TileTable,
        padded: tuple[int, int],
        pools: Mapping[str, Tensor] | None = None,
        advance: Callable[[int], None] = lambda pixels: None,
    ) -> None:
        """Runs the tiles of `table`; batches take turns on the lanes.

        It begins after what the first lane's stream holds now, and what is enqueued there later follows it.

        Args:
            target: of the result; None where only the means are wanted.
            padded: height and width of the picture with its padding.
            pools: what engines take and give besides pictures, by name; what has rows has one for each tile. None for
                the plain network.
            advance: is told the pixels of every batch.

        Raises:
            EngineError: the engine or the device refuses.
        """
        driver, used = self.engine.driver, lanes[: math.ceil(len(table.tiles) / self.batch)]
        for lane in used[1:]:
            driver.follow(lane.stream, lanes[0].stream)
        for number, first in enumerate(range(0, len(table.tiles), self.batch)):
            some = table.tiles[first : first + self.batch]
            self._one(used[number % len(used)], source, target, table, first, some, padded, pools)
            if target:
                advance(sum(_area_within(tile, target) for tile in some))
        for lane in used[1:]:
            driver.follow(lanes[0].stream, lane.stream)

    def _one(
        self,
        lane: Lane,
        source: Frame,
        target: Frame | None,
        table: TileTable,
        first: int,
        some: Sequence[Tile],
        padded: tuple[int, int],
        pools: Mapping[str, Tensor] | None,
    ) -> None:
        """A batch on one lane. What the engine sees lies at the same addresses every time, as graphs need it."""
        driver, (height, width) = self.engine.driver, table.size
        interface = self.engine.metadata.interface
        if self.engine.metadata.channel_order == "bgr":  # to the kernels, batches are RGB
            source, target = _turned(source), _turned(target) if target else None
        planar, names = interface == "float", TENSOR_NAMES[interface]
        count = max(len(some), self.limits.least[0])
        shape = (count, 3, height, width) if planar else (count, height, width, 3)
        dtype = batch_dtype(self.engine.metadata)
        nbytes = math.prod(shape) * dtype.itemsize
        tensors = {name: Tensor(lane.buffer(name, nbytes), shape, dtype) for name in names}
        batch, result = (np.uintp(tensors[name].address) for name in names)
        sides = np.int32(planar), np.int32(height), np.int32(width)
        whole = np.int32(padded[0]), np.int32(padded[1])
        cut = (*source.arguments, *whole, table.origins(first), batch, *sides)
        driver.launch("cut", (width, height, count), cut, lane.stream)
        parts = {}
        for name, tensor in (pools or {}).items():
            if name in ("context", "mode"):
                tensors[name] = tensor
                continue
            parts[name] = part = tensor.part(first, count)
            tensors[name] = replace(part, address=lane.buffer(f"batch {name}", part.nbytes))
            if name != STATISTICS:
                driver.copy(part.address, tensors[name].address, part.nbytes, lane.stream)
        lane.runner.enqueue(tensors)
        if STATISTICS in parts:
            found = parts[STATISTICS]
            driver.copy(tensors[STATISTICS].address, found.address, found.nbytes, lane.stream)
        if target:
            room = max(tile.core_size[1] for tile in some), max(tile.core_size[0] for tile in some), len(some)
            before = np.uintp(source.address), np.int64(source.pitch)
            put = (result, *sides, table.cores(first), *before, *target.arguments)
            driver.launch("put", room, (*put, np.uintp(lane.buffer(FLAWS, 4))), lane.stream)


def _turned(frame: Frame) -> Frame:
    return replace(frame, bgr=not frame.bgr)


def _area_within(tile: Tile, frame: Frame) -> int:
    """Pixels of a core less its padding."""
    height, width = (
        min(origin + size, side) - origin
        for origin, size, side in zip(tile.core_origin, tile.core_size, (frame.height, frame.width), strict=True)
    )
    return max(0, height) * max(0, width)

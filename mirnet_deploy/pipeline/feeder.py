"""Takes the tiles of a picture on a device through an engine. Work is enqueued on streams of slots, and not awaited."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mirnet_deploy.artifacts.context import GIVEN, STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.devices.base import DevicePicture, Tensor
from mirnet_deploy.devices.kernels import cut, put
from mirnet_deploy.engines.base import Engine
from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.pipeline.slots import Slot
from mirnet_deploy.pipeline.tile_table import TileTable
from mirnet_deploy.tiling import Tile

_SHARED = ("context", "mode")
"""Tensors that are the same for all batches. Of every other tensor each batch has its own part."""
_SIDES = 1024
"""Buffers for rows and columns grow in steps of so many."""


@dataclass(frozen=True)
class Feeder:
    """Cuts batches of tiles out of a picture, runs them, and puts their cores into the result."""

    engine: Engine
    limits: Limits
    batch: int
    """Tiles to run at once. A last batch that is smaller than the engine takes is filled up with its last tile."""

    @property
    def filling(self) -> int:
        """How often a table must repeat its last tile, so that the last batch can be filled up."""
        return self.limits.least[0] - 1

    @staticmethod
    def nbytes(metadata: ArtifactMetadata, count: int, size: tuple[int, int], thumbnail: tuple[int, int] | None) -> int:
        """Bytes of the device's memory that a slot takes for batches of `count` tiles of `size` (height, width).

        Args:
            thumbnail: its height and width, no larger in area than a tile; None where no means are shared.
        """
        nbytes = 2 * 3 * metadata.batch_dtype.itemsize * count * math.prod(size)
        if thumbnail:
            # Rows and columns have a buffer each, which serves tiles and thumbnail and is as long as the longer side.
            sides = (_steps(max(pair)) for pair in zip(size, thumbnail, strict=True))
            nbytes += 4 * count * (sum(sides) + metadata.context) + 4 * (metadata.context + len(GIVEN))
        return nbytes

    def reserve(self, slots: Sequence[Slot], together: int, size: tuple[int, int], thumbnail: tuple[int, int]) -> None:
        """Makes the slots' buffers large enough for batches of tiles of `size` (height, width) and for a thumbnail,
        before the first of them runs: a buffer that grows has another address, and graphs are captured anew.

        Args:
            together: tiles in one table.
        """
        metadata, count = self.engine.metadata, max(min(self.batch, together), self.limits.least[0])
        pixels = 3 * metadata.batch_dtype.itemsize * count * max(math.prod(size), math.prod(thumbnail))
        rows, cols = (4 * count * _steps(max(pair)) for pair in zip(size, thumbnail, strict=True))
        lengths = dict.fromkeys(TENSOR_NAMES[metadata.interface], pixels)
        lengths |= {"batch rows": rows, "batch cols": cols, f"batch {STATISTICS}": 4 * count * metadata.context}
        for slot in slots[: math.ceil(together / self.batch)]:
            for name, nbytes in lengths.items():
                slot.buffer(name, nbytes)

    def enqueue(
        self,
        slots: Sequence[Slot],
        source: DevicePicture,
        target: DevicePicture | None,
        table: TileTable,
        padded: tuple[int, int],
        flaws: int,
        pools: Mapping[str, Tensor] | None = None,
        advance: Callable[[int], None] = lambda pixels: None,
    ) -> None:
        """Enqueues runs of all tiles of `table`; the batches take turns on the slots.

        The work begins after what the first slot's stream holds now, and what is enqueued there later follows it.

        Args:
            target: takes the result; None where only the means are wanted.
            padded: height and width of the picture with its padding.
            flaws: the address of an int32, to which the number of NaN and infinite values in the result is added.
            pools: what the engine takes and gives besides pictures, by name (`pool_tensors`). None for the plain
                network.
            advance: is called with the number of the result's pixels in each batch, as soon as it is enqueued.

        Raises:
            EngineError: the engine or the device refuses.
        """
        driver, used = self.engine.driver, slots[: math.ceil(len(table.tiles) / self.batch)]
        for slot in used[1:]:
            driver.follow(slot.stream, slots[0].stream)
        for number, first in enumerate(range(0, len(table.tiles), self.batch)):
            some = table.tiles[first : first + self.batch]
            self._one(used[number % len(used)], source, target, table, first, some, padded, flaws, pools)
            if target:
                advance(sum(_area_within(tile, target) for tile in some))
        for slot in used[1:]:
            driver.follow(slots[0].stream, slot.stream)

    def _one(
        self,
        slot: Slot,
        source: DevicePicture,
        target: DevicePicture | None,
        table: TileTable,
        first: int,
        some: Sequence[Tile],
        padded: tuple[int, int],
        flaws: int,
        pools: Mapping[str, Tensor] | None,
    ) -> None:
        """Enqueues one batch, the tiles `some`, which begin at index `first` of the table.

        The engine's tensors lie at the same addresses every time, because CUDA graphs need that.
        """
        if self.engine.metadata.channel_order == "bgr":  # kernels take every batch for RGB
            source, target = _turned(source), _turned(target) if target else None
        count = max(len(some), self.limits.least[0])
        tensors = self._pictures(slot, count, table.size)
        batch, result = tensors.values()
        cut(slot.driver, slot.stream, source, padded, table.origins(first), batch)
        parts = {}
        for name, tensor in (pools or {}).items():
            parts[name] = part = tensor if name in _SHARED else tensor.part(first, count)
            tensors[name] = replace(part, address=slot.buffer(f"batch {name}", part.nbytes))
            if name != STATISTICS:
                slot.copy(part.address, tensors[name].address, part.nbytes)
        slot.run(tensors)
        if STATISTICS in parts:
            found = parts[STATISTICS]
            slot.copy(tensors[STATISTICS].address, found.address, found.nbytes)
        if target:
            largest = max(tile.core_size[1] for tile in some), max(tile.core_size[0] for tile in some), len(some)
            put(slot.driver, slot.stream, result, table.cores(first), largest, source, target, flaws)

    def _pictures(self, slot: Slot, count: int, size: tuple[int, int]) -> dict[str, Tensor]:
        """The tensors of the pictures that go in and come out, by name, in this order: float32 [count,3,H,W] or uint8
        [count,H,W,3] for tiles of `size` (H, W)."""
        metadata = self.engine.metadata
        shape = (count, 3, *size) if metadata.interface == "float" else (count, *size, 3)
        nbytes = math.prod(shape) * metadata.batch_dtype.itemsize
        names = TENSOR_NAMES[metadata.interface]
        return {name: Tensor(slot.buffer(name, nbytes), shape, metadata.batch_dtype) for name in names}


def _steps(side: int) -> int:
    return -(-side // _SIDES) * _SIDES


def pool_tensors(slot: Slot, name: str, table: TileTable, context: Tensor, mode: Tensor) -> dict[str, Tensor]:
    """What an engine takes and gives besides pictures, by name, for all n tiles of `table`.

    `context` is float32 [1,K], `mode` float32 [2], `rows` and `cols` are the table's. The statistics are float32 [n,K],
    in a buffer of `slot` named after `name`.
    """
    shape = table.count, context.shape[1]
    statistics = Tensor(slot.buffer(f"{name} statistics", statistics_bytes(*shape)), shape)
    return {"context": context, "mode": mode, "rows": table.rows, "cols": table.cols, STATISTICS: statistics}


def statistics_bytes(count: int, context: int) -> int:
    """Bytes of what the pools measure on `count` tiles: float32 [count,K], with K as `context`."""
    return 4 * count * context


def _turned(picture: DevicePicture) -> DevicePicture:
    """The same memory, read with its first three channels in reverse order."""
    return replace(picture, bgr=not picture.bgr)


def _area_within(tile: Tile, picture: DevicePicture) -> int:
    """Pixels of the tile's core that are not padding."""
    height, width = (
        min(origin + size, side) - origin
        for origin, size, side in zip(tile.core_origin, tile.core_size, (picture.height, picture.width), strict=True)
    )
    return max(0, height) * max(0, width)

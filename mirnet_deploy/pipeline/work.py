"""One picture under way: passes over its tiles, and what they measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import GIVEN, STATISTICS
from mirnet_deploy.devices.base import DevicePicture, Tensor
from mirnet_deploy.devices.result_kernels import clear
from mirnet_deploy.engines.base import Engine, flaws_error
from mirnet_deploy.pipeline.bands import Band, shared_pictures
from mirnet_deploy.pipeline.feeder import Feeder, pool_tensors
from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.pipeline.on_device import shrink_on_device
from mirnet_deploy.pipeline.slots import Slot
from mirnet_deploy.pipeline.tile_table import TileTable
from mirnet_deploy.pixels import Sink, Source, mirrored, rounded, shrink
from mirnet_deploy.tiling import Tile, TileGrid, padded_side, rows_of

FLAWS_BYTES = 4
"""Of the counter of NaN and infinite values, an int32."""
Advance = Callable[[int], None]
"""Is called per batch, in every pass, with the number of the result's pixels that were enqueued."""
Given = tuple[NDArray[np.float32], NDArray[np.float64]]
"""`mode`, [2], and `context`, [K], of `Pools`."""


@dataclass(frozen=True)
class Started:
    """Tiles under way, and the host memory that holds their outcome once the streams of their slots are done."""

    slots: list[Slot]
    statistics: NDArray[np.float32]
    """float32 [n,K], the means that the pools measured over each tile's core; [n,0] without pools."""
    flaws: NDArray[np.uint8]
    """uint8 [1,4], the bytes of an int32: the number of NaN and infinite values in the result."""
    band: Band | None = None
    """The band of the result that is still to be stored; None where there is none."""


class Work:
    """One picture under way, on slots that are taken for it.

    Args:
        image, out: [H,W,3] of one dtype; they share no memory.
        advance: see `Advance`.
        name: begins the names of the picture's buffers in the slots.
        banded: whether to go in bands, because the picture does not fit on the device as a whole.
        there: the picture, if it is on the device already.

    Raises:
        EngineError: from every method: the engine refuses, or gave NaN or infinite values.
    """

    def __init__(
        self,
        feeder: Feeder,
        slots: list[Slot],
        image: Source,
        out: Sink,
        advance: Advance,
        *,
        name: str = "picture",
        banded: bool = False,
        there: DevicePicture | None = None,
    ) -> None:
        self.image, self.out = image, out
        self.size = padded_size(image, feeder.engine, feeder.limits)
        """Height and width of the padded picture."""
        self._feeder, self._slots, self._advance, self._name = feeder, slots, advance, name
        self._driver = feeder.engine.driver
        self._resident: Band | None = None
        self._pictures: tuple[DevicePicture, DevicePicture] | None = None
        if self._driver.is_host:
            self._pictures = shared_pictures(image, out)
        elif there or not banded:
            rows = 0, image.shape[0]
            self._resident = self._band(slots[0], "result", rows)
            if there is None:
                source = self._band(slots[0], "source", rows)
                source.upload(image)
                there = source.picture
            self._pictures = there, self._resident.picture

    @property
    def engine(self) -> Engine:
        """The engine that runs the tiles."""
        return self._feeder.engine

    @property
    def limits(self) -> Limits:
        """The shapes that the engine takes."""
        return self._feeder.limits

    def reserve(self, grid: TileGrid, thumbnail: tuple[int, int]) -> None:
        """See `Feeder.reserve`; for the tiles of `grid`, and a thumbnail of a height and width."""
        if self._pictures:
            self._feeder.reserve(self._slots, len(grid), grid.tile_size, thumbnail)
            return
        together = max(map(len, rows_of(grid)))
        for slot in self._slots:  # each takes rows of tiles
            self._feeder.reserve([slot], together, grid.tile_size, thumbnail)

    def plain(self, grid: TileGrid) -> None:
        """Enhances the picture, every tile with the means of its own pixels: with one tile, the plain network."""
        self._run(grid.tiles, None)

    def given(self, grid: TileGrid, context: NDArray[np.float64]) -> NDArray[np.float64]:
        """Enhances the picture, every tile with the means in `context`, [K].

        Returns:
            The means that the pools measured over the whole picture while using `context`: [K].
        """
        areas = np.array([tile.core_area for tile in grid], np.float64)
        return areas @ self._run(grid.tiles, (GIVEN, context)) / grid.area

    def measure(self, tiles: Sequence[Tile], context: NDArray[np.float64]) -> NDArray[np.float64]:
        """The means that the pools measure over the core of each tile while using `context`, [K]: [n,K].

        The tiles are all of one size, lie anywhere in the padded picture, and are given row by row. Where the picture
        lies on the device they take one slot: they are few, and each further slot would plan their shape for itself.
        """
        return self._run(tiles, (GIVEN, context), write=False)

    def whole(self, mode: NDArray[np.float32], context: NDArray[np.float64]) -> NDArray[np.float64]:
        """Enhances the picture as one tile, with `mode`, [2], and `context`, [K], as in `Pools`.

        Returns:
            The means that the pools measured, [K].
        """
        (measured,) = self._run([Tile((0, 0), self.size, (0, 0), self.size)], (mode, context))
        self.finish()
        return np.asarray(measured)

    def finish(self) -> None:
        """Brings the result from the device, if it is there, and waits for it."""
        if self._resident:
            self._resident.download()
            self._slots[0].stream.synchronize()
            self._resident.store(self.out)

    def shrunk(self, size: tuple[int, int]) -> Work:
        """Work on a smaller picture: the means of `size` (rows, columns) equal areas, float32 or uint8 as the engine's
        interface takes it. It is made on the device if the whole picture lies there."""
        slot, dtype = self._slots[0], self.engine.metadata.batch_dtype
        there = None
        if self._resident and self._pictures:
            there = shrink_on_device(slot, self._pictures[0], size, "thumbnail source", dtype)
            small = slot.staging("thumbnail source", (*size, 3), dtype)
            slot.download(there.address, small)
            slot.stream.synchronize()
            small = small.copy()
        else:
            small = rounded(shrink(self.image, size), dtype)
        out = np.empty_like(small)
        return Work(self._feeder, self._slots, small, out, lambda pixels: None, name="thumbnail", there=there)

    def _run(self, tiles: Sequence[Tile], given: Given | None, write: bool = True) -> NDArray[np.float64]:
        """Runs tiles, puts their cores into the result if `write` is set, and waits.

        Returns:
            The means that the pools measured over the cores, [n,K]; [n,0] where `given` is None.
        """
        if self._pictures:
            source, target = self._pictures
            slots = self._slots if write else self._slots[:1]
            return self._ended(self._start(slots, source, target if write else None, tiles, given))
        found: list[NDArray[np.float64]] = []
        under_way: deque[Started] = deque()
        for number, row in enumerate(rows_of(tiles)):
            if len(under_way) == len(self._slots):
                found.append(self._ended(under_way.popleft()))
            under_way.append(self._start_band(self._slots[number % len(self._slots)], row, given, write))
        return np.concatenate(found + [self._ended(started) for started in under_way])

    def _start_band(self, slot: Slot, tiles: Sequence[Tile], given: Given | None, write: bool) -> Started:
        """Enqueues tiles of one row, the upload of the rows that they read, and the download of those they write."""
        read = mirrored(self.image.shape[0], self.size[0])[tiles[0].window[0]]
        written = tiles[0].core[0]
        source = self._band(slot, "source", (int(read.min()), int(read.max()) + 1))
        source.upload(self.image)
        result = None
        if write:
            result = self._band(slot, "result", (written.start, min(written.stop, self.image.shape[0])))
        started = self._start([slot], source.picture, result.picture if result else None, tiles, given)
        if result:
            result.download()
        return replace(started, band=result)

    def _start(
        self,
        slots: list[Slot],
        source: DevicePicture,
        target: DevicePicture | None,
        tiles: Sequence[Tile],
        given: Given | None,
    ) -> Started:
        """Enqueues tiles, and the downloads of what they measured and of the counts of flaws."""
        slot = slots[0]
        table = slot.tile_table("tiles", tiles, self._feeder.filling)
        pools = None if given is None else self._pools(slot, table, given)
        counter, flaws = slot.buffer("flaws", FLAWS_BYTES), slot.staging("flaws", (1, FLAWS_BYTES), np.uint8)
        clear(slot.driver, slot.stream, counter, FLAWS_BYTES)
        self._feeder.enqueue(slots, source, target, table, self.size, counter, pools, self._advance)
        statistics = np.zeros((len(tiles), 0), np.float32)
        if pools:
            found = pools[STATISTICS]
            statistics = slot.staging(STATISTICS, (len(tiles), found.shape[1]), np.float32)
            slot.download(found.address, statistics)
        slot.download(counter, flaws)
        return Started(slots, statistics, flaws)

    def _ended(self, started: Started) -> NDArray[np.float64]:
        """Waits for the tiles, checks them, stores their band, and returns the means as `_run` does."""
        for slot in started.slots:
            slot.stream.synchronize()
        # 8-bit results (interface `image`) hide NaN and infinite values, which the means still show.
        if started.flaws.any() or not np.isfinite(started.statistics).all():
            raise flaws_error(self.engine)
        if started.band:
            started.band.store(self.out)
        return np.array(started.statistics, np.float64)

    def _band(self, slot: Slot, kind: str, rows: tuple[int, int]) -> Band:
        picture = self.image if kind == "source" else self.out
        return Band(slot, f"{self._name} {kind}", rows, picture, self.image.dtype)

    def _pools(self, slot: Slot, table: TileTable, given: Given) -> dict[str, Tensor]:
        """Uploads `given`, and returns what engines take and give besides pictures, for all tiles."""
        mode, context = given
        size = len(context)
        values = slot.staging("given", (1, size + len(mode)), np.float32)
        values[0, :size], values[0, size:] = context, mode
        address = slot.buffer("given", given_bytes(size))
        slot.upload(values, address)
        return pool_tensors(slot, "tiles", table, Tensor(address, (1, size)), Tensor(address + size * 4, (2,)))


def given_bytes(context: int) -> int:
    """Bytes of the device's memory for given means, [K] with K as `context`, and their mode."""
    return 4 * (context + len(GIVEN))


def padded_size(image: Source | DevicePicture, engine: Engine, limits: Limits) -> tuple[int, int]:
    """Height and width of a picture with its padding, as the engine takes it whole."""
    multiple, least = engine.metadata.size_multiple, limits.least
    return padded_side(image.shape[0], multiple, least[1]), padded_side(image.shape[1], multiple, least[2])

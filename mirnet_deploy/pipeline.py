"""The pipeline: a picture through an engine tile by tile, on the host or on a GPU; only the driver differs.

A picture that lies in the device's memory is cut there, and the result put together there. On the host that memory is
the arrays' own, so a picture costs its bytes, its result's, and no copy. What is no array, or does not fit, goes
through in bands of rows, which take turns on the lanes: while one is computed, the next goes up and the last comes
down. The padding up to the network's size multiple is never stored: kernels read it out of the picture.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.batches import FLAWS, Feeder
from mirnet_deploy.devices.base import Frame
from mirnet_deploy.engines.base import GIVEN, Engine, Tensor, batch_dtype
from mirnet_deploy.enqueueing import enqueue_picture, shrunk
from mirnet_deploy.errors import EngineError
from mirnet_deploy.frames import Band, as_bytes, shared_frames
from mirnet_deploy.lanes import Lane
from mirnet_deploy.limits import Limits
from mirnet_deploy.metadata import STATISTICS
from mirnet_deploy.pixels import Sink, Source, mirrored, rounded, shrink
from mirnet_deploy.tables import TileTable
from mirnet_deploy.tiling import Tile, TileGrid, padded_side

Advance = Callable[[int], None]
"""Takes pixels that were written."""
Given = tuple[NDArray[np.float32], NDArray[np.float64]]
"""`mode` and context, [K], of `Pools`."""


@dataclass(frozen=True)
class Started:
    """Tiles under way, and what they leave in the host's memory when the lanes' streams have come so far."""

    lanes: list[Lane]
    statistics: NDArray[np.float32]
    """[n,K]."""
    flaws: list[NDArray[np.uint8]]
    band: Band | None = None
    """Of the result, to be stored."""


class Pipeline:
    """Runs pictures through `engine`. May be shared by threads.

    Args:
        batch: tiles to run at once, where a picture does not say.
        limits: of the engine; the last batch is filled up to its least with its last tile.
    """

    def __init__(self, engine: Engine, batch: int = 1, limits: Limits | None = None) -> None:
        self.engine, self.batch, self.limits = engine, batch, limits or Limits()
        self.pool = engine.pool

    def padded(self, image: Source | Frame) -> tuple[int, int]:
        """Height and width of a picture as the engine takes it whole."""
        multiple, least = self.engine.metadata.size_multiple, self.limits.least
        return padded_side(image.shape[0], multiple, least[1]), padded_side(image.shape[1], multiple, least[2])

    @contextmanager
    def open(
        self,
        image: Source,
        out: Sink,
        advance: Advance = lambda pixels: None,
        *,
        lanes: int | None = None,
        batch: int | None = None,
        banded: bool = False,
    ) -> Iterator[Work]:
        """Work on one picture for the length of the block.

        Args:
            image, out: [H,W,3] of one dtype, as `check_picture` asks; they share no memory.
            advance: called as pixels are written, in every pass.
            lanes: to use at most.
            batch: tiles to run at once.
            banded: in bands, also if the picture would fit on the device.

        Raises:
            EngineError: the engine refuses, here or in the block, or gave values that are not numbers.
        """
        with self.pool.take(lanes) as taken:
            work = Work(self, self.feeder(batch), taken, image, out, advance, banded=banded)
            yield work
            work.finish()

    def enqueue(
        self,
        source: Frame,
        target: Frame,
        grid: TileGrid,
        thumbnail: tuple[int, int] | None,
        passes: int,
        stream: int,
        *,
        lanes: int | None = None,
        batch: int | None = None,
    ) -> None:
        """Enhances a picture that lies on the device as `enqueue_picture` says, between what is on a stream of the
        caller's now and what will be enqueued there later."""
        driver = self.engine.driver
        with self.pool.take(lanes, wait=False) as taken:
            driver.follow(taken[0].stream, stream)
            enqueue_picture(self.feeder(batch), taken, source, target, grid, thumbnail, passes)
            driver.follow(stream, taken[0].stream)

    def feeder(self, batch: int | None = None) -> Feeder:
        """For batches of a size."""
        return Feeder(self.engine, self.limits, batch or self.batch)

    def close(self) -> None:
        """Waits for the works under way and frees their memory. The engine is not closed."""
        self.pool.close()


class Work:
    """One picture under way. Every method raises EngineError as `Pipeline.open` says."""

    def __init__(
        self,
        pipeline: Pipeline,
        feeder: Feeder,
        lanes: list[Lane],
        image: Source,
        out: Sink,
        advance: Advance,
        *,
        name: str = "picture",
        banded: bool = False,
        there: Frame | None = None,
    ) -> None:
        """Buffers of the lanes are called after `name`. `there`: the picture, where it is on the device already."""
        self.image, self.out = image, out
        self.size = pipeline.padded(image)
        """Height and width, padded."""
        self.pipeline = pipeline
        self._engine, self._driver, self._feeder = pipeline.engine, pipeline.engine.driver, feeder
        self._lanes, self._advance, self._name = lanes, advance, name
        self._resident: Band | None = None
        self._frames: tuple[Frame, Frame] | None = None
        if self._driver.is_host:
            self._frames = shared_frames(image, out)
        elif there or (not banded and fits(image.shape, image.dtype, self._driver.free_memory())):
            rows = 0, image.shape[0]
            self._resident = self._band(lanes[0], "result", rows)
            if there is None:
                source = self._band(lanes[0], "source", rows)
                source.upload(image)
                there = source.frame
            self._frames = there, self._resident.frame

    def plain(self, grid: TileGrid) -> None:
        """Enhances the picture, every tile with the means of its own pixels: one tile is the plain network."""
        self._run(grid.tiles, None)

    def given(self, grid: TileGrid, context: NDArray[np.float64]) -> NDArray[np.float64]:
        """Enhances the picture, every tile with the means in `context`, [K].

        Returns:
            The means that the pools measured with those in force, of the whole picture: [K].
        """
        areas = np.array([tile.core_area for tile in grid], np.float64)
        return areas @ self._run(grid.tiles, (GIVEN, context)) / grid.area

    def measure(self, tiles: Sequence[Tile], context: NDArray[np.float64]) -> NDArray[np.float64]:
        """The means that the pools measure over the core of each of `tiles`, with those in `context` in force, [n,K].

        The tiles are of one size, anywhere in the padded picture, row by row.
        """
        return self._run(tiles, (GIVEN, context), write=False)

    def whole(self, mode: NDArray[np.float32], context: NDArray[np.float64]) -> NDArray[np.float64]:
        """Enhances the picture at once, with `mode` and `context` as of `Pools`.

        Returns:
            The means that its pools measured, [K].
        """
        (measured,) = self._run([Tile((0, 0), self.size, (0, 0), self.size)], (mode, context))
        self.finish()
        return np.asarray(measured)

    def finish(self) -> None:
        """Brings the result from the device, if it is there."""
        if self._resident:
            self._resident.download()
            self._lanes[0].stream.synchronize()
            self._resident.store(self.out)

    def shrunk(self, size: tuple[int, int]) -> Work:
        """Work on a smaller picture, the mean of every one of `size` (rows, columns) equal areas, as the engine's
        interface takes it: float32, or uint8. Made on the device where the picture lies there."""
        lane, dtype = self._lanes[0], batch_dtype(self._engine.metadata)
        frame = None
        if self._resident and self._frames:
            frame = shrunk(self._driver, lane, self._frames[0], size, "thumbnail source", dtype)
            small = lane.staging("thumbnail source", (*size, 3), dtype)
            self._driver.download(frame.address, frame.pitch, as_bytes(small), lane.stream)
            lane.stream.synchronize()
            small = small.copy()
        else:
            small = rounded(shrink(self.image, size), dtype)
        out = np.empty_like(small)
        return Work(
            self.pipeline, self._feeder, self._lanes, small, out, lambda pixels: None, name="thumbnail", there=frame
        )

    def _run(self, tiles: Sequence[Tile], given: Given | None, write: bool = True) -> NDArray[np.float64]:
        """Runs tiles, with `write` puts their cores into the result, and waits.

        Returns:
            The means that the pools measured over the cores, [n,K]; [n,0] where none were given.
        """
        if self._frames:
            source, target = self._frames
            return self._ended(self._start(self._lanes, source, target if write else None, tiles, given))
        found: list[NDArray[np.float64]] = []
        under_way: deque[Started] = deque()
        rows = mirrored(self.image.shape[0], self.size[0])
        for number, (_, row) in enumerate(groupby(tiles, key=lambda tile: tile.origin[0])):
            if len(under_way) == len(self._lanes):
                found.append(self._ended(under_way.popleft()))
            lane, band = self._lanes[number % len(self._lanes)], list(row)
            read, written = rows[band[0].window[0]], band[0].core[0]
            source_band = self._band(lane, "source", (int(read.min()), int(read.max()) + 1))
            source_band.upload(self.image)
            result = None
            if write:
                result = self._band(lane, "result", (written.start, min(written.stop, self.image.shape[0])))
            started = self._start([lane], source_band.frame, result.frame if result else None, band, given)
            if result:
                result.download()
            under_way.append(replace(started, band=result))
        return np.concatenate(found + [self._ended(started) for started in under_way])

    def _start(
        self, lanes: list[Lane], source: Frame, target: Frame | None, tiles: Sequence[Tile], given: Given | None
    ) -> Started:
        driver, lane = self._driver, lanes[0]
        table = TileTable.upload(driver, lane, "tiles", tiles, self._feeder.filling)
        pools = None if given is None else self._pools(lane, table, given)
        flaws = [each.staging(FLAWS, (1, 4), np.uint8) for each in lanes]
        for each, none in zip(lanes, flaws, strict=True):
            none[...] = 0
            driver.upload(none, each.buffer(FLAWS, 4), 4, each.stream)
        self._feeder.enqueue(lanes, source, target, table, self.size, pools, self._advance)
        statistics = np.zeros((len(tiles), 0), np.float32)
        if pools:
            found = pools[STATISTICS]
            statistics = lane.staging(STATISTICS, (len(tiles), found.shape[1]), np.float32)
            driver.download(found.address, statistics.strides[0], as_bytes(statistics), lane.stream)
        for each, seen in zip(lanes, flaws, strict=True):
            driver.download(each.buffer(FLAWS, 4), 4, seen, each.stream)
        return Started(lanes, statistics, flaws if target else [])

    def _ended(self, started: Started) -> NDArray[np.float64]:
        """Waits; the means as of `_run`."""
        for lane in started.lanes:
            lane.stream.synchronize()
        # 8-bit results of the interface `image` hide what their means still show.
        if any(seen.any() for seen in started.flaws) or not np.isfinite(started.statistics).all():
            metadata = self._engine.metadata
            raise EngineError(
                f"{metadata.name} ({metadata.precision}) gave values that are not numbers on {self._engine.device}; "
                "export it again in FP32"
            )
        if started.band:
            started.band.store(self.out)
        return np.array(started.statistics, np.float64)

    def _band(self, lane: Lane, kind: str, rows: tuple[int, int]) -> Band:
        picture = self.image if kind == "source" else self.out
        return Band(self._driver, lane, f"{self._name} {kind}", rows, picture, self.image.dtype)

    def _pools(self, lane: Lane, table: TileTable, given: Given) -> dict[str, Tensor]:
        """What engines take and give besides pictures, of all tiles."""
        mode, context = given
        values = lane.staging("given", (1, len(context) + 2), np.float32)
        values[0, : len(context)], values[0, len(context) :] = context, mode
        address = lane.buffer("given", values.nbytes)
        self._driver.upload(as_bytes(values), address, values.nbytes, lane.stream)
        size = len(context)
        return table.pools(lane, Tensor(address, (1, size)), Tensor(address + size * 4, (2,)))


def fits(shape: tuple[int, ...], dtype: np.dtype[Any], free: int) -> bool:
    """Whether a picture and its result take no more than half of a device's free memory."""
    return 2 * math.prod(shape) * dtype.itemsize <= free // 2

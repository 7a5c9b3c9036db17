"""The pipeline: a picture through an engine tile by tile, on the host or on a GPU; only the driver differs.

A picture that lies in the device's memory is cut there, and the result put together there. On the host that memory is
the arrays' own, so a picture costs its bytes, its result's, and no copy. What is no array, or does not fit, goes
through in bands of rows. The padding up to the network's size multiple is never stored: kernels read it out of the
picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.batches import FLAWS, Feeder
from mirnet_deploy.devices.base import Frame
from mirnet_deploy.engines.base import GIVEN, Engine, Tensor
from mirnet_deploy.enqueueing import enqueue_picture
from mirnet_deploy.errors import EngineError
from mirnet_deploy.frames import Band, as_bytes, shared_frames
from mirnet_deploy.lanes import Lane, LanePool
from mirnet_deploy.limits import Limits
from mirnet_deploy.metadata import STATISTICS
from mirnet_deploy.pixels import Sink, Source, mirrored, rounded, shrink
from mirnet_deploy.tables import TileTable
from mirnet_deploy.tiling import Tile, TileGrid, padded_side

Advance = Callable[[int], None]
"""Takes pixels that were written."""
Given = tuple[NDArray[np.float32], NDArray[np.float64]]
"""`mode` and context, [K], of `Pools`."""


class Pipeline:
    """Runs pictures through `engine`. May be shared by threads.

    Args:
        batch: tiles to run at once.
        limits: of the engine; the last batch is filled up to its least with its last tile.
    """

    def __init__(self, engine: Engine, batch: int = 1, limits: Limits | None = None) -> None:
        self.engine, self.limits = engine, limits or Limits()
        self.feeder = Feeder(engine, self.limits, batch)
        self._pool = LanePool(engine)

    def padded(self, image: Source | Frame) -> tuple[int, int]:
        """Height and width of a picture as the engine takes it whole."""
        multiple, least = self.engine.metadata.size_multiple, self.limits.least
        return padded_side(image.shape[0], multiple, least[1]), padded_side(image.shape[1], multiple, least[2])

    @contextmanager
    def open(self, image: Source, out: Sink, advance: Advance = lambda pixels: None) -> Iterator[Work]:
        """Work on one picture for the length of the block.

        Args:
            image, out: [H,W,3] of one dtype, as `check_picture` asks; they share no memory.
            advance: called as pixels are written, in every pass.

        Raises:
            EngineError: the engine refuses, here or in the block, or gave values that are not numbers.
        """
        with self._pool.take() as lanes:
            work = Work(self, lanes, image, out, advance)
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
    ) -> None:
        """Enhances a picture that lies on the device as `enqueue_picture` says, between what is on a stream of the
        caller's now and what will be enqueued there later."""
        driver = self.engine.driver
        with self._pool.take(wait=False) as lanes:
            driver.follow(lanes[0].stream, stream)
            enqueue_picture(self.feeder, lanes, source, target, grid, thumbnail, passes)
            driver.follow(stream, lanes[0].stream)

    def close(self) -> None:
        """Waits for the works under way and frees their memory. The engine is not closed."""
        self._pool.close()


class Work:
    """One picture under way. Every method raises EngineError as `Pipeline.open` says."""

    def __init__(
        self, pipeline: Pipeline, lanes: list[Lane], image: Source, out: Sink, advance: Advance, name: str = "picture"
    ) -> None:
        """Buffers of the lanes are called after `name`."""
        self.image, self.out = image, out
        self.size = pipeline.padded(image)
        """Height and width, padded."""
        self.pipeline = pipeline
        self._engine, self._driver = pipeline.engine, pipeline.engine.driver
        self._lanes, self._advance, self._name = lanes, advance, name
        self._resident: tuple[Band, Band] | None = None
        self._frames: tuple[Frame, Frame] | None = None
        if self._driver.is_host:
            self._frames = shared_frames(image, out)
        elif 2 * math.prod(image.shape) * image.dtype.itemsize <= self._driver.free_memory() // 2:
            self._resident = self._band("source", 0, image.shape[0]), self._band("result", 0, image.shape[0])
            self._resident[0].upload(image)
            self._frames = self._resident[0].frame, self._resident[1].frame

    def plain(self, grid: TileGrid) -> None:
        """Enhances the picture, every tile with the means of its own pixels: one tile is the plain network."""
        for source, target, tiles in self._parts(grid.tiles):
            self._run(source, target, tiles, None)

    def given(self, grid: TileGrid, context: NDArray[np.float64]) -> NDArray[np.float64]:
        """Enhances the picture, every tile with the means in `context`, [K].

        Returns:
            The means that the pools measured with those in force, of the whole picture: [K].
        """
        measured = np.zeros(len(context))
        for source, target, tiles in self._parts(grid.tiles):
            areas = np.array([tile.core_area for tile in tiles], np.float64)
            measured += areas @ self._run(source, target, tiles, (GIVEN, context))
        return measured / grid.area

    def measure(self, tiles: Sequence[Tile], context: NDArray[np.float64]) -> NDArray[np.float64]:
        """The means that the pools measure over the core of each of `tiles`, with those in `context` in force, [n,K].

        The tiles are of one size, anywhere in the padded picture, row by row.
        """
        parts = self._parts(tiles, write=False)
        return np.concatenate([self._run(source, None, some, (GIVEN, context)) for source, _, some in parts])

    def whole(self, mode: NDArray[np.float32], context: NDArray[np.float64]) -> NDArray[np.float64]:
        """Enhances the picture at once, with `mode` and `context` as of `Pools`.

        Returns:
            The means that its pools measured, [K].
        """
        (measured,) = [
            self._run(source, target, tiles, (mode, context))[0]
            for source, target, tiles in self._parts([Tile((0, 0), self.size, (0, 0), self.size)])
        ]
        self.finish()
        return np.asarray(measured)

    def finish(self) -> None:
        """Brings the result from the device, if it is there."""
        if self._resident:
            self._resident[1].download(self.out)

    def shrunk(self, size: tuple[int, int]) -> Work:
        """Work on a smaller picture, the mean of every one of `size` (rows, columns) equal areas, as the engine's
        interface takes it: float32, or uint8."""
        small = shrink(self.image, size)
        if self._engine.metadata.interface == "image":
            small = rounded(small, np.dtype(np.uint8))
        return Work(self.pipeline, self._lanes, small, np.empty_like(small), lambda pixels: None, "thumbnail")

    def _parts(self, tiles: Sequence[Tile], write: bool = True) -> Iterator[tuple[Frame, Frame | None, Sequence[Tile]]]:
        """The picture and its result on the device, and the tiles to run there: all at once, or a row of them."""
        if self._frames:
            yield *self._frames, tiles
            return
        rows = mirrored(self.image.shape[0], self.size[0])
        for _, row in groupby(tiles, key=lambda tile: tile.origin[0]):
            band = list(row)
            read = rows[band[0].window[0]]
            source = self._band("source", int(read.min()), int(read.max()) + 1)
            source.upload(self.image)
            if not write:
                yield source.frame, None, band
                continue
            written = band[0].core[0]
            target = self._band("result", written.start, min(written.stop, self.image.shape[0]))
            yield source.frame, target.frame, band
            target.download(self.out)

    def _band(self, kind: str, first: int, last: int) -> Band:
        return Band(self._driver, self._lanes[0], f"{self._name} {kind}", (first, last), self.image)

    def _run(
        self, source: Frame, target: Frame | None, tiles: Sequence[Tile], given: Given | None
    ) -> NDArray[np.float64]:
        """Runs tiles, writes their cores into `target`, and waits.

        Returns:
            The means that the pools measured over the cores, [n,K]; [n,0] where none were given.
        """
        driver, lane, feeder = self._driver, self._lanes[0], self.pipeline.feeder
        table = TileTable.upload(driver, lane, "tiles", tiles, feeder.filling)
        pools = None if given is None else self._pools(table, given)
        flaws = np.zeros((len(self._lanes), 4), np.uint8)
        for each in self._lanes:
            driver.upload(flaws[:1], each.buffer(FLAWS, 4), 4, each.stream)
        feeder.enqueue(self._lanes, source, target, table, self.size, pools, self._advance)
        statistics = np.zeros((len(tiles), 0), np.float32)
        if pools:
            found = pools[STATISTICS]
            statistics = lane.staging(STATISTICS, (len(tiles), found.shape[1]), np.float32)
            driver.download(found.address, statistics.strides[0], as_bytes(statistics), lane.stream)
        for each, seen in zip(self._lanes, flaws, strict=True):
            driver.download(each.buffer(FLAWS, 4), 4, seen[None], each.stream)
            each.stream.synchronize()
        if target and flaws.any():
            metadata = self._engine.metadata
            raise EngineError(
                f"{metadata.name} ({metadata.precision}) gave values that are not numbers on {self._engine.device}; "
                "export it again in FP32"
            )
        return np.asarray(statistics, np.float64)

    def _pools(self, table: TileTable, given: Given) -> dict[str, Tensor]:
        """What engines take and give besides pictures, of all tiles."""
        mode, context = given
        lane, size = self._lanes[0], len(context)
        values = lane.staging("given", (1, size + 2), np.float32)
        values[0, :size], values[0, size:] = context, mode
        address = lane.buffer("given", values.nbytes)
        self._driver.upload(as_bytes(values), address, values.nbytes, lane.stream)
        return table.pools(lane, Tensor(address, (1, size)), Tensor(address + size * 4, (2,)))

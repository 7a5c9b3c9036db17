"""The pipeline: pictures through one engine, on the host or on a GPU; only the driver differs.

A picture that lies in the device's memory is cut there, and the result put together there. On the host that memory is
the arrays' own, so a picture costs its bytes, its result's, and no copy. What is not an array, or does not fit, goes
through in bands of rows, which take turns on the slots: while one is computed, the next goes up and the last comes
down. The padding up to the network's size multiple is never stored: kernels read it out of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.engines.base import Engine
from mirnet_deploy.pipeline.feeder import Feeder
from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.pipeline.on_device import enqueue_picture
from mirnet_deploy.pipeline.slots import Observer, Slots
from mirnet_deploy.pipeline.work import Advance, Work
from mirnet_deploy.pixels import Sink, Source
from mirnet_deploy.tiling import TileGrid


class Pipeline:
    """Runs pictures through an engine. May be shared by threads. It owns the engine's slots, and not the engine.

    Args:
        limits: of the engine.
        observer: is told of copies and runs.

    Raises:
        EngineError: the device is out of memory for one slot, or refuses.
    """

    def __init__(self, engine: Engine, limits: Limits, observer: Observer) -> None:
        self.engine, self.limits = engine, limits
        self.slots = Slots(engine, observer)

    @contextmanager
    def open(
        self, image: Source, out: Sink, advance: Advance, *, most_slots: int, batch: int, banded: bool
    ) -> Iterator[Work]:
        """Work on one picture for the length of the block.

        Args:
            image, out: [H,W,3] of one dtype, as `check_picture` asks; they share no memory.
            advance: is called as pixels are written, in every pass.
            most_slots: slots to use at most.
            batch: tiles to run at once.
            banded: in bands, even if the picture would fit on the device.

        Raises:
            EngineError: the engine refuses, here or in the block, or gave values that are NaN or infinite.
        """
        with self.slots.take(most_slots, wait=True) as slots:
            work = Work(self._feeder(batch), slots, image, out, advance, banded=banded)
            yield work
            work.finish()

    def enqueue(
        self,
        source: DevicePicture,
        target: DevicePicture,
        grid: TileGrid,
        thumbnail: tuple[int, int] | None,
        passes: int,
        stream: int,
        *,
        most_slots: int,
        batch: int,
    ) -> None:
        """Enhances a picture that lies on the device as `enqueue_picture` says, between what is on a stream of the
        caller's now and what will be enqueued there later."""
        driver = self.engine.driver
        with self.slots.take(most_slots, wait=False) as slots:
            driver.follow(slots[0].stream, stream)
            enqueue_picture(self._feeder(batch), slots, source, target, grid, thumbnail, passes)
            driver.follow(stream, slots[0].stream)

    def close(self) -> None:
        """Waits for the works under way and frees their memory. The engine is not closed."""
        self.slots.close()

    def _feeder(self, batch: int) -> Feeder:
        return Feeder(self.engine, self.limits, batch)

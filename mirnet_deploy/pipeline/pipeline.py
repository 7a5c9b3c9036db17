"""The pipeline takes pictures through one engine, on the host or on a GPU; only the driver differs.

A picture is cut in the device's memory, and its result is put together there. On the host that memory is the arrays'
own, so a picture takes its bytes and its result's, and nothing is copied. A picture that is not an array, or does not
fit on the device, goes through in bands of rows, which take turns on the slots: while one is computed, the next is
uploaded and the previous one downloaded. The padding up to the network's size multiple is never stored: kernels read it
from the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.engines.base import Engine
from mirnet_deploy.pipeline.feeder import Feeder
from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.pipeline.on_device import Finish, enqueue_picture
from mirnet_deploy.pipeline.reports import Report, Reports
from mirnet_deploy.pipeline.slots import Observer, Slots
from mirnet_deploy.pipeline.work import Advance, Work
from mirnet_deploy.pixels import Sink, Source
from mirnet_deploy.tiling import TileGrid


class Pipeline:
    """Runs pictures through an engine. May be shared by threads. It owns the engine's slots, but not the engine.

    Args:
        limits: the shapes that the engine takes.
        observer: is told of copies and runs.

    Raises:
        EngineError: the device is out of memory for one slot, or refuses.
    """

    def __init__(self, engine: Engine, limits: Limits, observer: Observer) -> None:
        self.engine, self.limits = engine, limits
        self.slots = Slots(engine, observer)
        self._reports = Reports(engine.driver)

    @contextmanager
    def open(
        self, image: Source, out: Sink, advance: Advance, *, most_slots: int, batch: int, banded: bool
    ) -> Iterator[Work]:
        """Work on one picture for the length of the block.

        Args:
            image, out: [H,W,3] of one dtype, as `check_picture` asks; they share no memory.
            advance: see `Advance`.
            most_slots: slots to use at most.
            batch: tiles to run at once.
            banded: whether to go in bands, because the picture does not fit on the device as a whole.

        Raises:
            EngineError: the engine refuses, here or in the block, or gave NaN or infinite values.
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
        finish: Finish,
        stream: int,
        *,
        most_slots: int,
        batch: int,
    ) -> Report:
        """See `enqueue_picture`; returns the report to come. The work begins after what `stream`, the handle of the
        caller's stream, holds now, and what is enqueued there later follows it."""
        driver = self.engine.driver
        with self.slots.take(most_slots, wait=False) as slots:
            driver.follow(slots[0].stream, stream)
            enqueue_picture(self._feeder(batch), slots, source, target, grid, thumbnail, passes, finish)
            report = self._reports.download(slots[0])
            driver.follow(stream, slots[0].stream)
            return report

    def close(self) -> None:
        """Waits for the pictures under way and frees the slots. The engine is not closed."""
        self.slots.close()
        self._reports.close()

    def _feeder(self, batch: int) -> Feeder:
        return Feeder(self.engine, self.limits, batch)

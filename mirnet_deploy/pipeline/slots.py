"""Slots: what one run of an engine has to itself, so that several runs may be under way."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import Memory, Stream, Tensor
from mirnet_deploy.engines.base import Engine, Runner, closed_error
from mirnet_deploy.errors import EngineError
from mirnet_deploy.pipeline.tile_table import TileTable, packed
from mirnet_deploy.tiling import Tile


class Observer:
    """Is told of every copy and run when it is enqueued. This one only lets them happen; benchmarks derive others."""

    def copy(self, kind: Literal["upload", "download"], stream: Stream, enqueue: Callable[[], None]) -> None:
        """A copy between host and device: `enqueue()` puts it on `stream`."""
        enqueue()

    def run(self, runner: Runner, stream: Stream, tensors: Mapping[str, Tensor]) -> None:
        """A run of the engine: `runner.enqueue(tensors)` puts it on `stream`."""
        runner.enqueue(tensors)


class Slot:
    """A stream, a runner of the engine on it, and named buffers that only grow. For one thread at a time.

    Raises:
        EngineError: the engine or the device refuses.
    """

    def __init__(self, engine: Engine, observer: Observer) -> None:
        self.driver, self._observer = engine.driver, observer
        self.stream: Stream = engine.driver.stream()
        try:
            self._runner = engine.runner(self.stream)
        except BaseException:
            self.stream.close()
            raise
        self._device: dict[str, Memory] = {}
        self._host: dict[str, NDArray[np.uint8]] = {}
        self._tables: dict[str, TileTable] = {}
        self._constants: dict[str, int] = {}

    def buffer(self, name: str, nbytes: int) -> int:
        """The address of at least `nbytes` of device memory, the same for the same name until that memory must grow.

        Growing waits for the stream and loses the contents.
        """
        held = self._device.get(name)
        if held is None or held.nbytes < nbytes:
            if held is not None:
                self.stream.synchronize()
                held.free()
                del self._device[name]
            held = self._device[name] = self.driver.allocate(nbytes)
        return held.address

    def staging(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Host memory for asynchronous copies, C-contiguous, the same for the same name until it must grow.

        May wait for the stream.
        """
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        held = self._host.get(name)
        if held is None or held.nbytes < nbytes:
            self.stream.synchronize()
            held = self._host[name] = self.driver.staging(nbytes)
        return np.asarray(held[:nbytes].view(dtype).reshape(shape))

    def tile_table(self, name: str, tiles: Sequence[Tile], filling: int) -> TileTable:
        """The table of `tiles` in the buffer called `name`. If it is not there already, this waits for the stream and
        enqueues its upload."""
        held = self._tables.get(name)
        if held and held.filling == filling and held.tiles == tuple(tiles):
            return held
        self._tables.pop(name, None)  # what follows may fail half-way
        self.stream.synchronize()  # a copy from the staging memory may still be under way
        block = packed(tiles, filling)
        staged = self.staging(name, (1, len(block)), np.uint8)
        staged[0] = block
        address = self.buffer(name, len(block))
        self.upload(staged, address)
        table = self._tables[name] = TileTable(tuple(tiles), filling, address)
        return table

    def constants(self, name: str, values: NDArray[np.float32]) -> int:
        """The address of `values`, [n], in the buffer called `name`. They are uploaded once, and must not differ from
        call to call."""
        if name not in self._constants:
            staged = self.staging(name, (1, len(values)), np.float32)
            staged[0] = values
            address = self.buffer(name, values.nbytes)
            self.upload(staged, address)
            self._constants[name] = address
        return self._constants[name]

    def upload(self, host: NDArray[Any], address: int) -> None:
        """Enqueues a copy of a C-contiguous array to the device. The array must not change until the copy is done."""
        rows = _as_bytes(host)
        self._observer.copy(
            "upload", self.stream, lambda: self.driver.upload(rows, address, rows.shape[1], self.stream)
        )

    def download(self, address: int, host: NDArray[Any]) -> None:
        """Enqueues a copy from the device into a C-contiguous array."""
        rows = _as_bytes(host)
        self._observer.copy(
            "download", self.stream, lambda: self.driver.download(address, rows.shape[1], rows, self.stream)
        )

    def copy(self, source: int, target: int, nbytes: int) -> None:
        """Enqueues a copy from one address of the device to another."""
        self.driver.copy(source, target, nbytes, self.stream)

    def run(self, tensors: Mapping[str, Tensor]) -> None:
        """Enqueues a run of the engine; see `Runner.enqueue`."""
        self._observer.run(self._runner, self.stream, tensors)

    def close(self) -> None:
        """Waits for the stream and frees everything."""
        with suppress(EngineError):  # from a broken device, which has raised its error already
            self.stream.synchronize()
        with suppress(EngineError):
            self._runner.close()
        self.stream.close()
        for memory in self._device.values():
            memory.free()
        self._device, self._host, self._tables, self._constants = {}, {}, {}, {}


class Slots:
    """The slots of one engine, for the threads that share it.

    Every user gets at least one slot, for which it may have to wait, and more if they are free. On a GPU the first one
    is made at once, so that a lack of memory shows before the first picture.

    Raises:
        EngineError: the engine or the device refuses.
    """

    def __init__(self, engine: Engine, observer: Observer) -> None:
        self._engine, self._observer = engine, observer
        self._most, self._each = engine.concurrency
        self._free: list[Slot] = []
        self._made = 0
        self._closed = False
        self._state = threading.Condition()
        if not engine.driver.is_host:
            with self.take(1, wait=True):
                pass

    @contextmanager
    def take(self, most: int, wait: bool) -> Iterator[list[Slot]]:
        """Up to `most` slots for the length of the block, but no more than one picture may use (`Concurrency`).

        The device is active in the block.

        Args:
            wait: whether to wait for their streams at the end. If not, the next user's work follows what is
                still on them.
        """
        if self._closed:
            raise closed_error(self._engine.metadata)
        with self._engine.driver.active():
            slots = [self._one()]
            try:
                while len(slots) < min(most, self._each) and (slot := self._another()):
                    slots.append(slot)
                yield slots
            finally:
                try:
                    if wait:
                        for slot in slots:
                            slot.stream.synchronize()  # also after a failure: staging memory is used again
                finally:
                    self._give_back(slots)

    @property
    def made(self) -> int:
        """How many slots there are, free or taken."""
        return self._made

    def limit(self, most: int) -> None:
        """Keeps at most `most` slots from now on. Closes all idle ones, so that their memory is free."""
        with self._state:
            self._most, self._each = most, min(self._each, most)
        self._close_idle()

    def close(self) -> None:
        """Waits for the users and frees all slots. May be called twice."""
        with self._state:
            self._closed = True
            self._state.wait_for(lambda: len(self._free) == self._made)
        self._close_idle()

    def _give_back(self, slots: list[Slot]) -> None:
        with self._state:
            surplus = slots[: max(0, min(self._made - self._most, len(slots)))]
            self._free += reversed(slots[len(surplus) :])
        for slot in surplus:  # taken before a limit was set
            slot.close()
        with self._state:
            self._made -= len(surplus)
            self._state.notify_all()

    def _close_idle(self) -> None:
        with self._state:
            slots, self._free = self._free, []
        if not slots:
            return
        with self._engine.driver.active():
            for slot in slots:
                slot.close()
        with self._state:
            self._made -= len(slots)
            self._state.notify_all()

    def _one(self) -> Slot:
        with self._state:
            self._state.wait_for(lambda: self._closed or self._free or self._made < self._most)
            if self._closed:
                raise closed_error(self._engine.metadata)
            if self._free:
                return self._free.pop()
            self._made += 1
        return self._make()

    def _another(self) -> Slot | None:
        with self._state:
            if self._free:
                return self._free.pop()
            if self._made >= self._most:
                return None
            self._made += 1
        return self._make()

    def _make(self) -> Slot:
        try:
            return Slot(self._engine, self._observer)
        except BaseException:
            with self._state:
                self._made -= 1
                self._state.notify_all()
            raise


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """A C-contiguous array [n,...] as rows of bytes, uint8 [n, bytes per entry], without a copy."""
    return array.reshape(len(array), -1).view(np.uint8)

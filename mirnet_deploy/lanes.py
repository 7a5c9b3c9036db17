"""Lanes: what one run of an engine needs for itself, so that several may be under way."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import Driver, Memory, Stream
from mirnet_deploy.engines.base import Engine, Runner, closed_error
from mirnet_deploy.errors import EngineError


class Lane:
    """A stream, what runs the engine on it, and buffers that only grow."""

    def __init__(self, engine: Engine) -> None:
        self._driver: Driver = engine.driver
        self.stream: Stream = engine.driver.stream()
        try:
            self.runner: Runner = engine.runner(self.stream)
        except BaseException:
            self.stream.close()
            raise
        self._device: dict[str, Memory] = {}
        self._host: dict[str, NDArray[np.uint8]] = {}
        self.tables: dict[str, Any] = {}
        """What `tables` put into buffers, by name."""

    def knows(self, name: str) -> bool:
        """Whether there is a buffer of that name."""
        return name in self._device

    def buffer(self, name: str, nbytes: int) -> int:
        """The address of at least `nbytes` of the device, the same ones for the same name. May wait for the stream."""
        held = self._device.get(name)
        if held is None or held.nbytes < nbytes:
            if held is not None:
                self.stream.synchronize()
                held.free()
                del self._device[name]
            held = self._device[name] = self._driver.allocate(nbytes)
        return held.address

    def staging(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Host memory for asynchronous copies, the same for the same name. May wait for the stream."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        held = self._host.get(name)
        if held is None or held.nbytes < nbytes:
            self.stream.synchronize()
            held = self._host[name] = self._driver.staging(nbytes)
        return np.asarray(held[:nbytes].view(dtype).reshape(shape))

    def close(self) -> None:
        """Waits for the stream and frees everything."""
        with suppress(EngineError):  # of a device that is past use, which was said when it failed
            self.stream.synchronize()
        with suppress(EngineError):
            self.runner.close()
        self.stream.close()
        for memory in self._device.values():
            memory.free()
        self._device, self._host = {}, {}


class LanePool:
    """The lanes of one engine, for the threads that share it.

    Every user gets at least one lane, waiting for it if need be, and more where they are free.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._most, self._each = engine.lanes
        self._free: list[Lane] = []
        self._made = 0
        self._closed = False
        self._state = threading.Condition()

    @contextmanager
    def take(self, most: int | None = None, wait: bool = True) -> Iterator[list[Lane]]:
        """Lanes for the length of the block, `most` or as many as the engine makes use of, with the device active.

        `wait`: for their streams, at the end. Without it the next user's work comes after what is enqueued.
        """
        if self._closed:
            raise closed_error(self._engine.metadata)
        with self._engine.driver.active():
            lanes = [self._one()]
            try:
                while len(lanes) < (most or self._each) and (lane := self._another()):
                    lanes.append(lane)
                yield lanes
            finally:
                try:
                    if wait:
                        for lane in lanes:
                            lane.stream.synchronize()  # also after a failure: staging is reused when it is at rest
                finally:
                    self._give_back(lanes)

    @property
    def made(self) -> int:
        """Lanes that there are."""
        return self._made

    def limit(self, most: int) -> None:
        """From now on there are at most so many lanes. Idle ones are closed, so that their memory is free."""
        with self._state:
            self._most, self._each = most, min(self._each, most)
        self._close_idle()

    def close(self) -> None:
        """Waits for the users and frees all lanes. May be called twice."""
        with self._state:
            self._closed = True
            self._state.wait_for(lambda: len(self._free) == self._made)
        self._close_idle()

    def _give_back(self, lanes: list[Lane]) -> None:
        with self._state:
            surplus = lanes[: max(0, min(self._made - self._most, len(lanes)))]
            self._free += reversed(lanes[len(surplus) :])
        for lane in surplus:  # of before a limit
            lane.close()
        with self._state:
            self._made -= len(surplus)
            self._state.notify_all()

    def _close_idle(self) -> None:
        with self._state:
            lanes, self._free = self._free, []
        if not lanes:
            return
        with self._engine.driver.active():
            for lane in lanes:
                lane.close()
        with self._state:
            self._made -= len(lanes)
            self._state.notify_all()

    def _one(self) -> Lane:
        with self._state:
            self._state.wait_for(lambda: self._closed or self._free or self._made < self._most)
            if self._closed:
                raise closed_error(self._engine.metadata)
            if self._free:
                return self._free.pop()
            self._made += 1
        return self._make()

    def _another(self) -> Lane | None:
        with self._state:
            if self._free:
                return self._free.pop()
            if self._made >= self._most:
                return None
            self._made += 1
        return self._make()

    def _make(self) -> Lane:
        try:
            return Lane(self._engine)
        except BaseException:
            with self._state:
                self._made -= 1
                self._state.notify_all()
            raise

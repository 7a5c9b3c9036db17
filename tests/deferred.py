"""A device on the host whose streams are as late or as early as they may be: what was not told to wait happens wrongly.

A late stream does nothing until somebody waits for it, an eager one works as soon as something is enqueued; both do of
other streams only what they were told to follow. Work that lacks such an order reads memory that nobody has written.
Memory is poisoned, counted, and refused past a limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from mirnet_deploy.devices.host import HostDriver, HostMemory, at
from mirnet_deploy.engines.base import load_onnx
from mirnet_deploy.engines.device import DeviceEngine, pool_of
from mirnet_deploy.engines.onnxruntime_cuda import OnnxRuntimeRunner
from mirnet_deploy.errors import DeviceMemoryError
from mirnet_deploy.metadata import STATISTICS, TENSOR_NAMES


class Stream:
    """See `Stream`; a caller's own, too, which is late."""

    def __init__(self, handle: int, eager: bool = False) -> None:
        self.handle, self.eager = handle, eager
        self.work: list[Callable[[], None]] = []
        self.done = self.waits = 0

    def enqueue(self, work: Callable[[], None]) -> None:
        self.work.append(work)
        if self.eager:
            self.run_to(len(self.work))

    def run_to(self, count: int) -> None:
        while self.done < count:
            self.done += 1
            self.work[self.done - 1]()

    def synchronize(self) -> None:
        self.waits += 1
        self.run_to(len(self.work))


class Memory(HostMemory):
    """Poisoned, and known to its driver until it is freed."""

    def __init__(self, driver: Driver, nbytes: int) -> None:
        super().__init__(nbytes)
        at(self.address, (nbytes,), np.uint8).fill(0xA5)
        self._driver = driver
        driver.held[self.address] = nbytes

    def free(self) -> None:
        self._driver.held.pop(self.address, None)
        super().free()


class Driver(HostDriver):
    """See `Driver`. `most`: bytes that may be held at once. `eager`: the streams that are, by what is left of their
    number divided by 2."""

    is_host = False

    def __init__(self, most: int = sys.maxsize, eager: tuple[int, ...] = ()) -> None:
        self.most, self.eager, self.closed = most, eager, 0
        self.held: dict[int, int] = {}
        self.streams: dict[int, Stream] = {}

    def allocate(self, nbytes: int) -> Memory:
        if sum(self.held.values()) + nbytes > self.most:
            raise DeviceMemoryError("the test's device is full")
        return Memory(self, nbytes)

    def free_memory(self) -> int:
        return self.most - sum(self.held.values())

    def stream(self) -> Any:
        return self._new(len(self.streams) % 2 in self.eager)

    def callers_stream(self) -> Stream:
        return self._new(False)

    def _new(self, eager: bool) -> Stream:
        handle = len(self.streams) + 1
        return self.streams.setdefault(handle, Stream(handle, eager))

    def follow(self, after: Any, before: Any) -> None:
        last, first = (self.streams[each] if isinstance(each, int) else each for each in (after, before))
        count = len(first.work)
        if last is not first:
            last.enqueue(lambda: first.run_to(count))

    def close(self) -> None:
        assert not self.held, "memory outlived its device"
        self.closed += 1


class Engine(DeviceEngine):
    """ONNX Runtime on the memory and streams of a `Driver`."""

    device = backend = "deferred"

    def __init__(self, path: Path, driver: Driver | None = None) -> None:
        data, self.metadata = load_onnx(path)
        self._session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.driver = self.test_driver = driver or Driver()
        self._pool = pool_of(self)

    def runner(self, stream: Any) -> Any:
        outputs = {TENSOR_NAMES[self.metadata.interface][1], STATISTICS}
        runner = OnnxRuntimeRunner(self._session, None, outputs, ("cpu", 0))
        now = runner.enqueue
        runner.enqueue = lambda tensors: stream.enqueue(lambda: now(tensors))  # type: ignore[method-assign]
        return runner

    def close(self) -> None:
        self._pool.close()
        self.driver.close()

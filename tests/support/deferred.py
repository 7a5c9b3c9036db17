"""A device on the host whose streams run as late or as early as they may, so that a missing order gives a wrong result.

A late stream does nothing until something waits for it; an eager one works as soon as something is enqueued. Of other
streams, both do only the work that they were told to follow. Work without such an order reads memory that nothing has
written yet. Memory is filled with a pattern (poisoned) and counted, and allocations past a limit are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.artifacts.context import STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.devices.base import DevicePicture, Tensor
from mirnet_deploy.devices.host import HostDriver, HostMemory
from mirnet_deploy.devices.host_kernels import at
from mirnet_deploy.engines.base import ON_DEVICE, BatchShape
from mirnet_deploy.engines.graphs import GraphPolicy, GraphRunner
from mirnet_deploy.engines.onnxruntime_cuda import OnnxRuntimeRunner
from mirnet_deploy.errors import DeviceMemoryError, EngineError

Open = Callable[..., tuple[MIRNetRuntime, MIRNetRuntime, "Driver"]]
"""Opens two runtimes over one artifact; see the fixture `pair`."""


OpenGpu = Callable[..., MIRNetRuntime]
"""Opens a runtime on the GPU; see the fixture `on_gpu`."""


class Stream:
    """See `devices.base.Stream`. Stands for a caller's own stream too, which is always late."""

    def __init__(self, driver: Driver, handle: int, eager: bool = False) -> None:
        self.handle, self.eager, self._driver = handle, eager, driver
        self.work: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None
        self.done = self.waits = 0

    def enqueue(self, work: Callable[[], None]) -> None:
        if self.captured is not None:
            self.captured.append(work)
            return
        self.work.append(work)
        if self.eager:
            self.run_to(len(self.work))

    def run_to(self, count: int) -> None:
        while self.done < count:
            self.done += 1
            self.work[self.done - 1]()

    def close(self) -> None:
        assert self.done == len(self.work) or self._driver.broken, "closed with work on it"

    def synchronize(self) -> None:
        assert self.captured is None, "a stream that is captured cannot be waited for"
        self._driver.check()
        self.waits += 1
        self.run_to(len(self.work))


class Event:
    """See `devices.base.Event`."""

    def __init__(self, stream: Stream, driver: Driver) -> None:
        self._stream, self._count, self._driver = stream, len(stream.work), driver
        driver.events += 1

    def done(self) -> bool:
        return self._stream.done >= self._count

    def synchronize(self) -> None:
        self._stream.run_to(self._count)

    def close(self) -> None:
        self._driver.events -= 1


class Memory(HostMemory):
    """Poisoned memory, which its driver counts until it is freed."""

    def __init__(self, driver: Driver, nbytes: int) -> None:
        super().__init__(nbytes)
        at(self.address, (nbytes,), np.uint8).fill(0xA5)
        self._driver = driver
        driver.held[self.address] = nbytes

    def free(self) -> None:
        self._driver.held.pop(self.address, None)
        super().free()


class Graph:
    """Captured work, to be enqueued again."""

    def __init__(self, driver: Driver, works: list[Callable[[], None]]) -> None:
        self._driver, self._works = driver, works

    def launch(self, stream: Any) -> None:
        self._driver.launches += 1
        for work in self._works:
            stream.enqueue(work)

    def close(self) -> None:
        self._works = []


class Driver(HostDriver):
    """See `devices.base.Driver`.

    Args:
        most: bytes that may be held at once.
        eager: which streams are eager, by their numbers from 0 on, modulo 2.
    """

    is_host = False
    broken: str | None = None
    """The message with which allocations and waits fail from now on."""

    def __init__(self, most: int = sys.maxsize, eager: tuple[int, ...] = ()) -> None:
        self.most, self.eager, self.closed = most, eager, 0
        self.held: dict[int, int] = {}
        self.peak = 0
        self.refused: list[Exception] = []
        """What the next allocations raise, one each, the last one first."""
        self.refused_captures: list[Exception] = []
        """What the next captures raise, one each."""
        self.captures = self.launches = 0
        self.events = 0
        """How many there are that nobody has closed."""
        self.capturable = True
        self.streams: dict[int, Stream] = {}

    def allocate(self, nbytes: int) -> Memory:
        self.check()
        if self.refused:
            raise self.refused.pop()
        if sum(self.held.values()) + nbytes > self.most:
            raise DeviceMemoryError("the test's device is full")
        memory = Memory(self, nbytes)
        self.peak = max(self.peak, sum(self.held.values()))
        return memory

    def check(self) -> None:
        if self.broken:
            raise EngineError(self.broken)

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> Any:
        if self.refused_captures:
            raise self.refused_captures.pop()
        if not self.capturable:
            raise EngineError("the test's device captures nothing")
        self.captures += 1
        works: list[Callable[[], None]] = []
        stream.captured = works
        try:
            enqueue()
        finally:
            stream.captured = None
        return Graph(self, works)

    def free_memory(self) -> int:
        return self.most - sum(self.held.values())

    def stream(self) -> Any:
        return self._new(len(self.streams) % 2 in self.eager)

    def callers_stream(self) -> Stream:
        return self._new(False)

    def _new(self, eager: bool) -> Stream:
        handle = len(self.streams) + 1
        return self.streams.setdefault(handle, Stream(self, handle, eager))

    def record(self, stream: Any) -> Any:
        return Event(stream, self)

    def follow(self, after: Any, before: Any) -> None:
        last, first = (self.streams[each] if isinstance(each, int) else each for each in (after, before))
        count = len(first.work)
        if last is not first:
            last.enqueue(lambda: first.run_to(count))

    def close(self) -> None:
        assert not self.held, "memory outlived its device"
        self.closed += 1


class Engine:
    """ONNX Runtime on the memory and streams of a `Driver`. For `one_shape` see `Capturable`."""

    device = backend = "deferred"
    concurrency = ON_DEVICE
    step = 0.0

    def __init__(self, path: Path, driver: Driver | None = None, graphs: bool = True, one_shape: bool = False) -> None:
        self._one_shape = one_shape
        data, self.metadata = read_onnx(path)
        self._policy = GraphPolicy(graphs)
        self._session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.driver = driver or Driver()

    def footprint(self, *shapes: BatchShape) -> int:
        return 0

    @property
    def graphs(self) -> str:
        return self._policy.state

    def runner(self, stream: Any) -> Any:
        outputs = {TENSOR_NAMES[self.metadata.interface][1], STATISTICS}
        inner = OnnxRuntimeRunner(self._session, None, outputs, ("cpu", 0))
        return GraphRunner(Runner(inner, stream, self._one_shape), self.driver, stream, self._policy)

    def close(self) -> None:
        self.driver.close()


class Runner:
    """Enqueues its runs on a stream of the `Driver`, behind what came before. A runner of one shape fails with any
    other, and a graph that was captured of it fails once it is closed."""

    def __init__(self, inner: OnnxRuntimeRunner, stream: Any, one_shape: bool) -> None:
        self._inner, self._stream, self.one_shape = inner, stream, one_shape
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self._closed = False

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        assert not self.one_shape or self._shapes in (None, shapes), "a runner of one shape got another"
        self._shapes = shapes
        self._stream.enqueue(lambda: self._run(tensors))

    def _run(self, tensors: Mapping[str, Tensor]) -> None:
        assert not self._closed, "work of a runner that is closed"
        self._inner.enqueue(tensors)

    def capturable(self) -> bool:
        return True

    def twin(self) -> Runner:
        return Runner(self._inner, self._stream, self.one_shape)

    def close(self) -> None:
        self._closed = True


def picture(height: int = 150, width: int = 203, dtype: Any = np.uint8, channels: int = 3) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    light = np.linspace(0.1, 0.9, width)[:, None] * np.ones((height, 1, channels))
    noisy = (light + 0.1 * rng.random((height, width, channels))).clip(0, 1)
    return noisy.astype(dtype) if dtype == np.float32 else (noisy * np.iinfo(dtype).max).astype(dtype)


class OnDevice:
    """A picture [H,W,C] in the driver's memory. Each row is followed by 64 poisoned bytes."""

    def __init__(self, driver: Driver, image: NDArray[Any], bgr: bool = False) -> None:
        height, width, channels = image.shape
        self.pitch = width * channels * image.itemsize + 64
        self.memory = driver.allocate(height * self.pitch)
        strides = self.pitch, channels * image.itemsize, image.itemsize
        self.pixels = at(self.memory.address, image.shape, image.dtype, strides)
        self.pixels[...] = image
        self.picture = DevicePicture(self.memory.address, self.pitch, height, width, image.dtype, channels, bgr)

    def margins(self) -> NDArray[np.uint8]:
        """The bytes behind the pixels of each row, uint8 [H,64]."""
        rows = at(self.memory.address, (self.picture.height, self.pitch), np.uint8)
        return rows[:, self.pitch - 64 :]

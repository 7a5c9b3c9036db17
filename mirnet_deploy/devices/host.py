"""The host as a device: memory and kernels are numpy's, and work is done as soon as it is enqueued on a stream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import Event, Graph, Kernel, Stream
from mirnet_deploy.devices.host_kernels import KERNELS, at
from mirnet_deploy.errors import DeviceMemoryError, EngineError
from mirnet_deploy.machine import available_memory


class HostMemory:
    """See `Memory`: a numpy array at an aligned address."""

    def __init__(self, nbytes: int) -> None:
        self._bytes: NDArray[np.uint8] | None = _bytes(nbytes + 255)
        self.address = -(-self._bytes.ctypes.data // 256) * 256
        self.nbytes = nbytes

    def free(self) -> None:
        """See `Memory.free`."""
        self._bytes = None


class HostStream:
    """See `Stream`."""

    handle = 1

    def enqueue(self, work: Callable[[], None]) -> None:
        """Does `work` at once. The streams of the tests may put it off."""
        work()

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""

    def close(self) -> None:
        """See `Stream.close`."""


class HostEvent:
    """See `Event`. All work is done when it is made."""

    def done(self) -> bool:
        """See `Event.done`."""
        return True

    def synchronize(self) -> None:
        """See `Event.synchronize`."""

    def close(self) -> None:
        """See `Event.close`."""


class HostDriver:
    """See `Driver`."""

    name = "cpu"
    is_host = True

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Driver.active`."""
        yield

    def allocate(self, nbytes: int) -> HostMemory:
        """See `Driver.allocate`."""
        return HostMemory(nbytes)

    def free_memory(self) -> int:
        """See `Driver.free_memory`."""
        return available_memory() or sys.maxsize

    def staging(self, nbytes: int) -> NDArray[np.uint8]:
        """See `Driver.staging`."""
        return _bytes(nbytes)

    def stream(self) -> HostStream:
        """See `Driver.stream`."""
        return HostStream()

    def record(self, stream: Stream) -> Event:
        """See `Driver.record`."""
        return HostEvent()

    def follow(self, after: Stream | int, before: Stream | int) -> None:
        """See `Driver.follow`."""

    def upload(self, host: NDArray[np.uint8], address: int, pitch: int, stream: Any) -> None:
        """See `Driver.upload`."""
        stream.enqueue(lambda: np.copyto(at(address, host.shape, np.uint8, (pitch, 1)), host))

    def download(self, address: int, pitch: int, host: NDArray[np.uint8], stream: Any) -> None:
        """See `Driver.download`."""
        stream.enqueue(lambda: np.copyto(host, at(address, host.shape, np.uint8, (pitch, 1))))

    def copy(self, source: int, target: int, nbytes: int, stream: Any) -> None:
        """See `Driver.copy`."""
        stream.enqueue(lambda: np.copyto(at(target, (nbytes,), np.uint8), at(source, (nbytes,), np.uint8)))

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> Graph:
        """Raises EngineError: the host has no graphs."""
        raise EngineError("the host's streams are not captured")

    def launch(self, kernel: Kernel, size: tuple[int, int, int], arguments: Any, stream: Any) -> None:
        """See `Driver.launch`."""
        stream.enqueue(lambda: KERNELS[kernel](size, arguments))

    def close(self) -> None:
        """See `Driver.close`."""


def _bytes(nbytes: int) -> NDArray[np.uint8]:
    """uint8 [nbytes], uninitialized."""
    try:
        return np.empty(nbytes, np.uint8)
    except MemoryError as error:
        raise DeviceMemoryError(f"no memory for {nbytes >> 20} MiB more") from error

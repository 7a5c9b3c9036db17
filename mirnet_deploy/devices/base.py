"""The interface of a device: memory, streams, graphs, copies between host and device, and launches of kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kernel = Literal[
    "cut", "put", "shrink", "correct", "defect", "clear", "check", "count", "weigh", "narrow", "tone", "differ"
]
FLOAT: np.dtype[Any] = np.dtype(np.float32)


class Memory(Protocol):
    """A block of a device's memory."""

    @property
    def address(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def free(self) -> None:
        """Gives the block back. May be called twice."""


class Stream(Protocol):
    """A queue of work. Work on one stream happens in order; work on two streams happens in any order."""

    @property
    def handle(self) -> int:
        """The `CUstream` as a number; never 0."""

    def synchronize(self) -> None:
        """Waits until all work on the stream is done."""

    def close(self) -> None:
        """Gives the stream back. May be called twice; all work on it must be done."""


class Event(Protocol):
    """A point in the work of a stream."""

    def done(self) -> bool:
        """Whether the stream has passed it."""

    def synchronize(self) -> None:
        """Waits until the stream has passed it."""

    def close(self) -> None:
        """Gives the event back, also before the stream has passed it. May be called twice."""


class Graph(Protocol):
    """Work captured from a stream, which can be enqueued again in one call."""

    def launch(self, stream: Stream) -> None:
        """Enqueues all of the work, with the addresses and values that it was captured with."""

    def close(self) -> None:
        """Gives the graph back. May be called twice; all its launches must be done."""


@dataclass(frozen=True)
class DevicePicture:
    """A picture [H,W,C] in a device's memory. Pixels lie side by side, rows `pitch` bytes apart."""

    address: int
    """Of the picture's first pixel, even if only some of its rows are in memory."""
    pitch: int
    """Bytes from one row to the next; negative in a picture that is stored upside down."""
    height: int
    width: int
    dtype: np.dtype[Any]
    """uint8, uint16, or float32 in [0, 1]."""
    channels: int = 3
    """3 or 4; the fourth is copied from the source to the result."""
    bgr: bool = False
    """Whether the first three channels are blue, green, red."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, self.channels


@dataclass(frozen=True)
class Tensor:
    """A C-contiguous array in a device's memory."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any] = FLOAT

    @property
    def nbytes(self) -> int:
        """The size of the whole array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def part(self, first: int, count: int) -> Tensor:
        """`count` entries of the first axis, from index `first` on.

        >>> Tensor(4096, (8, 5)).part(2, 3)
        Tensor(address=4136, shape=(3, 5), dtype=dtype('float32'))
        """
        entry = math.prod(self.shape[1:]) * self.dtype.itemsize
        return Tensor(self.address + first * entry, (count, *self.shape[1:]), self.dtype)


class Driver(Protocol):
    """One device. Call every method but `active` and `close` inside `active`, which is cheap and may be nested.

    Raises:
        DeviceMemoryError: the device is out of memory for an allocation.
        EngineError: the device refuses anything else. After that, every further call in this process may fail too.
    """

    @property
    def name(self) -> str:
        """ "cpu" or "cuda:N"."""

    @property
    def is_host(self) -> bool:
        """Whether the device computes in the host's own memory, so that pictures need not be copied to it."""

    def active(self) -> AbstractContextManager[None]:
        """Makes the device current for this thread, and afterwards restores the previous one."""

    def allocate(self, nbytes: int) -> Memory:
        """`nbytes` of uninitialized memory on the device, at an address that is a multiple of 256."""

    def free_memory(self) -> int:
        """Bytes that can still be allocated."""

    def staging(self, nbytes: int) -> NDArray[np.uint8]:
        """Host memory for asynchronous copies (page-locked): uint8 [nbytes], uninitialized."""

    def stream(self) -> Stream:
        """A new stream; never the default one."""

    def record(self, stream: Stream) -> Event:
        """An event after all work that `stream` holds now."""

    def follow(self, after: Stream | int, before: Stream | int) -> None:
        """Makes work that is enqueued on `after` from now on wait for the work that `before` holds now.

        An int is the handle of a stream that the driver has not made.
        """

    def upload(self, host: NDArray[np.uint8], address: int, pitch: int, stream: Stream) -> None:
        """Enqueues a copy of `host` to the device, where rows lie `pitch` bytes apart.

        `host` is uint8 [rows, bytes per row], C-contiguous. It must not change until the copy is done.
        """

    def download(self, address: int, pitch: int, host: NDArray[np.uint8], stream: Stream) -> None:
        """Enqueues the reverse copy of `upload`: from rows `pitch` bytes apart on the device into `host`."""

    def copy(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Enqueues a copy of bytes from one address of the device to another."""

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """A graph of the work that `enqueue` puts on `stream`; the work is not done now.

        The same work must have been enqueued just before, so that nothing is loaded or allocated during the capture.
        """

    def launch(self, kernel: Kernel, size: tuple[int, int, int], arguments: Any, stream: Stream) -> None:
        """Enqueues a kernel of `kernels.cu` over a grid of `size` (columns, rows, tiles) threads.

        `arguments` is the kernel's tuple from `devices.arguments`. The functions of `devices.kernels` and
        `devices.result_kernels` are the only callers.
        """

    def close(self) -> None:
        """Gives the device back. May be called twice. All its memory must have been freed."""

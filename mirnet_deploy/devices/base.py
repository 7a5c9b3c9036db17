"""The interface of a device: memory, streams, graphs, copies between host and device, and launches of kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kernel = Literal["cut", "put", "shrink", "correct", "defect"]
FLOAT: np.dtype[Any] = np.dtype(np.float32)


class Memory(Protocol):
    """Bytes of a device."""

    @property
    def address(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def free(self) -> None:
        """Gives the bytes back. May be called twice."""


class Stream(Protocol):
    """What is enqueued on one stream happens in order; what is enqueued on two happens in any order."""

    @property
    def handle(self) -> int:
        """The `CUstream`; never 0."""

    def synchronize(self) -> None:
        """Waits until everything that was enqueued has happened."""

    def close(self) -> None:
        """Gives the stream back. May be called twice; everything on it must have happened."""


class Graph(Protocol):
    """What was enqueued on a stream, kept so that it can be enqueued again in one call."""

    def launch(self, stream: Stream) -> None:
        """Enqueues all of it, with the addresses and values that it was captured with."""

    def close(self) -> None:
        """Gives the graph back. May be called twice; every launch of it must have happened."""


@dataclass(frozen=True)
class DevicePicture:
    """A picture [H,W,C] in a device's memory: pixels side by side, rows `pitch` bytes apart."""

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
        """Its size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def part(self, first: int, count: int) -> Tensor:
        """`count` entries of its first axis, from `first` on.

        >>> Tensor(4096, (8, 5)).part(2, 3)
        Tensor(address=4136, shape=(3, 5), dtype=dtype('float32'))
        """
        entry = math.prod(self.shape[1:]) * self.dtype.itemsize
        return Tensor(self.address + first * entry, (count, *self.shape[1:]), self.dtype)


class Driver(Protocol):
    """One device. Every method but `active` and `close` is called inside `active`, which is cheap and may be nested.

    Raises:
        DeviceMemoryError: an allocation fails for want of memory.
        EngineError: the device refuses anything else; after such an error every call of the process may fail.
    """

    @property
    def name(self) -> str:
        """ "cpu" or "cuda:N"."""

    @property
    def is_host(self) -> bool:
        """Whether the device computes in the host's own memory, so that pictures need not be copied to it."""

    def active(self) -> AbstractContextManager[None]:
        """Makes the device current for this thread, and puts back the one that was."""

    def allocate(self, nbytes: int) -> Memory:
        """Bytes on the device, not initialized, at an address that is a multiple of 256."""

    def free_memory(self) -> int:
        """Bytes that may still be allocated."""

    def staging(self, nbytes: int) -> NDArray[np.uint8]:
        """Host memory for asynchronous copies (page-locked), uint8 [nbytes]."""

    def stream(self) -> Stream:
        """A new stream; never the default one."""

    def follow(self, after: Stream | int, before: Stream | int) -> None:
        """Lets what is enqueued on `after` from now on wait for what is on `before` now. An int is a foreign handle."""

    def upload(self, host: NDArray[np.uint8], address: int, pitch: int, stream: Stream) -> None:
        """Copies rows of bytes, uint8 [rows, bytes], C-contiguous, to rows `pitch` bytes apart on the device.

        The array must stay as it is until the stream has done the copy.
        """

    def download(self, address: int, pitch: int, host: NDArray[np.uint8], stream: Stream) -> None:
        """Copies rows of bytes from the device into `host`, as `upload` does the other way."""

    def copy(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Copies bytes from one address of the device to another."""

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """A graph of what `enqueue` puts on a stream; none of it happens now.

        The same work must have been enqueued just before, so that nothing is loaded or allocated during the capture.
        """

    def launch(self, kernel: Kernel, size: tuple[int, int, int], arguments: Any, stream: Stream) -> None:
        """Runs a kernel of `kernels.cu` for `size` (columns, rows, tiles).

        `arguments` is the kernel's tuple of `devices.kernels`, whose functions are the only callers.
        """

    def close(self) -> None:
        """Gives the device back. May be called twice. Everything that was allocated must be free."""

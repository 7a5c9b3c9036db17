"""The interface of a device: memory, streams, copies between host and device, and the kernels of `kernels.cu`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kernel = Literal["cut", "put", "shrink", "correct", "defect"]
KINDS: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1, np.dtype(np.float32): 2}
"""How kernels are told the dtype of a frame."""


class Memory(Protocol):
    """Bytes of a device."""

    @property
    def address(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def free(self) -> None:
        """Gives the bytes back. May be called twice."""


class Stream(Protocol):
    """What is enqueued here happens in order; what is enqueued on two streams happens in any order."""

    @property
    def handle(self) -> int:
        """`CUstream`; never 0."""

    def synchronize(self) -> None:
        """Waits until all of it has happened."""

    def close(self) -> None:
        """Gives it back. May be called twice; everything on it has happened by then."""


class Graph(Protocol):
    """What was enqueued on a stream, kept to be enqueued again at once."""

    def launch(self, stream: Stream) -> None:
        """Enqueues all of it, with the addresses and values that it was made with."""

    def close(self) -> None:
        """Gives it back. May be called twice; the streams that it was launched on have come past it by then."""


@dataclass(frozen=True)
class Frame:
    """A picture in a device's memory: [height, width, channels], rows `pitch` bytes apart."""

    address: int
    """Of the picture's first pixel, also where only some rows of it are in memory."""
    pitch: int
    height: int
    width: int
    dtype: np.dtype[Any]
    """uint8, uint16, or float32 in [0, 1]."""
    channels: int = 3
    """3 or 4; the fourth is carried over from source to target."""
    bgr: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """[H,W,C]."""
        return self.height, self.width, self.channels

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The first arguments of a kernel."""
        return (
            np.uintp(self.address),
            np.int64(self.pitch),
            *(np.int32(value) for value in (self.height, self.width, self.channels, KINDS[self.dtype], self.bgr)),
        )


class Driver(Protocol):
    """One device. Every method but `active` and `close` is called inside `active`, which is cheap and may be nested.

    Raises:
        DeviceMemoryError: an allocation fails for want of memory.
        EngineError: anything else that the device refuses; such an error stays with the process.
    """

    @property
    def name(self) -> str:
        """ "cpu" or "cuda:N"."""

    @property
    def is_host(self) -> bool:
        """Whether the device computes in the host's own memory: pictures need not be copied to it."""

    def active(self) -> AbstractContextManager[None]:
        """Makes the device current for this thread, and puts back what was."""

    def allocate(self, nbytes: int) -> Memory:
        """Bytes on the device, not initialized, at an address that is a multiple of 256."""

    def free_memory(self) -> int:
        """Bytes that may still be allocated."""

    def staging(self, nbytes: int) -> NDArray[np.uint8]:
        """Host memory from which and to which copies are asynchronous (page-locked)."""

    def stream(self) -> Stream:
        """A new stream; never the default one."""

    def follow(self, after: Stream | int, before: Stream | int) -> None:
        """What is enqueued on `after` from now on waits for what is on `before` now. An int is a foreign handle."""

    def upload(self, host: NDArray[np.uint8], address: int, pitch: int, stream: Stream) -> None:
        """Copies rows of bytes, [rows, bytes], C-contiguous, to rows `pitch` bytes apart. The array must not change
        before the stream has come so far."""

    def download(self, address: int, pitch: int, host: NDArray[np.uint8], stream: Stream) -> None:
        """The other way."""

    def copy(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Copies bytes from one address of the device to another."""

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """A graph of what `enqueue` puts on a stream, which does not happen now. The same was enqueued
        just before, so that nothing is loaded or allocated on the way."""

    def launch(self, kernel: Kernel, size: tuple[int, int, int], arguments: tuple[Any, ...], stream: Stream) -> None:
        """Runs a kernel of `kernels.cu` for `size` (columns, rows, tiles)."""

    def close(self) -> None:
        """Gives the device back. May be called twice. Everything that was allocated is freed by then."""

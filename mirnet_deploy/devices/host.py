"""The host as a device: memory is numpy's, kernels are numpy, and a stream's work is done as soon as it is enqueued.

The kernels take the arguments of their namesakes in `kernels.cu` and do the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import KINDS, Kernel, Stream
from mirnet_deploy.errors import DeviceMemoryError
from mirnet_deploy.machine import available_memory
from mirnet_deploy.pixels import SCALES, mirrored, rounded, shrink

DTYPES = {kind: dtype for dtype, kind in KINDS.items()}


class HostMemory:
    """A numpy array at an aligned address."""

    def __init__(self, nbytes: int) -> None:
        try:
            self._bytes: NDArray[np.uint8] | None = np.empty(nbytes + 255, np.uint8)
        except MemoryError as error:
            raise DeviceMemoryError(f"no memory for {nbytes >> 20} MiB more") from error
        self.address = -(-self._bytes.ctypes.data // 256) * 256
        self.nbytes = nbytes

    def free(self) -> None:
        """See `Memory.free`."""
        self._bytes = None


class HostStream:
    """Does everything at once, except while it is captured."""

    handle = 1

    def __init__(self) -> None:
        self.captured: list[Callable[[], None]] | None = None

    def enqueue(self, work: Callable[[], None]) -> None:
        """Where a test may put something off."""
        if self.captured is None:
            work()
        else:
            self.captured.append(work)

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""

    def close(self) -> None:
        """See `Stream.close`."""


class HostGraph:
    """See `Graph`."""

    def __init__(self, works: list[Callable[[], None]]) -> None:
        self._works = works

    def launch(self, stream: Any) -> None:
        """See `Graph.launch`."""
        for work in self._works:
            stream.enqueue(work)

    def close(self) -> None:
        """See `Graph.close`."""
        self._works = []


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
        try:
            return np.empty(nbytes, np.uint8)
        except MemoryError as error:
            raise DeviceMemoryError(f"no memory for {nbytes >> 20} MiB more") from error

    def stream(self) -> HostStream:
        """See `Driver.stream`."""
        return HostStream()

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

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> HostGraph:
        """See `Driver.capture`."""
        works: list[Callable[[], None]] = []
        stream.captured = works
        try:
            enqueue()
        finally:
            stream.captured = None
        return HostGraph(works)

    def launch(self, kernel: Kernel, size: tuple[int, int, int], arguments: tuple[Any, ...], stream: Any) -> None:
        """See `Driver.launch`."""
        plain = [argument.item() for argument in arguments]
        stream.enqueue(lambda: KERNELS[kernel](size, *plain))

    def close(self) -> None:
        """See `Driver.close`."""


class _At:
    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def at(address: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Memory as an array, which does not keep the memory."""
    described = {"data": (address, False), "shape": shape, "strides": strides, "version": 3}
    return np.asarray(_At({**described, "typestr": np.dtype(dtype).str}))


def _frame(address: int, pitch: int, height: int, width: int, channels: int, kind: int, bgr: int) -> NDArray[Any]:
    """A frame's colours in the order RGB."""
    size = DTYPES[kind].itemsize
    pixels = at(address, (height, width, channels), DTYPES[kind], (pitch, channels * size, size))
    return pixels[..., 2::-1] if bgr else pixels[..., :3]


def _cut(
    size: tuple[int, int, int],
    *arguments: int,
) -> None:
    described, rest = arguments[:7], arguments[7:]
    padded_height, padded_width, origins, batch, planar, tile_height, tile_width = rest
    frame, kind, count = _frame(*described), described[5], size[2]
    rows, cols = mirrored(frame.shape[0], padded_height), mirrored(frame.shape[1], padded_width)
    for index, (row, col) in enumerate(at(origins, (count, 2), np.int32)):
        crop = _window(frame, rows[row : row + tile_height], cols[col : col + tile_width])
        if planar:
            plane = at(batch, (count, 3, tile_height, tile_width), np.float32)[index]
            np.divide(crop.transpose(2, 0, 1), np.float32(SCALES[DTYPES[kind]]), out=plane, dtype=np.float32)
        else:
            at(batch, (count, tile_height, tile_width, 3), np.uint8)[index] = crop


def _window(frame: NDArray[Any], rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[Any]:
    top, left = rows.min(), cols.min()
    crop = frame[top : rows.max() + 1, left : cols.max() + 1]
    if crop.shape[:2] == (len(rows), len(cols)):
        return crop
    return np.asarray(crop[rows - top][:, cols - left])


def _put(size: tuple[int, int, int], *arguments: int) -> None:
    batch, planar, tile_height, tile_width, cores, source, source_pitch, *described, flaws = arguments
    frame, kind, count = _frame(*described), described[5], size[2]
    shape = (count, 3, tile_height, tile_width) if planar else (count, tile_height, tile_width, 3)
    results = at(batch, shape, np.float32 if planar else np.uint8)
    for result, core in zip(results, at(cores, (count, 6), np.int32), strict=True):
        row, col, to_row, to_col, height, width = (int(value) for value in core)
        height, width = min(height, frame.shape[0] - to_row), min(width, frame.shape[1] - to_col)
        if height <= 0 or width <= 0:
            continue
        kept = (slice(to_row, to_row + height), slice(to_col, to_col + width))
        if planar:
            values = result[:, row : row + height, col : col + width]
            at(flaws, (1,), np.int32)[0] += values.size - np.count_nonzero(np.isfinite(values))
            frame[kept] = rounded(values, DTYPES[kind]).transpose(1, 2, 0)
        else:
            frame[kept] = result[row : row + height, col : col + width]
        if described[4] == 4:
            address, pitch, height, width = described[:4]
            alpha = _alpha(source, source_pitch, height, width, kind)[kept]
            _alpha(address, pitch, height, width, kind)[kept] = alpha


def _alpha(address: int, pitch: int, height: int, width: int, kind: int) -> NDArray[Any]:
    size = DTYPES[kind].itemsize
    return at(address, (height, width, 4), DTYPES[kind], (pitch, 4 * size, size))[..., 3]


def _shrink(size: tuple[int, int, int], *arguments: int) -> None:
    target, pitch, height, width, kind = arguments[7:]
    small = shrink(_frame(*arguments[:7]), (height, width))
    _frame(target, pitch, height, width, 3, kind, 0)[...] = rounded(small, DTYPES[kind])


def _correct(_: tuple[int, int, int], measured: int, lacking: int, context: int, size: int) -> None:
    at(context, (size,), np.float32)[...] = at(measured, (size,), np.float32) + at(lacking, (size,), np.float32)


def _defect(
    _: tuple[int, int, int], statistics: int, cores: int, tiles: int, measured: int, lacking: int, size: int
) -> None:
    areas = at(cores, (tiles, 6), np.int32)[:, 4:].astype(np.float64).prod(axis=1)
    means = areas @ at(statistics, (tiles, size), np.float32).astype(np.float64) / areas.sum()
    at(lacking, (size,), np.float32)[...] = means - at(measured, (size,), np.float32)


KERNELS: dict[Kernel, Callable[..., None]] = {
    "cut": _cut,
    "put": _put,
    "shrink": _shrink,
    "correct": _correct,
    "defect": _defect,
}

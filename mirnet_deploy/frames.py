"""Pictures where a device can reach them: arrays as they lie in the host's memory, or bands of rows that are copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import Driver, Frame
from mirnet_deploy.lanes import Lane
from mirnet_deploy.pixels import Sink, Source


class Band:
    """Rows of a picture, [H,W,3], on a device, in buffers of `lane` that are called `name`.

    An array whose channels run backwards (a view of BGR) is staged as it lies in memory, and the kernels turn it.
    """

    def __init__(
        self, driver: Driver, lane: Lane, name: str, rows: tuple[int, int], image: Source | Sink, dtype: np.dtype[Any]
    ) -> None:
        """`rows`: the first, and the one after the last."""
        height, width = image.shape[:2]
        self._driver, self._lane, self._first, self._last = driver, lane, *rows
        self._bgr = isinstance(image, np.ndarray) and image.strides[2] < 0
        self._rows: NDArray[Any] = lane.staging(name, (rows[1] - rows[0], width, 3), dtype)
        pitch = self._rows.strides[0]
        self._address = self._rows.ctypes.data if driver.is_host else lane.buffer(name, self._rows.nbytes)
        self.frame = Frame(self._address - rows[0] * pitch, pitch, height, width, dtype, bgr=self._bgr)

    def upload(self, image: Source) -> None:
        """Brings the rows of `image` to the device."""
        rows = image[self._first : self._last]
        self._rows[...] = rows[..., ::-1] if self._bgr else rows
        if not self._driver.is_host:
            self._driver.upload(as_bytes(self._rows), self._address, self.frame.pitch, self._lane.stream)

    def download(self) -> None:
        """Brings them back to the host, when the lane's stream has come so far."""
        if not self._driver.is_host:
            self._driver.download(self._address, self.frame.pitch, as_bytes(self._rows), self._lane.stream)

    def store(self, out: Sink) -> None:
        """Writes them, which have come, into the result."""
        out[self._first : self._last] = self._rows[..., ::-1] if self._bgr else self._rows


def shared_frame(array: Any) -> Frame | None:
    """The frame that an array, [H,W,3], is in the host's own memory; None where it is no array, or its pixels do not
    lie side by side."""
    if not isinstance(array, np.ndarray):
        return None
    (pitch, pixel, channel), size = array.strides, array.itemsize
    if pixel != 3 * size or abs(channel) != size:
        return None
    (height, width), bgr = array.shape[:2], channel < 0
    return Frame(array.ctypes.data - 2 * size * bgr, pitch, height, width, array.dtype, bgr=bgr)


def shared_frames(image: Any, out: Any) -> tuple[Frame, Frame] | None:
    """Those of a picture and of its result; None where one of them has none."""
    source, target = shared_frame(image), shared_frame(out)
    return None if source is None or target is None else (source, target)


def as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """A C-contiguous array as rows of bytes."""
    return array.reshape(len(array), -1).view(np.uint8)

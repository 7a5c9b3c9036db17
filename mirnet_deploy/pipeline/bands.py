"""Pictures where a device can reach them: arrays as they lie in host memory, or bands of rows that are copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.pipeline.slots import Slot
from mirnet_deploy.pixels import Sink, Source


class Band:
    """Some rows of a picture, [H,W,3], on a device, in buffers of a slot.

    An array whose channels run backwards (a view of BGR) is staged as it lies in memory; the kernels reverse them.

    Args:
        name: the name of the buffers.
        rows: the first row, and the one after the last.
        image: the whole picture or its result, which gives the size and the order of channels.
        dtype: of the rows.
    """

    def __init__(
        self, slot: Slot, name: str, rows: tuple[int, int], image: Source | Sink, dtype: np.dtype[Any]
    ) -> None:
        height, width = image.shape[:2]
        self._slot, self._first, self._last = slot, *rows
        self._bgr = isinstance(image, np.ndarray) and image.strides[2] < 0
        self._rows: NDArray[Any] = slot.staging(name, (rows[1] - rows[0], width, 3), dtype)
        pitch = self._rows.strides[0]
        self._copied = not slot.driver.is_host
        self._address = slot.buffer(name, self._rows.nbytes) if self._copied else self._rows.ctypes.data
        self.picture = DevicePicture(self._address - rows[0] * pitch, pitch, height, width, dtype, bgr=self._bgr)

    @staticmethod
    def nbytes(rows: int, width: int, dtype: np.dtype[Any]) -> int:
        """Bytes of the device's memory that a band takes."""
        return rows * width * 3 * dtype.itemsize

    def upload(self, image: Source) -> None:
        """Stages the rows of `image` and enqueues their copy to the device."""
        rows = image[self._first : self._last]
        self._rows[...] = rows[..., ::-1] if self._bgr else rows
        if self._copied:
            self._slot.upload(self._rows, self._address)

    def download(self) -> None:
        """Enqueues the copy of the rows back to the host, after the work that the slot's stream holds."""
        if self._copied:
            self._slot.download(self._address, self._rows)

    def store(self, out: Sink) -> None:
        """Writes the rows into the result. Their download must be done."""
        out[self._first : self._last] = self._rows[..., ::-1] if self._bgr else self._rows


def shared_picture(array: Any) -> DevicePicture | None:
    """An array, [H,W,3], as a picture in the host's own memory. None if it is not an array or its pixels do not lie
    side by side; its rows may be any distance apart."""
    if not isinstance(array, np.ndarray):
        return None
    (pitch, pixel, channel), size = array.strides, array.itemsize
    if pixel != 3 * size or abs(channel) != size:
        return None
    (height, width), bgr = array.shape[:2], channel < 0
    return DevicePicture(array.ctypes.data - 2 * size * bgr, pitch, height, width, array.dtype, bgr=bgr)


def shared_pictures(image: Any, out: Any) -> tuple[DevicePicture, DevicePicture] | None:
    """A picture and its result, both as from `shared_picture`; None where one of them is None."""
    source, target = shared_picture(image), shared_picture(out)
    return None if source is None or target is None else (source, target)

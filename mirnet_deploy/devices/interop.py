"""Pictures in a device's memory that belong to other libraries (CuPy, torch, Numba, JAX) or are plain pointers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mirnet_deploy.devices.arguments import KINDS
from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.devices.gpu_libraries import imported
from mirnet_deploy.errors import ImageError, first_line

NO_ORDER = -1
"""Passed to cuda-core in place of a stream where there is nothing to wait for."""
DL_CPU = 1
"""DLPack's number for the CPU."""
_REFUSALS = (AttributeError, BufferError, RuntimeError, TypeError)
"""What libraries raise where they cannot show each other a picture. NotImplementedError is a RuntimeError."""


def device_pictures(
    source: Any, target: Any, device: str, stream: int, bgr: bool
) -> tuple[DevicePicture, DevicePicture]:
    """A picture and the one that takes its result; see `device_picture`.

    Raises:
        ImageError: as there; or `target` is read-only, differs from `source` in shape, dtype or order of channels, or
            begins at the same address.
    """
    first = device_picture(source, device, stream, bgr)
    second = device_picture(target, device, stream, bgr, written=True)
    if replace(first, address=0, pitch=0) != replace(second, address=0, pitch=0):
        raise ImageError(f"dst is {second}; expected the shape, dtype and channels of src, {first}")
    if first.address == second.address:
        raise ImageError("src and dst are one picture; a tile would read what its neighbour has written")
    return first, second


def device_picture(image: Any, device: str, stream: int, bgr: bool, *, written: bool = False) -> DevicePicture:
    """Finds out where and how `image` lies, without a copy.

    Args:
        image: [H,W,3] or [H,W,4], uint8, uint16 or float32 in [0, 1], pixels side by side and rows at any distance: an
            object with `__dlpack__` or `__cuda_array_interface__`; or a `DevicePicture`, which is returned unchecked.
        device: the runtime's, "cpu" or "cuda:N"; the picture must lie there.
        stream: the handle of the caller's `CUstream`. Work that is enqueued there later waits for the work that the
            picture's library has enqueued on the picture. For a `DevicePicture` nothing is waited for.
        bgr: whether the first three channels are blue, green, red. A `DevicePicture` says so itself.
        written: whether the picture takes a result.

    Raises:
        ImageError: it is something else, lies elsewhere, or is to be written and is read-only.
        MissingDependencyError: cuda-core, which reads the layout of pictures on a GPU, is not installed.
    """
    if isinstance(image, DevicePicture):
        return image
    there, address, shape, strides, dtype, read_only = _on_host(image) if device == "cpu" else _on_gpu(image, stream)
    if there != device:
        raise ImageError(f"the picture is on {there}, and this runtime on {device}")
    if written and read_only:
        raise ImageError("dst is read-only; expected a picture that may be written")
    return _checked(address, shape, strides, dtype, bgr)


_Seen = tuple[str, int, tuple[int, ...], Sequence[int], np.dtype[Any], bool]
"""Device, address, shape, strides in bytes, dtype, and whether it is read-only."""


def _on_host(image: Any) -> _Seen:
    if hasattr(image, "__cuda_array_interface__"):
        raise ImageError("the picture is in a GPU's memory, and this runtime is on the CPU")
    if not isinstance(image, np.ndarray):
        if not hasattr(image, "__dlpack__"):
            raise _no_picture(image)
        try:
            image = np.from_dlpack(image)
        except _REFUSALS as error:  # it is on a GPU, or of a dtype that numpy lacks
            raise ImageError(f"the picture cannot be read on the CPU: {first_line(error)}") from error
    return "cpu", image.ctypes.data, image.shape, image.strides, image.dtype, not image.flags.writeable


def _on_gpu(image: Any, stream: int) -> _Seen:
    if not (hasattr(image, "__dlpack__") or hasattr(image, "__cuda_array_interface__")):
        raise _no_picture(image)
    view_of = imported("cuda.core.utils").StridedMemoryView.from_any_interface
    try:
        on_host = not hasattr(image, "__cuda_array_interface__") and image.__dlpack_device__()[0] == DL_CPU
        view = view_of(image, NO_ORDER if on_host else stream)
        there = "the CPU" if view.device_id < 0 else f"cuda:{view.device_id}"
        if view.dtype is None:
            raise TypeError("numpy has no dtype like its own")
        dtype = np.dtype(view.dtype)
    except _REFUSALS as error:
        raise ImageError(f"the picture cannot be looked at: {first_line(error)}") from error
    counts = view.strides or _contiguous(view.shape)
    strides = [count * dtype.itemsize for count in counts]
    return there, int(view.ptr), tuple(view.shape), strides, dtype, bool(view.readonly)


def _no_picture(image: Any) -> ImageError:
    return ImageError(
        f"a {type(image).__name__} is not a picture on a device; expected a DevicePicture, or an object with "
        "__dlpack__ or __cuda_array_interface__"
    )


def _contiguous(shape: Sequence[int]) -> list[int]:
    """The strides of a C-contiguous array, counted in values, not bytes."""
    strides = [1]
    for side in reversed(shape[1:]):
        strides.insert(0, strides[0] * side)
    return strides


def _checked(
    address: int, shape: tuple[int, ...], strides: Sequence[int], dtype: np.dtype[Any], bgr: bool
) -> DevicePicture:
    if len(shape) != 3 or shape[2] not in (3, 4) or 0 in shape or dtype not in KINDS:
        raise ImageError(f"the picture is {dtype} {list(shape)}; expected uint8, uint16 or float32 [H,W,3] or [H,W,4]")
    height, width, channels = shape
    pitch, pixel, channel = strides
    if (pixel, channel) != (channels * dtype.itemsize, dtype.itemsize) or pitch < width * pixel:
        raise ImageError(f"the picture has strides {[pitch, pixel, channel]}; expected pixels side by side")
    if address % dtype.itemsize or pitch % dtype.itemsize:
        raise ImageError(f"the picture is at {address:#x}, rows {pitch} bytes apart; expected whole values of {dtype}")
    return DevicePicture(address, pitch, height, width, dtype, channels, bgr)

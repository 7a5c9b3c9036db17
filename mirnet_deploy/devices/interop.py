"""Pictures of other libraries in a device's memory: `__cuda_array_interface__`, DLPack, or plain pointers."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np

from mirnet_deploy.devices.base import KINDS, Frame
from mirnet_deploy.errors import ImageError

CPU, CUDA = 1, 2
"""DLPack's device types."""


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]


def frames_of(source: Any, target: Any, device: str, bgr: bool = False) -> tuple[Frame, Frame]:
    """Those of a picture and of its result, as of `frame_of`.

    Raises:
        ImageError: as there; or they differ in more than place and pitch, or are one.
    """
    first, second = (frame_of(each, device, bgr) for each in (source, target))
    if replace(first, address=0, pitch=0) != replace(second, address=0, pitch=0):
        raise ImageError(f"dst is {second}; expected the shape, dtype and channels of src, {first}")
    if first.address == second.address:
        raise ImageError("src and dst are one picture; a tile would read what its neighbour has written")
    return first, second


def frame_of(image: Any, device: str, bgr: bool = False) -> Frame:
    """The frame that `image` is, without a copy.

    Args:
        image: [H,W,3] or [H,W,4], uint8, uint16 or float32 in [0, 1], pixels side by side and rows at any distance: a
            `Frame`; an object with `__cuda_array_interface__`; or a DLPack capsule or an object that gives one. Of a
            capsule the memory is used, and not taken over: its owner keeps it.
        device: of the runtime, "cpu" or "cuda:N"; the picture must lie there.
        bgr: the order of its channels; a `Frame` says its own.

    Raises:
        ImageError: it is something else, or elsewhere.
    """
    if isinstance(image, Frame):
        return image
    interface = getattr(image, "__cuda_array_interface__", None)
    if interface is not None:
        if device == "cpu":
            raise ImageError("the picture is in a GPU's memory, and this runtime is on the CPU")
        return _frame(interface["data"][0], interface["shape"], interface.get("strides"), interface["typestr"], bgr)
    capsule = image if _is_capsule(image) else getattr(image, "__dlpack__", lambda: None)()
    if capsule is None or not _is_capsule(capsule):
        raise ImageError(
            f"a {type(image).__name__} is no picture on a device; expected a Frame, an object with "
            "__cuda_array_interface__, or DLPack"
        )
    return _of_dlpack(capsule, device, bgr)


def _is_capsule(image: Any) -> bool:
    return bool(_is_valid(image, b"dltensor"))


def _of_dlpack(capsule: Any, device: str, bgr: bool) -> Frame:
    tensor = ctypes.cast(_pointer_of(capsule, b"dltensor"), ctypes.POINTER(_DLTensor)).contents
    there = {CPU: "cpu", CUDA: f"cuda:{tensor.device_id}"}.get(tensor.device_type, "another device")
    if there != device:
        raise ImageError(f"the picture is on {there}, and this runtime on {device}")
    kind = {0: "i", 1: "u", 2: "f"}.get(tensor.code, "V")
    dtype = f"{kind}{tensor.bits // 8}"
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(step * (tensor.bits // 8) for step in tensor.strides[: tensor.ndim]) if tensor.strides else None
    return _frame(tensor.data + tensor.byte_offset, shape, strides, dtype, bgr)


def _frame(address: int, shape: tuple[int, ...], strides: tuple[int, ...] | None, typestr: str, bgr: bool) -> Frame:
    dtype = np.dtype(typestr)
    if len(shape) != 3 or shape[2] not in (3, 4) or 0 in shape or dtype not in KINDS:
        raise ImageError(f"the picture is {dtype} {list(shape)}; expected uint8, uint16 or float32 [H,W,3] or [H,W,4]")
    height, width, channels = shape
    pitch, pixel, channel = strides or (width * channels * dtype.itemsize, channels * dtype.itemsize, dtype.itemsize)
    if (pixel, channel) != (channels * dtype.itemsize, dtype.itemsize) or pitch < width * pixel:
        raise ImageError(f"the picture has strides {[pitch, pixel, channel]}; expected pixels side by side")
    if address % dtype.itemsize or pitch % dtype.itemsize:
        raise ImageError(f"the picture is at {address:#x}, rows {pitch} bytes apart; expected whole values of {dtype}")
    return Frame(address, pitch, height, width, dtype, channels, bgr)

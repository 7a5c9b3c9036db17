"""Pictures of other libraries: which are taken, which are refused, and whose stream is waited for.

cuda-core's view of a picture on a GPU needs CUDA's driver. Here a stand-in takes its place, which follows the rules of
its documentation; `test_gpu` uses the real one.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.devices.interop import NO_ORDER, device_picture, device_pictures
from mirnet_deploy.errors import ImageError, MissingDependencyError

try:  # before a stand-in takes the package's place
    from cuda.core._memoryview import StridedMemoryView as REAL
except ImportError:
    REAL = None

STREAM = 77


class View:
    """`cuda.core.utils.StridedMemoryView`, as far as it is used."""

    waited: list[tuple[object, int]]
    """(producer's stream, consumer's stream) of every wait that was enqueued."""

    @classmethod
    def from_any_interface(cls, image: Any, stream_ptr: int | None = None) -> Any:
        interface = getattr(image, "__cuda_array_interface__", None)
        if stream_ptr is None:
            raise BufferError("stream=None is ambiguous with view()")
        if interface is None:  # DLPack of a CPU
            if stream_ptr != NO_ORDER:
                raise BufferError("a stream was given for the CPU")
            image = np.from_dlpack(image)
            counts = tuple(step // image.itemsize for step in image.strides)
            return cls._made(image.ctypes.data, image.shape, counts, image.dtype, -1, not image.flags.writeable)
        if interface["version"] < 3:
            raise BufferError("only CUDA Array Interface v3 or above is supported")
        if interface.get("stream") is not None and stream_ptr != NO_ORDER:
            cls.waited.append((interface["stream"], stream_ptr))
        dtype = np.dtype(interface["typestr"])
        strides = interface.get("strides")
        counts = None if strides is None else tuple(step // dtype.itemsize for step in strides)
        address, read_only = interface["data"]
        return cls._made(address, interface["shape"], counts, dtype, image.device_id, read_only)

    @staticmethod
    def _made(ptr: int, shape: Any, strides: Any, dtype: Any, device_id: int, readonly: bool) -> Any:
        return SimpleNamespace(
            ptr=ptr, shape=shape, strides=strides, dtype=dtype, device_id=device_id, readonly=readonly
        )


@pytest.fixture(autouse=True)
def view(monkeypatch: pytest.MonkeyPatch) -> type[View]:
    View.waited = []
    module = ModuleType("cuda.core.utils")
    module.StridedMemoryView = View  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda.core.utils", module)
    return View


def interface(device_id: int = 0, **values: Any) -> Any:
    """An object with `__cuda_array_interface__`, as CuPy, Numba and torch have it."""
    described = {"data": (4096, False), "shape": (5, 7, 3), "typestr": "|u1", "strides": None, "version": 3}
    return SimpleNamespace(__cuda_array_interface__={**described, **values}, device_id=device_id)


def test_the_cuda_array_interface_is_read() -> None:
    assert device_picture(interface(), "cuda:0", STREAM, False) == DevicePicture(4096, 21, 5, 7, np.dtype(np.uint8))
    wide = interface(shape=(5, 7, 4), typestr="<f4", strides=(512, 16, 4))
    expected = DevicePicture(4096, 512, 5, 7, np.dtype(np.float32), 4, True)
    assert device_picture(wide, "cuda:0", STREAM, True) == expected


def test_the_producers_stream_is_waited_for(view: type[View]) -> None:
    device_pictures(interface(stream=5), interface(stream=6, data=(8192, False)), "cuda:0", STREAM, False)
    assert view.waited == [(5, STREAM), (6, STREAM)]


def test_a_picture_on_another_gpu_is_refused() -> None:
    assert device_picture(interface(device_id=1), "cuda:1", STREAM, False).address == 4096
    with pytest.raises(ImageError, match="the picture is on cuda:1, and this runtime on cuda:0"):
        device_picture(interface(device_id=1), "cuda:0", STREAM, False)


@pytest.mark.parametrize("device", ["cuda:0", "cpu"])
def test_a_read_only_picture_is_read_and_never_written(device: str) -> None:
    if device == "cpu":
        kept, other = np.zeros((5, 7, 3), np.uint8), np.zeros((5, 7, 3), np.uint8)
        kept.flags.writeable = False
    else:
        kept, other = interface(data=(4096, True)), interface(data=(8192, False))
    source, _ = device_pictures(kept, other, device, STREAM, False)
    assert source.width == 7
    with pytest.raises(ImageError, match="dst is read-only"):
        device_pictures(other, kept, device, STREAM, False)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_dlpack_is_read(dtype: torch.dtype, channels: int) -> None:
    """A slice of a larger picture has its own address and the larger one's pitch."""
    whole = torch.zeros((9, 20, channels), dtype=dtype)
    part = whole[2:8, 3:10]
    size = part.element_size()
    kind = np.dtype(str(dtype).split(".")[1])
    expected = DevicePicture(part.data_ptr(), 20 * channels * size, 6, 7, kind, channels)
    assert device_picture(part, "cpu", STREAM, False) == expected
    assert device_picture(part.numpy(), "cpu", STREAM, False) == expected


def test_a_device_picture_is_taken_as_it_is() -> None:
    picture = DevicePicture(1, 2, 3, 4, np.dtype(np.uint8), 4, True)
    assert device_picture(picture, "cpu", STREAM, False) is picture


class Bare:
    """Has one half of DLPack's protocol."""

    def __dlpack__(self, **_: Any) -> Any:
        raise AttributeError("no __dlpack_device__")


@pytest.mark.parametrize(
    ("image", "device", "said"),
    [
        (interface(), "cpu", "in a GPU's memory, and this runtime is on the CPU"),
        (interface(version=2), "cuda:0", "only CUDA Array Interface v3"),
        (torch.zeros(4, 4, 3), "cuda:0", "is on the CPU, and this runtime on cuda:0"),
        (interface(shape=(5, 7)), "cuda:0", r"uint8 \[5, 7\]; expected uint8, uint16 or float32 \[H,W,3\]"),
        (interface(shape=(0, 7, 3)), "cuda:0", r"\[0, 7, 3\]"),
        (interface(typestr="<f8"), "cuda:0", "float64"),
        (interface(strides=(21, 1, 7)), "cuda:0", "expected pixels side by side"),
        (interface(strides=(-21, 3, 1)), "cuda:0", "expected pixels side by side"),
        (interface(typestr="<u2", data=(4097, False)), "cuda:0", "expected whole values of uint16"),
        (torch.zeros(4, 4, 3, dtype=torch.bfloat16), "cpu", "cannot be read on the CPU"),
        (torch.zeros(3, 4, 4).permute(1, 2, 0), "cpu", "expected pixels side by side"),
        ([[0]], "cpu", "a list is not a picture on a device"),
        (Bare(), "cpu", "cannot be read on the CPU: .*__dlpack_device__"),
        (Bare(), "cuda:0", "cannot be looked at: .*__dlpack_device__"),
        ([[0]], "cuda:0", "a list is not a picture on a device"),
        (torch.zeros(4, 4, 3).__dlpack__(), "cpu", "a PyCapsule is not a picture on a device"),
    ],
)
def test_other_objects_and_layouts_are_refused(image: Any, device: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        device_picture(image, device, STREAM, False)


def test_without_cuda_core_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.core.utils", None)
    with pytest.raises(MissingDependencyError, match=r'cuda-core.*pip install "mirnet-deploy\[pycuda\]"'):
        device_picture(interface(), "cuda:0", STREAM, False)


@pytest.mark.skipif(REAL is None, reason="cuda-core has no wheels for this system")
def test_the_stand_in_agrees_with_the_real_view_on_a_cpu() -> None:
    array = np.zeros((4, 5, 3), np.float32)[:, ::2]
    for image in (array, torch.from_numpy(array)):
        ours, theirs = (each.from_any_interface(image, NO_ORDER) for each in (View, REAL))
        for name in ("ptr", "shape", "strides", "dtype", "device_id", "readonly"):
            assert getattr(ours, name) == getattr(theirs, name), name


def test_a_picture_cannot_be_its_own_result() -> None:
    picture = DevicePicture(64, 72, 3, 4, np.dtype(np.uint8), 3, False)
    assert device_pictures(picture, replace(picture, address=4096), "cpu", STREAM, False)[1].address == 4096
    with pytest.raises(ImageError, match="src and dst are one picture"):
        device_pictures(picture, picture, "cpu", STREAM, False)

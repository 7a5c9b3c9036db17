"""Pictures of other libraries as frames: what is taken, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mirnet_deploy.devices import Frame
from mirnet_deploy.devices.interop import frame_of, frames_of
from mirnet_deploy.errors import ImageError


def interface(**values: Any) -> Any:
    """An object with `__cuda_array_interface__`, as CuPy, Numba and torch have it."""
    described = {"data": (4096, False), "shape": (5, 7, 3), "typestr": "|u1", "strides": None, "version": 3}
    return SimpleNamespace(__cuda_array_interface__={**described, **values})


def test_cuda_array_interface() -> None:
    assert frame_of(interface(), "cuda:0") == Frame(4096, 21, 5, 7, np.dtype(np.uint8))
    wide = interface(shape=(5, 7, 4), typestr="<f4", strides=(512, 16, 4))
    assert frame_of(wide, "cuda:0", bgr=True) == Frame(4096, 512, 5, 7, np.dtype(np.float32), 4, True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_dlpack(dtype: torch.dtype, channels: int) -> None:
    """A slice of a larger picture: its own address, and the larger one's pitch."""
    whole = torch.zeros((9, 20, channels), dtype=dtype)
    part = whole[2:8, 3:10]
    size = part.element_size()
    expected = Frame(part.data_ptr(), 20 * channels * size, 6, 7, np.dtype(str(dtype).split(".")[1]), channels)
    assert frame_of(part, "cpu") == expected
    assert frame_of(torch.utils.dlpack.to_dlpack(part), "cpu") == expected
    assert frame_of(part.numpy(), "cpu") == expected


def test_a_frame_is_taken_as_it_is() -> None:
    frame = Frame(1, 2, 3, 4, np.dtype(np.uint8), 4, True)
    assert frame_of(frame, "cpu") is frame


@pytest.mark.parametrize(
    ("image", "device", "said"),
    [
        (interface(), "cpu", "in a GPU's memory, and this runtime is on the CPU"),
        (torch.zeros(4, 4, 3), "cuda:0", "is on cpu, and this runtime on cuda:0"),
        (interface(shape=(5, 7)), "cuda:0", r"uint8 \[5, 7\]; expected uint8, uint16 or float32 \[H,W,3\]"),
        (interface(shape=(0, 7, 3)), "cuda:0", r"\[0, 7, 3\]"),
        (interface(typestr="<f8"), "cuda:0", "float64"),
        (interface(strides=(21, 1, 7)), "cuda:0", "expected pixels side by side"),
        (interface(strides=(-21, 3, 1)), "cuda:0", "expected pixels side by side"),
        (interface(typestr="<u2", data=(4097, False)), "cuda:0", "expected whole values of uint16"),
        (interface(typestr="<u2", data=(4096, False), strides=(43, 6, 2)), "cuda:0", "expected whole values of uint16"),
        (torch.zeros(4, 4, 3, dtype=torch.bfloat16), "cpu", "picture is"),
        (torch.zeros(3, 4, 4).permute(1, 2, 0), "cpu", "expected pixels side by side"),
        ([[0]], "cpu", "a list is no picture on a device"),
    ],
)
def test_what_is_refused(image: Any, device: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        frame_of(image, device)


def test_a_picture_is_not_its_own_result() -> None:
    frame = Frame(64, 72, 3, 4, np.dtype(np.uint8), 3, False)
    assert frames_of(frame, replace(frame, address=4096), "cpu")[1].address == 4096
    with pytest.raises(ImageError, match="src and dst are one picture"):
        frames_of(frame, frame, "cpu")

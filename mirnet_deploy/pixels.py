"""Pictures in host memory: which are accepted, and what is done to their pixels outside of the network."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError

_BAND = 1 << 20
"""Pixels that `shrink` averages at a time, so that it needs no float copy of the picture."""


Buffer = Any
"""An array [H,W,3], or anything else with the buffer protocol."""


class Source(Protocol):
    """A picture [H,W,3] whose windows can be read by slices, as those of an array can."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, key: Any, /) -> NDArray[Any]: ...


class Sink(Protocol):
    """Takes the rows of a result [H,W,3] by slices, as an array does."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __setitem__(self, rows: slice, pixels: Any, /) -> None: ...


SHRINK_BYTES = 12 * _BAND * 2
"""Bytes that `shrink` takes beside its result."""

SCALES: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
"""The value of white, by the dtype of a picture."""

BINS = 1 << 16
"""Bins of the histogram of values in [0, 1] on which the gain of a tone curve is found."""
MOST_GAIN = 256.0
"""The largest gain of a tone curve, reached in pictures that are (nearly) black throughout; 1 / 256 is the least."""


def as_array(image: Any) -> NDArray[Any]:
    """A picture in host memory as an array, without a copy.

    Args:
        image: an array, or anything else with the buffer protocol (`memoryview`, pybind11's `py::array`).

    Raises:
        ImageError: it is something else.
    """
    if isinstance(image, np.ndarray):
        return image
    try:
        return np.asarray(memoryview(image))
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"a {type(image).__name__} is not a picture; expected a buffer [H,W,3], as numpy has"
        ) from error


def check_picture(image: NDArray[Any], interface: str) -> None:
    """Checks that `image` is uint8, uint16 or float32 in [0, 1], [H,W,3], and that an engine of `interface` takes it.

    Raises:
        ImageError: it is something else; the text says what it is, or which interface to export.
    """
    check_shape(image.shape)
    check_dtype(image.dtype, interface)
    if image.dtype == np.float32:
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # a NaN makes both NaN
            raise ImageError(f"image has float32 values from {low} to {high}; expected [0, 1] without NaN")


def check_shape(shape: tuple[int, ...]) -> None:
    """Checks that a shape is that of a picture, [H,W,3].

    Raises:
        ImageError: it is not.
    """
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ImageError(f"image has shape {list(shape)}; expected [H,W,3], RGB, of at least 1x1")


def check_dtype(dtype: np.dtype[Any], interface: str) -> None:
    """Checks that an engine of `interface` takes pictures of `dtype`.

    Raises:
        ImageError: it does not.
    """
    if dtype not in SCALES:
        raise ImageError(f"image has dtype {dtype}; expected uint8, uint16 or float32 in [0, 1]")
    if interface == "image" and dtype != np.uint8:
        raise ImageError(
            f"image has dtype {dtype}, and this engine has the interface 'image', which takes uint8; "
            "export the model with --interface float"
        )


def check_out(out: NDArray[Any], image: Source) -> None:
    """Checks that `out` can take the result for `image`.

    Raises:
        ImageError: another shape or dtype, or read-only.
    """
    if out.shape != image.shape or out.dtype != image.dtype:
        raise ImageError(
            f"out is {out.dtype} {list(out.shape)}; expected {image.dtype} {list(image.shape)}, as the image"
        )
    if not out.flags.writeable:
        raise ImageError("out is read-only; expected a writeable array")


def mirrored(length: int, padded: int) -> NDArray[np.intp]:
    """For each of the `padded` pixels of an axis, the index of the one of `length` pixels that it shows: [padded].

    The padding lies at the end and mirrors the picture without repeating its last pixel. Where the picture is too short
    for that, the last pixel is repeated.

    >>> mirrored(4, 6).tolist(), mirrored(2, 4).tolist()
    ([0, 1, 2, 3, 2, 1], [0, 1, 1, 1])
    """
    index, last = np.arange(padded), length - 1
    if padded - length > last:
        return np.minimum(index, last)
    return np.where(index > last, 2 * last - index, index)


def padded(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """A copy of a picture, [H,W,…], padded at the bottom and the right to multiples of `multiple`; see `mirrored`."""
    height, width = (-(-side // multiple) * multiple for side in image.shape[:2])
    rows, cols = mirrored(image.shape[0], height), mirrored(image.shape[1], width)
    return np.asarray(image[rows][:, cols])


def unit(pixels: Any) -> NDArray[np.float32]:
    """Pixels of a dtype in `SCALES` as float32 in [0, 1], of the same shape, in a new array.

    `pixels` is an array, or anything with a dtype that numpy can make an array of.
    """
    return np.asarray(pixels, np.float32) / np.float32(SCALES[pixels.dtype])


def rounded(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values as a picture of `dtype` stores them: clipped to [0, 1]; for integers also scaled, rounded half to even."""
    clipped = np.clip(values, 0, 1)
    if dtype == np.float32:
        return np.asarray(clipped)
    clipped *= np.float32(SCALES[dtype])
    return np.asarray(np.rint(clipped, out=clipped).astype(dtype))


def shrink(image: Source, size: tuple[int, int]) -> NDArray[np.float32]:
    """The means of `size` (rows, columns) equal areas of a picture: [H,W,3] -> float32 [h,w,3] in [0, 1].

    The mean of an area has less noise than any of its pixels, and so have the means that the pools measure on it.
    """
    import cv2

    height, width = size
    small = np.empty((height, width, 3), np.float32)
    scale = image.shape[0] / height
    lines = max(1, int(_BAND / (image.shape[1] * scale)))
    for top in range(0, height, lines):
        edges = np.arange(top, min(top + lines, height) + 1) * scale
        first, last = int(edges[0]), min(math.ceil(edges[-1]), image.shape[0])
        row = np.arange(first, last)
        # The part of each row that lies between two edges, 0 to 1: [rows of `small`, rows of `image`].
        shares = np.minimum(row + 1, edges[1:, None]) - np.maximum(row, edges[:-1, None])
        band = image[first:last].astype(np.float32).reshape(last - first, -1)
        means = (shares.clip(0) / scale).astype(np.float32) @ band
        means = means.reshape(len(means), image.shape[1], 3)
        small[top : top + lines] = cv2.resize(means, (width, len(means)), interpolation=cv2.INTER_AREA)
    small /= np.float32(SCALES[image.dtype])
    return small


def toned(values: NDArray[np.float32], gain: float) -> NDArray[np.float32]:
    """The tone curve of `gain`, g v / (1 + (g - 1) v), applied to values in [0, 1] of any shape.

    Shadows get `gain` times as bright and keep their colour, highlights roll off towards white as on photographic
    paper, and nothing clips: black stays black, white stays white, and the curve of 1/g undoes that of g.

    >>> toned(np.array([0, 0.25, 1], np.float32), 3.0).tolist()
    [0.0, 0.5, 1.0]
    """
    curved: NDArray[np.float32] = np.float32(gain) * values / (1 + np.float32(gain - 1) * values)
    return curved

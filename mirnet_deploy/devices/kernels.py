"""The kernels of `kernels.cu` as typed functions: the one place in Python that knows how their arguments lie.

Each kernel has a tuple of its arguments, by the names and types that it has in `kernels.cu` (a test compares the two),
and a function that fills it and launches it on any driver. `host_kernels` computes the same from the same tuples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mirnet_deploy.devices.base import FLOAT, DevicePicture, Driver, Kernel, Stream, Tensor

KINDS: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1, np.dtype(np.float32): 2}
"""How kernels are told the dtype of a picture."""
ORIGIN = np.dtype([("row", np.int32), ("col", np.int32)])
"""`struct Origin`: where a tile begins in the padded picture."""
CORE = np.dtype([(name, np.int32) for name in ("row", "col", "to_row", "to_col", "height", "width")])
"""`struct Core`: where a core begins in its tile and in the picture, and its size."""

_Pair = tuple[int, int]
"""Height and width."""


class CutArguments(NamedTuple):
    """Of `cut`."""

    picture: np.uintp
    pitch: np.int64
    height: np.int32
    width: np.int32
    channels: np.int32
    kind: np.int32
    bgr: np.int32
    padded_height: np.int32
    padded_width: np.int32
    origins: np.uintp
    batch: np.uintp
    planar: np.int32
    tile_height: np.int32
    tile_width: np.int32


class PutArguments(NamedTuple):
    """Of `put`."""

    batch: np.uintp
    planar: np.int32
    tile_height: np.int32
    tile_width: np.int32
    cores: np.uintp
    source: np.uintp
    source_pitch: np.int64
    picture: np.uintp
    pitch: np.int64
    height: np.int32
    width: np.int32
    channels: np.int32
    kind: np.int32
    bgr: np.int32
    flaws: np.uintp


class ShrinkArguments(NamedTuple):
    """Of `shrink`."""

    picture: np.uintp
    pitch: np.int64
    height: np.int32
    width: np.int32
    channels: np.int32
    kind: np.int32
    bgr: np.int32
    small: np.uintp
    small_pitch: np.int64
    small_height: np.int32
    small_width: np.int32
    small_kind: np.int32


class CorrectArguments(NamedTuple):
    """Of `correct`."""

    measured: np.uintp
    defect: np.uintp
    context: np.uintp
    size: np.int32


class DefectArguments(NamedTuple):
    """Of `defect`."""

    statistics: np.uintp
    cores: np.uintp
    tiles: np.int32
    measured: np.uintp
    defect: np.uintp
    size: np.int32


ARGUMENTS: dict[Kernel, type[tuple[Any, ...]]] = {
    "cut": CutArguments,
    "put": PutArguments,
    "shrink": ShrinkArguments,
    "correct": CorrectArguments,
    "defect": DefectArguments,
}


def cut(driver: Driver, stream: Stream, picture: DevicePicture, padded: _Pair, origins: int, batch: Tensor) -> None:
    """Cuts tiles out of a picture into a batch.

    Args:
        padded: height and width of the picture with its padding, which is read as a mirror image.
        origins: the address of an `ORIGIN` for each tile.
        batch: float32 [N,3,H,W] or uint8 [N,H,W,3], RGB.
    """
    planar, (height, width) = _layout(batch)
    whole, sides = _int32(*padded), _int32(planar, height, width)
    arguments = CutArguments(*_picture(picture), *whole, np.uintp(origins), np.uintp(batch.address), *sides)
    driver.launch("cut", (width, height, batch.shape[0]), arguments, stream)


def put(
    driver: Driver,
    stream: Stream,
    batch: Tensor,
    cores: int,
    size: tuple[int, int, int],
    source: DevicePicture,
    target: DevicePicture,
    flaws: int,
) -> None:
    """Puts the cores of tiles into a picture: clipped and rounded, without what lies in the padding.

    Args:
        batch: as of `cut`.
        cores: the address of a `CORE` for each tile.
        size: the largest core's width and height, and the number of tiles.
        source: a fourth channel is copied from it.
        flaws: the address of an int32 that counts values that are NaN or infinite.
    """
    planar, (height, width) = _layout(batch)
    arguments = PutArguments(
        np.uintp(batch.address),
        *_int32(planar, height, width),
        np.uintp(cores),
        np.uintp(source.address),
        np.int64(source.pitch),
        *_picture(target),
        np.uintp(flaws),
    )
    driver.launch("put", size, arguments, stream)


def shrink(driver: Driver, stream: Stream, picture: DevicePicture, small: DevicePicture) -> None:
    """Averages a picture over equal areas, one for each pixel of `small`: RGB of uint8 or float32."""
    address, pitch = np.uintp(small.address), np.int64(small.pitch)
    sides = _int32(small.height, small.width, KINDS[small.dtype])
    arguments = ShrinkArguments(*_picture(picture), address, pitch, *sides)
    driver.launch("shrink", (small.width, small.height, 1), arguments, stream)


def correct(driver: Driver, stream: Stream, measured: Tensor, defect: Tensor, context: Tensor) -> None:
    """context = measured + defect, each float32 [1,K]."""
    size = context.shape[1]
    places = (np.uintp(tensor.address) for tensor in (measured, defect, context))
    driver.launch("correct", (size, 1, 1), CorrectArguments(*places, np.int32(size)), stream)


def defect(
    driver: Driver, stream: Stream, statistics: Tensor, cores: int, tiles: int, measured: Tensor, lacking: Tensor
) -> None:
    """lacking = mean of `statistics` over the tiles, weighted by the areas of their cores, less `measured`.

    Args:
        statistics: float32 [tiles,K], or longer.
        cores: the address of a `CORE` for each tile.
        measured, lacking: float32 [1,K].
    """
    size = lacking.shape[1]
    head = np.uintp(statistics.address), np.uintp(cores), np.int32(tiles)
    rest = np.uintp(measured.address), np.uintp(lacking.address), np.int32(size)
    driver.launch("defect", (size, 1, 1), DefectArguments(*head, *rest), stream)


def _layout(batch: Tensor) -> tuple[bool, _Pair]:
    """Whether a batch is float32 [N,3,H,W] and not uint8 [N,H,W,3], and the size of its tiles."""
    planar = batch.dtype == FLOAT
    first = 2 if planar else 1
    return planar, (batch.shape[first], batch.shape[first + 1])


def _picture(picture: DevicePicture) -> tuple[Any, ...]:
    """The seven arguments that say where a picture lies and how."""
    kind = KINDS[picture.dtype]
    rest = _int32(picture.height, picture.width, picture.channels, kind, picture.bgr)
    return np.uintp(picture.address), np.int64(picture.pitch), *rest


def _int32(*values: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)

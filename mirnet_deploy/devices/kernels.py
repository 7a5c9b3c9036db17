"""The kernels of `kernels.cu` as typed functions: the one place in Python that knows how their arguments lie.

Each kernel has a tuple of its arguments, by the names and types that it has in `kernels.cu` (a test compares the two),
and a function that fills it and launches it on any driver. `host_kernels` computes the same from the same tuples.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np

from mirnet_deploy.devices.base import FLOAT, DevicePicture, Driver, Kernel, Stream, Tensor

KINDS: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1, np.dtype(np.float32): 2}
"""How kernels are told the dtype of a picture."""
ORIGIN = np.dtype([("row", np.int32), ("col", np.int32)])
"""`struct Origin`: where a tile begins in the padded picture."""
CORE = np.dtype([(name, np.int32) for name in ("row", "col", "to_row", "to_col", "height", "width")])
"""`struct Core`: where a core begins in its tile and in the picture, and its size."""

Pointer = Annotated[int, np.uintp]
Int64 = Annotated[int, np.int64]
Int32 = Annotated[int, np.int32]
_Pair = tuple[int, int]
"""Height and width."""


class CutArguments(NamedTuple):
    """Of `cut`."""

    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bgr: Int32
    padded_height: Int32
    padded_width: Int32
    origins: Pointer
    batch: Pointer
    planar: Int32
    tile_height: Int32
    tile_width: Int32


class PutArguments(NamedTuple):
    """Of `put`."""

    batch: Pointer
    planar: Int32
    tile_height: Int32
    tile_width: Int32
    cores: Pointer
    source: Pointer
    source_pitch: Int64
    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bgr: Int32
    flaws: Pointer


class ShrinkArguments(NamedTuple):
    """Of `shrink`."""

    picture: Pointer
    pitch: Int64
    height: Int32
    width: Int32
    channels: Int32
    kind: Int32
    bgr: Int32
    small: Pointer
    small_pitch: Int64
    small_height: Int32
    small_width: Int32
    small_kind: Int32


class CorrectArguments(NamedTuple):
    """Of `correct`."""

    measured: Pointer
    defect: Pointer
    context: Pointer
    size: Int32


class DefectArguments(NamedTuple):
    """Of `defect`."""

    statistics: Pointer
    cores: Pointer
    tiles: Int32
    measured: Pointer
    defect: Pointer
    size: Int32


Arguments = CutArguments | PutArguments | ShrinkArguments | CorrectArguments | DefectArguments
ARGUMENTS: dict[Kernel, type[Arguments]] = {
    "cut": CutArguments,
    "put": PutArguments,
    "shrink": ShrinkArguments,
    "correct": CorrectArguments,
    "defect": DefectArguments,
}


TYPES: dict[type[Any], tuple[Any, ...]] = {
    kind: tuple(hint.__metadata__[0] for hint in get_type_hints(kind, include_extras=True).values())
    for kind in ARGUMENTS.values()
}
"""The numpy types of every kernel's arguments, in order."""


def typed(arguments: Arguments) -> tuple[Any, ...]:
    """The arguments as numpy scalars of their types, as a CUDA kernel takes them."""
    return tuple(kind(value) for kind, value in zip(TYPES[type(arguments)], arguments, strict=True))


def cut(driver: Driver, stream: Stream, picture: DevicePicture, padded: _Pair, origins: int, batch: Tensor) -> None:
    """Cuts tiles out of a picture into a batch.

    Args:
        padded: height and width of the picture with its padding, which is read as a mirror image.
        origins: the address of an `ORIGIN` for each tile.
        batch: float32 [N,3,H,W] or uint8 [N,H,W,3], RGB.
    """
    planar, (height, width) = _layout(batch)
    arguments = CutArguments(*_picture(picture), *padded, origins, batch.address, planar, height, width)
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
    head = batch.address, planar, height, width, cores, source.address, source.pitch
    arguments = PutArguments(*head, *_picture(target), flaws)
    driver.launch("put", size, arguments, stream)


def shrink(driver: Driver, stream: Stream, picture: DevicePicture, small: DevicePicture) -> None:
    """Averages a picture over equal areas, one for each pixel of `small`: RGB of uint8 or float32."""
    rest = small.address, small.pitch, small.height, small.width, KINDS[small.dtype]
    arguments = ShrinkArguments(*_picture(picture), *rest)
    driver.launch("shrink", (small.width, small.height, 1), arguments, stream)


def correct(driver: Driver, stream: Stream, measured: Tensor, defect: Tensor, context: Tensor) -> None:
    """context = measured + defect, each float32 [1,K]."""
    size = context.shape[1]
    arguments = CorrectArguments(measured.address, defect.address, context.address, size)
    driver.launch("correct", (size, 1, 1), arguments, stream)


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
    arguments = DefectArguments(statistics.address, cores, tiles, measured.address, lacking.address, size)
    driver.launch("defect", (size, 1, 1), arguments, stream)


def _layout(batch: Tensor) -> tuple[bool, _Pair]:
    """Whether a batch is float32 [N,3,H,W] and not uint8 [N,H,W,3], and the size of its tiles."""
    planar = batch.dtype == FLOAT
    first = 2 if planar else 1
    return planar, (batch.shape[first], batch.shape[first + 1])


def _picture(picture: DevicePicture) -> tuple[int, int, int, int, int, int, int]:
    """The seven arguments that say where a picture lies and how."""
    rest = picture.height, picture.width, picture.channels, KINDS[picture.dtype], int(picture.bgr)
    return picture.address, picture.pitch, *rest

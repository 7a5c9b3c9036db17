"""The kernels of `kernels.cu` as typed functions: the one place in Python that knows the order of their arguments.

Each kernel has a tuple of its arguments, with the names and types of `kernels.cu` (a test compares the two), and a
function that fills the tuple and launches the kernel on any driver. `host_kernels` computes the same from the same
tuples. All addresses are in the driver's memory.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np

from mirnet_deploy.devices.base import FLOAT, DevicePicture, Driver, Kernel, Stream, Tensor

KINDS: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1, np.dtype(np.float32): 2}
"""The dtypes that a picture may have, and the number by which kernels are told."""
ORIGIN = np.dtype([("row", np.int32), ("col", np.int32)])
"""`struct Origin`: where a tile begins in the padded picture."""
CORE = np.dtype([(name, np.int32) for name in ("row", "col", "to_row", "to_col", "height", "width")])
"""`struct Core`: where a core begins in its tile (row, col) and in the picture (to_row, to_col), and its size."""

Pointer = Annotated[int, np.uintp]
Int64 = Annotated[int, np.int64]
Int32 = Annotated[int, np.int32]
_Pair = tuple[int, int]
"""Height and width."""


class CutArguments(NamedTuple):
    """The arguments of `cut`."""

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
    """The arguments of `put`."""

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
    """The arguments of `shrink`."""

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
    """The arguments of `correct`."""

    measured: Pointer
    defect: Pointer
    context: Pointer
    size: Int32


class DefectArguments(NamedTuple):
    """The arguments of `defect`."""

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
"""The numpy types of the arguments, in order, by the kernel's tuple."""


def typed(arguments: Arguments) -> tuple[Any, ...]:
    """The arguments as numpy scalars of their types, as a CUDA kernel takes them."""
    return tuple(kind(value) for kind, value in zip(TYPES[type(arguments)], arguments, strict=True))


def cut(driver: Driver, stream: Stream, picture: DevicePicture, padded: _Pair, origins: int, batch: Tensor) -> None:
    """Cuts tiles out of a picture into a batch.

    Args:
        padded: height and width of the picture with its padding, for which the kernel reads a mirror image.
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
    """Puts the cores of tiles into a picture; what lies in the padding is left out. Floats are clipped and rounded.

    Args:
        batch: as in `cut`.
        cores: the address of a `CORE` for each tile.
        size: the largest core's width and height, and the number of tiles.
        source: the picture from which a fourth channel is copied.
        flaws: the address of an int32, to which the number of NaN and infinite values is added.
    """
    planar, (height, width) = _layout(batch)
    head = batch.address, planar, height, width, cores, source.address, source.pitch
    arguments = PutArguments(*head, *_picture(target), flaws)
    driver.launch("put", size, arguments, stream)


def shrink(driver: Driver, stream: Stream, picture: DevicePicture, small: DevicePicture) -> None:
    """Averages a picture over equal areas, one for each pixel of `small`, which is RGB of uint8 or float32."""
    rest = small.address, small.pitch, small.height, small.width, KINDS[small.dtype]
    arguments = ShrinkArguments(*_picture(picture), *rest)
    driver.launch("shrink", (small.width, small.height, 1), arguments, stream)


def correct(driver: Driver, stream: Stream, measured: Tensor, defect: Tensor, context: Tensor) -> None:
    """context = measured + defect, each float32 [1,K]: the guess of a picture's means."""
    size = context.shape[1]
    arguments = CorrectArguments(measured.address, defect.address, context.address, size)
    driver.launch("correct", (size, 1, 1), arguments, stream)


def defect(
    driver: Driver, stream: Stream, statistics: Tensor, cores: int, tiles: int, measured: Tensor, result: Tensor
) -> None:
    """result = mean of `statistics` over the tiles, weighted by the areas of their cores, minus `measured`.

    Args:
        statistics: float32 [n,K], of which the first `tiles` rows count.
        cores: the address of a `CORE` for each tile.
        measured: float32 [1,K], the thumbnail's means.
        result: float32 [1,K], takes the defect.
    """
    size = result.shape[1]
    arguments = DefectArguments(statistics.address, cores, tiles, measured.address, result.address, size)
    driver.launch("defect", (size, 1, 1), arguments, stream)


def _layout(batch: Tensor) -> tuple[bool, _Pair]:
    """Whether a batch is float32 [N,3,H,W] rather than uint8 [N,H,W,3], and the height and width of its tiles."""
    planar = batch.dtype == FLOAT
    first = 2 if planar else 1
    return planar, (batch.shape[first], batch.shape[first + 1])


def _picture(picture: DevicePicture) -> tuple[int, int, int, int, int, int, int]:
    """The seven arguments, from `picture` to `bgr`, that say where and how a picture lies."""
    rest = picture.height, picture.width, picture.channels, KINDS[picture.dtype], int(picture.bgr)
    return picture.address, picture.pitch, *rest

"""The kernels of `kernels.cu` that take pictures to the network and back, and its means, as typed functions.

Each fills the kernel's tuple of arguments and launches it on any driver. All addresses are in the driver's memory.
"""

from __future__ import annotations

from mirnet_deploy.devices.arguments import (
    KINDS,
    CorrectArguments,
    CutArguments,
    DefectArguments,
    PutArguments,
    ShrinkArguments,
)
from mirnet_deploy.devices.base import FLOAT, DevicePicture, Driver, Stream, Tensor

_Pair = tuple[int, int]
"""Height and width."""


def cut(driver: Driver, stream: Stream, picture: DevicePicture, padded: _Pair, origins: int, batch: Tensor) -> None:
    """Cuts tiles out of a picture into a batch.

    Args:
        padded: height and width of the picture with its padding, for which the kernel reads a mirror image.
        origins: the address of an `ORIGIN` for each tile.
        batch: float32 [N,3,H,W] or uint8 [N,H,W,3], RGB.
    """
    planar, (height, width) = _layout(batch)
    arguments = CutArguments(*described(picture), *padded, origins, batch.address, planar, height, width)
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
    arguments = PutArguments(*head, *described(target), flaws)
    driver.launch("put", size, arguments, stream)


def shrink(driver: Driver, stream: Stream, picture: DevicePicture, small: DevicePicture) -> None:
    """Averages a picture over equal areas, one for each pixel of `small`, which is RGB of uint8 or float32."""
    rest = small.address, small.pitch, small.height, small.width, KINDS[small.dtype]
    arguments = ShrinkArguments(*described(picture), *rest)
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


def described(picture: DevicePicture) -> tuple[int, int, int, int, int, int, int]:
    """The seven arguments, from `picture` to `bgr`, that say where and how a picture lies."""
    rest = picture.height, picture.width, picture.channels, KINDS[picture.dtype], int(picture.bgr)
    return picture.address, picture.pitch, *rest

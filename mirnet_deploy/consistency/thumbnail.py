"""A picture made so small that the network runs on it as a whole: the coarse grid of `shared_means`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import CORRECTED
from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.pipeline.work import Work
from mirnet_deploy.pixels import SHRINK_BYTES, Source, unit
from mirnet_deploy.tiling import TileGrid

BUDGET = 350_000 * 16
"""The most pixels times `n_feat` of a thumbnail. As a coarse grid a much smaller one serves as well; a larger one gives
a better first guess."""
LEAST_SCALE = 4.0
"""The least factor by which a thumbnail is smaller than its picture on each side, tiny pictures excepted."""


@dataclass(frozen=True)
class Guess:
    """The means that a thumbnail suggests for its picture."""

    context: NDArray[np.float64]
    """[K], the guessed means."""
    measured: NDArray[np.float64]
    """[K], what the thumbnail's pools measured while using the guess; `context` minus this is the defect."""
    enhanced: NDArray[np.float32]
    """[h,w,3] in [0, 1]: the thumbnail, enhanced with the guess."""


class Thumbnail:
    """A picture, [H,W,3], made small by averaging over areas."""

    def __init__(self, picture: Work, grid: TileGrid) -> None:
        """It has no more pixels than a tile of `grid`, so that a run takes no more memory."""
        metadata, limits = picture.engine.metadata, picture.limits
        size = size_for(picture.image, grid.tile_size, metadata, limits)
        picture.reserve(grid, size)
        self.work = picture.shrunk(size)
        self.pixels = unit(self.work.image)
        """float32 [h,w,3] in [0, 1]."""
        self._zeros = np.zeros(metadata.context)

    @staticmethod
    def nbytes(size: tuple[int, int], picture: tuple[int, ...], metadata: ArtifactMetadata, on_host: bool) -> int:
        """Bytes for a thumbnail of `size` (height, width) of a picture of shape (H, W, …), and for its result.

        On the host they include float copies of both, and the band of the picture that is being averaged.
        """
        area = math.prod(size)
        pictures = 2 * 3 * metadata.batch_dtype.itemsize * area
        if not on_host:
            return pictures
        return pictures + 5 * 3 * 4 * area + min(SHRINK_BYTES, 2 * 3 * 4 * math.prod(picture[:2]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width: multiples of 4, so that no padding adds to the means."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def guess(self, defect: NDArray[np.float64] | None) -> Guess:
        """The fixed point of what the thumbnail measures plus `defect`, [K]; None means a defect of zeros."""
        added = self._zeros if defect is None else defect
        measured = self.work.whole(CORRECTED, added)
        return Guess(measured + added, measured, unit(self.work.out))


def size_for(
    image: Source | DevicePicture, tile_size: tuple[int, int], metadata: ArtifactMetadata, limits: Limits
) -> tuple[int, int]:
    """Height and width of the thumbnail of a picture that is cut into tiles of `tile_size` (height, width)."""
    most = min(BUDGET // metadata.network["n_feat"], tile_size[0] * tile_size[1])
    return thumbnail_size(image.shape[0], image.shape[1], most, limits)


def thumbnail_size(height: int, width: int, most: int, limits: Limits) -> tuple[int, int]:
    """Height and width of a thumbnail: as large as `most` pixels and `LEAST_SCALE` allow, in multiples of 4.

    The engine's limits, and a side of at least 4, come before both.

    >>> thumbnail_size(3000, 4000, 350_000, Limits())
    (512, 680)
    >>> thumbnail_size(600, 800, 350_000, Limits())
    (148, 200)
    """
    scale = max(LEAST_SCALE, math.sqrt(height * width / most))
    sides = []
    for axis, side in ((1, height), (2, width)):
        small = max(4, int(side / scale) // 4 * 4, -(-limits.least[axis] // 4) * 4)
        sides.append(small if limits.most is None else min(small, limits.most[axis] // 4 * 4))
    return sides[0], sides[1]

"""A picture made small, on which the network runs whole: the coarse grid of `shared_means`."""

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

BUDGET = 350_000 * 16
"""Pixels times `n_feat` of a thumbnail, at most. A much smaller one serves as well as a coarse grid; a larger one gives
a better first guess."""
LEAST_SCALE = 4.0
"""How many times smaller than the picture a thumbnail is on each side, at least."""


@dataclass(frozen=True)
class Guess:
    """The means that a thumbnail suggests for its picture."""

    context: NDArray[np.float64]
    """[K], the guess."""
    measured: NDArray[np.float64]
    """[K], what the thumbnail's pools measured with the guess in force; `context` less this is the defect."""
    enhanced: NDArray[np.float32]
    """[h,w,3] in [0, 1]: the thumbnail, enhanced with the guess."""


class Thumbnail:
    """A picture, [H,W,3], made small by averaging areas."""

    def __init__(self, picture: Work, tile_size: tuple[int, int]) -> None:
        """It is no larger than a tile of `tile_size`, so that it takes no more memory than one."""
        metadata, limits = picture.engine.metadata, picture.limits
        self.work = picture.shrunk(size_for(picture.image, tile_size, metadata, limits))
        self.pixels = unit(self.work.image)
        """float32 [h,w,3] in [0, 1]."""
        self._zeros = np.zeros(metadata.context)

    @staticmethod
    def nbytes(size: tuple[int, int], picture: tuple[int, ...], metadata: ArtifactMetadata, on_host: bool) -> int:
        """Memory for a thumbnail of `size` (height, width) of a picture of shape [H,W,…], and for its result.

        On the host also for float copies of both, and for the band of the picture that is being averaged.
        """
        area = math.prod(size)
        pictures = 2 * 3 * metadata.batch_dtype.itemsize * area
        if not on_host:
            return pictures
        return pictures + 5 * 3 * 4 * area + min(SHRINK_BYTES, 2 * 3 * 4 * math.prod(picture[:2]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width: multiples of 4, so that padding adds nothing to the means."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def guess(self, defect: NDArray[np.float64] | None) -> Guess:
        """The fixed point of what the thumbnail measures plus `defect`, [K]; None stands for zeros."""
        added = self._zeros if defect is None else defect
        measured = self.work.whole(CORRECTED, added)
        return Guess(measured + added, measured, unit(self.work.out))


def size_for(
    image: Source | DevicePicture, tile_size: tuple[int, int], metadata: ArtifactMetadata, limits: Limits
) -> tuple[int, int]:
    """Height and width of the thumbnail of a picture in tiles of `tile_size`."""
    most = min(BUDGET // metadata.network["n_feat"], tile_size[0] * tile_size[1])
    return thumbnail_size(image.shape[0], image.shape[1], most, limits)


def thumbnail_size(height: int, width: int, most: int, limits: Limits) -> tuple[int, int]:
    """The largest sides, multiples of 4, that keep `most` pixels, `LEAST_SCALE` and the engine's shapes."""
    scale = max(LEAST_SCALE, math.sqrt(height * width / most))
    sides = []
    for axis, side in ((1, height), (2, width)):
        small = max(4, int(side / scale) // 4 * 4, -(-limits.least[axis] // 4) * 4)
        sides.append(small if limits.most is None else min(small, limits.most[axis] // 4 * 4))
    return sides[0], sides[1]

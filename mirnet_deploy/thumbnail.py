"""A picture made small, on which the network runs whole: the coarse grid of `consistency`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines.base import CORRECTED
from mirnet_deploy.limits import Limits
from mirnet_deploy.pipeline import SCALES, HostPipeline, Source

BUDGET = 350_000 * 16
"""Pixels times `n_feat` of a thumbnail, at most. As a coarse grid a much smaller one serves as well; the first guess is
better from a larger one."""
LEAST_SCALE = 4.0
_BAND = 1 << 20
"""Pixels that are averaged at a time: the picture has no float copy."""


@dataclass(frozen=True)
class Guess:
    """The means that a thumbnail suggests for its picture."""

    context: NDArray[np.float64]
    """[K], the guess."""
    measured: NDArray[np.float64]
    """[K], what the thumbnail's pools measured with the guess in force; the rest of it is the defect."""
    enhanced: NDArray[np.float32]
    """[h,w,3] in [0, 1]: the thumbnail, enhanced with the guess."""


class Thumbnail:
    """A picture, [H,W,3], made small by averaging areas."""

    def __init__(self, pipeline: HostPipeline, image: Source, tile_size: tuple[int, int]) -> None:
        """It is no larger than a tile of `tile_size`, so that it takes no more memory than one."""
        metadata = pipeline.engine.metadata
        most = min(BUDGET // metadata.network["n_feat"], tile_size[0] * tile_size[1])
        size = thumbnail_size(image.shape[0], image.shape[1], most, pipeline.limits)
        self.pixels = shrink(image, size)
        self._pipeline = pipeline
        self.image = self.pixels if metadata.interface == "float" else np.rint(self.pixels * 255).astype(np.uint8)
        """`pixels` as the engine's interface takes them."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width: multiples of 4, so that padding adds nothing to the means."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def guess(self, defect: NDArray[np.float64] | None) -> Guess:
        """The fixed point of what the thumbnail measures plus `defect`, [K]; None for what it measures alone."""
        if defect is None:
            defect = np.zeros(self._pipeline.engine.metadata.context)
        enhanced, measured = self._pipeline.run_whole(self.image, CORRECTED, defect)
        white = np.float32(SCALES[enhanced.dtype])
        return Guess(measured + defect, measured, enhanced.astype(np.float32) / white)


def thumbnail_size(height: int, width: int, most: int, limits: Limits) -> tuple[int, int]:
    """The largest sides, multiples of 4, that keep `most` pixels, `LEAST_SCALE` and the engine's shapes."""
    scale = max(LEAST_SCALE, math.sqrt(height * width / most))
    sides = []
    for axis, side in ((1, height), (2, width)):
        small = max(4, int(side / scale) // 4 * 4, -(-limits.least[axis] // 4) * 4)
        sides.append(small if limits.most is None else min(small, limits.most[axis] // 4 * 4))
    return sides[0], sides[1]


def shrink(image: Source, size: tuple[int, int]) -> NDArray[np.float32]:
    """The mean of every one of `size` (rows, columns) equal areas, [H,W,3] -> float32 [h,w,3] in [0, 1].

    The mean of an area has less noise than any of its pixels, and so have the means that the pools take of it.
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
        # What of each row lies between two edges.
        shares = np.minimum(row + 1, edges[1:, None]) - np.maximum(row, edges[:-1, None])
        band = image[first:last].astype(np.float32).reshape(last - first, -1)
        means = (shares.clip(0) / scale).astype(np.float32) @ band
        means = means.reshape(len(means), image.shape[1], 3)
        small[top : top + lines] = cv2.resize(means, (width, len(means)), interpolation=cv2.INTER_AREA)
    small /= np.float32(SCALES[image.dtype])
    return small

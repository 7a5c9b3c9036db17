"""A picture made small, on which the network runs whole: the coarse grid of `consistency`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines.base import CORRECTED
from mirnet_deploy.limits import Limits
from mirnet_deploy.pipeline import SCALES, HostPipeline
from mirnet_deploy.tiling import padded_side

BUDGET = 350_000 * 16
"""Pixels times `n_feat` of a thumbnail. As a coarse grid a much smaller one serves as well; the first guess is better
from a larger one, and this one costs 2% of a pass at 12 megapixels."""
LEAST_FACTOR = 4


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
    """A picture, [H,W,3], averaged over blocks of `factors` (rows, columns) pixels."""

    def __init__(self, pipeline: HostPipeline, image: NDArray[Any]) -> None:
        metadata = pipeline.engine.metadata
        self.factors = shrink_factors(image.shape[0], image.shape[1], metadata.network["n_feat"], pipeline.limits)
        self.pixels = shrink(image, self.factors)
        self._pipeline = pipeline
        self.image = self.pixels if metadata.interface == "float" else np.rint(self.pixels * 255).astype(np.uint8)
        """`pixels` as the engine's interface takes them."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the padded thumbnail."""
        return self._pipeline.padded(self.image)

    def guess(self, defect: NDArray[np.float64] | None) -> Guess:
        """The fixed point of what the thumbnail measures plus `defect`, [K]; None for what it measures alone."""
        if defect is None:
            defect = np.zeros(self._pipeline.engine.metadata.context)
        enhanced, measured = self._pipeline.run_whole(self.image, CORRECTED, defect)
        white = np.float32(SCALES[enhanced.dtype])
        return Guess(measured + defect, measured, enhanced.astype(np.float32) / white)


def shrink_factors(height: int, width: int, n_feat: int, limits: Limits) -> tuple[int, int]:
    """By how much to shrink rows and columns: the least whole number from `LEAST_FACTOR` on that keeps the budget and
    the engine's largest shape, the same for both unless the picture is thinner than that."""
    factor = LEAST_FACTOR
    while True:
        factors = min(factor, height), min(factor, width)
        rows, cols = height // factors[0], width // factors[1]
        fits = limits.most is None or (
            padded_side(rows, 4) <= limits.most[1] and padded_side(cols, 4) <= limits.most[2]
        )
        if (fits and rows * cols * n_feat <= BUDGET) or rows == cols == 1:
            return factors
        factor += 1


def shrink(image: NDArray[Any], factors: tuple[int, int]) -> NDArray[np.float32]:
    """Averages blocks of pixels, [H,W,3] -> float32 [H//rows,W//cols,3] in [0, 1]; a rest at the end is left out.

    The mean of an area has less noise than any of its pixels, and so have the means that the pools take of it.
    """
    import cv2

    rows, cols = factors
    height, width = image.shape[0] // rows, image.shape[1] // cols
    small = np.empty((height, width, 3), np.float32)
    lines = max(1, (1 << 20) // (width * rows * cols))  # a band at a time: no float copy of the picture
    for top in range(0, height, lines):
        bottom = min(top + lines, height)
        band = image[top * rows : bottom * rows, : width * cols].astype(np.float32)
        small[top:bottom] = cv2.resize(band, (width, bottom - top), interpolation=cv2.INTER_AREA)
    small /= np.float32(SCALES[image.dtype])
    return small

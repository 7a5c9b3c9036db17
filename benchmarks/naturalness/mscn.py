"""What NIQE and BRISQUE share: a picture with its local mean and contrast taken out, and fits to what is left.

The values of a photograph that were divided by the contrast around them (MSCN: mean-subtracted, contrast-normalised)
follow a generalised Gaussian distribution, and the products of neighbours an asymmetric one; noise, blur and
compression change their shapes (Mittal, Moorthy, Bovik, IEEE TIP 21(12), 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LUMA = np.array([0.2989, 0.5870, 0.1140])
"""Weights of R, G and B (BT.601) of MATLAB's rgb2gray, which rounds to levels."""
WINDOW, SIGMA = 7, 7 / 6
"""Side in pixels and standard deviation of the Gaussian window over which mean and contrast are local."""
ROUNDING = 1e-9
"""Differences from the local mean, in levels of 255, that are arithmetic, not content: where all is of one grey."""
HALVING = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
"""Weights of 8 pixels in a row when a size is halved: Keys' cubic (a = -0.5), stretched to twice its width."""
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows and columns between the two of a product: beside, below, and on both diagonals."""


def luma(image: NDArray[np.uint8]) -> Floats:
    """Whole levels in [0, 255], float64 [H,W], of a picture, uint8 [H,W,3] RGB."""
    return np.asarray(np.rint(image @ LUMA))


def mscn(grey: Floats, border: int) -> Floats:
    """(x - mean) / (contrast + 1) at every pixel; float64 [H,W], from levels in [0, 255].

    Mean and standard deviation are weighted by a 7x7 Gaussian window. `border` is OpenCV's word for what lies beyond.
    """
    import cv2

    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)

    def local(values: Floats) -> Floats:
        return np.asarray(cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel, borderType=border))

    mean = local(grey)
    contrast = np.sqrt(np.abs(local(grey * grey) - mean * mean))
    apart = grey - mean
    apart[np.abs(apart) < ROUNDING] = 0
    return np.asarray(apart / (contrast + 1))


def products(normalised: Floats) -> list[Floats]:
    """Each value times its neighbour at each of the distances `NEIGHBOURS`, around the edge; the last two axes are rows
    and columns."""
    return [normalised * np.roll(normalised, distance, axis=(-2, -1)) for distance in NEIGHBOURS]


def halved(grey: Floats) -> Floats:
    """Half the size, rounded up, as MATLAB's imresize(x, 0.5) makes it: mirrored at the border, nothing folds over."""
    import cv2

    # A pixel of the result lies between the fourth and the fifth of the eight that it is made of.
    filtered = cv2.sepFilter2D(grey, cv2.CV_64F, HALVING, HALVING, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.asarray(filtered[::2, ::2])


@dataclass(frozen=True)
class Fit:
    """Asymmetric generalised Gaussian distributions, one for each entry; NaN where all values are zero."""

    shape: Floats
    """2 is a Gaussian, 1 a Laplacian distribution."""
    mean: Floats
    left: Floats
    """Standard deviation of the values below zero, as if they were mirrored; `right`: of those above."""
    right: Floats
    left_scale: Floats
    """`left` times sqrt(gamma(1 / shape) / gamma(3 / shape)): beta in the papers; `right_scale` likewise."""
    right_scale: Floats


def fit(values: Floats) -> Fit:
    """Fits distributions to values [..., N] by their moments (Lasmar, Stitou, Berthoumieu, ICIP 2009).

    As in the code of the papers' authors, zeros are of neither side.
    """
    from scipy.special import gamma

    sides = []
    for side in (values < 0, values > 0):
        count = np.maximum(side.sum(axis=-1), 1)
        sides.append(np.sqrt(np.sum(values * values, axis=-1, where=side) / count))
    left, right = sides
    with np.errstate(invalid="ignore"):  # 0 / 0 where all values are zero: NaN is the answer
        skewed = (left**3 + right**3) * (left + right) / (left**2 + right**2) ** 2
    shape = _shape(_moment_ratio(values) * skewed)
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    mean = (right - left) * scale * gamma(2 / shape) / gamma(1 / shape)
    return Fit(shape, mean, left, right, left * scale, right * scale)


def fit_symmetric(values: Floats) -> tuple[Floats, Floats]:
    """Shape and variance of generalised Gaussian distributions with mean 0, of values [..., N]; NaN and 0 where all are
    zero."""
    return _shape(_moment_ratio(values)), (values * values).mean(axis=-1)


def _moment_ratio(values: Floats) -> Floats:
    """(E|x|)² / E(x²) over the last axis; NaN where all values are zero."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(values).mean(axis=-1) ** 2 / (values * values).mean(axis=-1))


def _shape(ratio: Floats) -> Floats:
    """The shape that has a ratio of moments: the nearest of 0.2, 0.201, ... 10, as in the authors' code."""
    shapes, ratios = _moments()
    above = np.clip(np.searchsorted(ratios, ratio), 1, len(ratios) - 1)
    nearest = above - (ratio - ratios[above - 1] < ratios[above] - ratio)
    return np.where(np.isnan(ratio), np.nan, shapes[nearest])


@cache
def _moments() -> tuple[Floats, Floats]:
    """Shapes, and the ratio of moments of the generalised Gaussian distribution of each, which rises with the shape."""
    from scipy.special import gamma

    shapes = np.arange(0.2, 10.001, 0.001)
    return shapes, gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))

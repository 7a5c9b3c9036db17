"""NIQE: how far a picture's statistics are from those of good photographs; lower is more natural.

Mittal, Soundararajan, Bovik, "Making a 'Completely Blind' Image Quality Analyzer", IEEE Signal Processing Letters
20(3), 2013. The photographs' mean and covariance are those that its authors published (`parameters/ORIGIN.txt`), and a
picture is measured as their MATLAB code measures it, since figures mean something only where both agree.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.naturalness.mscn import Floats, fit, halved, luma, mscn, products

BLOCK = 96
"""Side in pixels of a block, which has one vector of features; what does not fill blocks at the right and the bottom is
left out."""
SMALLEST = 2 * BLOCK
"""Shortest side in pixels that has a figure: a covariance needs blocks, and of four it is poor enough."""


def niqe(image: NDArray[np.uint8]) -> float | None:
    """The distance of a picture, uint8 [H,W,3] RGB; at least 0, about 3 for good photographs.

    None where a side is shorter than `SMALLEST`, or fewer than two blocks have any content: blocks of one grey have no
    distribution, and are left out.
    """
    if min(image.shape[:2]) < SMALLEST:
        return None
    features = _features(luma(image))
    features = features[~np.isnan(features).any(axis=1)]
    if len(features) < 2:
        return None
    mean, covariance = _natural()
    away = features.mean(axis=0) - mean
    pooled = (covariance + np.cov(features, rowvar=False)) / 2
    return float(np.sqrt(away @ np.linalg.pinv(pooled) @ away))


def _features(grey: Floats) -> Floats:
    """36 features of each block: 18 of the picture, and 18 of it at half the size."""
    import cv2

    rows, cols = (side // BLOCK for side in grey.shape)
    whole = grey[: rows * BLOCK, : cols * BLOCK]
    scales = (whole, halved(whole))
    return np.hstack([_block_features(mscn(scaled, cv2.BORDER_REPLICATE), rows, cols) for scaled in scales])


def _block_features(normalised: Floats, rows: int, cols: int) -> Floats:
    """18 features for each of `rows` times `cols` blocks."""
    height, width = normalised.shape[0] // rows, normalised.shape[1] // cols
    blocks = normalised.reshape(rows, height, cols, width).swapaxes(1, 2).reshape(-1, height, width)
    plain = fit(blocks.reshape(len(blocks), -1))
    features = [plain.shape, (plain.left_scale + plain.right_scale) / 2]
    for product in products(blocks):
        found = fit(product.reshape(len(blocks), -1))
        features += [found.shape, found.mean, found.left_scale, found.right_scale]
    return np.stack(features, axis=1)


@cache
def _natural() -> tuple[Floats, Floats]:
    """Mean [36] and covariance [36,36] of the features of good photographs."""
    with files("mirnet_deploy.benchmarks").joinpath("parameters/niqe_pris_params.npz").open("rb") as stream:
        parameters = np.load(stream, allow_pickle=False)
        return parameters["mu_pris_param"].ravel(), parameters["cov_pris_param"]

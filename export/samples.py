"""The crops on which an export proves itself: real photographs, not noise, since noise hides what the pools do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.models import PACKAGE
from mirnet_deploy.errors import DataError
from mirnet_deploy.images.formats import SUFFIXES
from mirnet_deploy.pairs import images_in, read_rgb8
from mirnet_deploy.training.config import SIZE_MULTIPLE

PACKAGED = PACKAGE / "samples"
"""Two crops of dark photographs that ship in the package."""
CROP_SIDE = 256
"""Largest side of a crop in pixels: enough for every level of the network, and seconds to run."""
MAX_CROPS = 16


def read_crops(folder: Path | None) -> list[NDArray[np.uint8]]:
    """The middle of every picture in `folder` (None for the packaged ones), uint8 [H,W,3] RGB.

    Sides are multiples of 4 and at most `CROP_SIDE`; only the first `MAX_CROPS` pictures by name are taken.

    Raises:
        DataError: no folder, no picture in it, or one smaller than 4x4.
        ImageError: a picture cannot be read.
    """
    folder = folder or PACKAGED
    paths = images_in(folder)
    if not paths:
        raise DataError(f"{folder} holds no picture; expected {', '.join(sorted(SUFFIXES))} files")
    return [_middle(path) for path in paths[:MAX_CROPS]]


def _middle(path: Path) -> NDArray[np.uint8]:
    """The middle of one picture, C-contiguous uint8 [H,W,3] RGB, with sides as `read_crops` says."""
    pixels = read_rgb8(path)
    height, width = (min(side, CROP_SIDE) // SIZE_MULTIPLE * SIZE_MULTIPLE for side in pixels.shape[:2])
    if not height or not width:
        raise DataError(f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels; expected at least 4x4 for a sample")
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])

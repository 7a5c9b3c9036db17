"""Camera RAW of known content: DNG files whose camera sees linear sRGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

XYZ_TO_SRGB = (3.2404542, -1.5371385, -0.4985314, -0.9692660, 1.8760108, 0.0415560, 0.0556434, -0.2040259, 1.0572252)
"""The colour matrix of a camera whose colours are those of linear sRGB (IEC 61966-2-1, D65)."""
PATTERNS = {"RGGB": (0, 1, 1, 2), "BGGR": (2, 1, 1, 0), "GRBG": (1, 0, 2, 1), "GBRG": (1, 2, 0, 1)}


def mosaic(light: NDArray[np.float64], pattern: str, neutral: tuple[float, float, float]) -> NDArray[np.float64]:
    """What a sensor sees of linear sRGB, [H,W,3] in [0, 1] -> [H,W]: one colour a pixel, as weak as `neutral` says."""
    height, width = light.shape[:2]
    channels = np.array(PATTERNS[pattern]).reshape(2, 2)
    colours = np.tile(channels, (height // 2, width // 2))
    seen = light * np.array(neutral)
    return np.take_along_axis(seen, colours[..., None], axis=2)[..., 0]


def dng(
    light: NDArray[np.float64],
    *,
    pattern: str = "BGGR",
    neutral: tuple[float, float, float] = (0.5, 1.0, 0.625),
    bits: int = 14,
    black: int = 512,
    orientation: int = 1,
    preview: NDArray[np.uint8] | None = None,
) -> bytes:
    """A DNG of a scene given as linear sRGB, [H,W,3], where 1 is what makes green reach the white level.

    Args:
        neutral: what the camera sees of white: AsShotNeutral.
        preview: RGB that is put into the first directory; the RAW is then in one below it, as in most cameras' files.
    """
    white = (1 << bits) - 1
    samples = np.rint(black + mosaic(light, pattern, neutral).clip(0, 1) * (white - black)).astype(np.uint16)
    matrix = [number for value in XYZ_TO_SRGB for number in (round(value * 10**6), 10**6)]
    shot = [number for value in neutral for number in (round(value * 10**6), 10**6)]
    whole = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (50707, 1, 4, bytes([1, 1, 0, 0]), True),
        (50708, 2, 0, "A camera of known content", True),
        (50721, 10, 9, matrix, True),  # ColorMatrix1
        (50728, 5, 3, shot, True),  # AsShotNeutral
        (50778, 3, 1, 21, True),  # CalibrationIlluminant1: D65
        (271, 2, 0, "Camera & Sons", True),
        (272, 2, 0, "Known 1", True),
        (274, 3, 1, orientation, True),
    ]
    sensor = [
        (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, 1, 4, bytes(PATTERNS[pattern]), True),
        (50714, 4, 1, black, True),  # BlackLevel
        (50717, 4, 1, white, True),  # WhiteLevel
    ]
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder="<") as writer:
        plain: dict[str, Any] = {"metadata": None, "software": False}
        if preview is None:
            writer.write(samples, photometric="cfa", extratags=whole + sensor, **plain)
        else:
            writer.write(preview, photometric="rgb", subfiletype=1, subifds=1, extratags=whole, **plain)
            writer.write(samples, photometric="cfa", subfiletype=0, extratags=sensor, **plain)
    return file.getvalue()

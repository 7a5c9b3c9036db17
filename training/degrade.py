"""Low-light pictures made from well-lit ones, in linear light, in the order in which a camera spoils them.

Exposure (of the whole scene, or falling off around pools of light), white balance, shot and read noise, then the sRGB
curve and 8-bit quantisation. The joint distribution of
shot and read noise is that of Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, section 3.1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]

STOPS = (0.5, 5.5)
"""Range of underexposure, in stops."""
UNEVEN = 0.2
"""Share of the pictures in which the light is uneven: what a lamp lights is exposed as in the target, the rest is dark.
Without them a network brightens everything alike, and lamps and skies grow into white patches."""
WHITE_BALANCE = 0.1
"""Standard deviation of the log of the red and blue gains."""
SHOT_NOISE = (1e-4, 3e-3)
"""Range of the shot noise's variance per unit of light. Brooks et al. go up to 1.2e-2, on well-exposed pictures;
on ours, four stops darker, that would leave nothing to restore."""


def srgb_to_linear(image: FloatImage) -> FloatImage:
    """IEC 61966-2-1, values in [0, 1]."""
    return np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(image: FloatImage) -> FloatImage:
    """IEC 61966-2-1, values in [0, 1]."""
    return np.where(image <= 0.0031308, image * 12.92, 1.055 * image ** (1 / 2.4) - 0.055).astype(np.float32)


def degrade(image: FloatImage, rng: Generator) -> FloatImage:
    """A dark, noisy version of a well-lit picture, float32 [H,W,3] sRGB in [0, 1] on the grid of 8-bit values."""
    light = srgb_to_linear(image)
    exposure = _exposure(image.shape[0], image.shape[1], rng)
    gains = np.exp(rng.normal(0.0, WHITE_BALANCE, 3))
    gains[1] = 1.0
    light = light * (exposure * gains).astype(np.float32)
    log_shot = rng.uniform(*np.log(SHOT_NOISE))
    log_read = 2.18 * log_shot + 1.20 + rng.normal(0.0, 0.26)
    variance = light * np.float32(np.exp(log_shot)) + np.float32(np.exp(log_read))
    noisy = light + rng.normal(size=light.shape).astype(np.float32) * np.sqrt(variance)
    return (np.rint(linear_to_srgb(np.clip(noisy, 0.0, 1.0)) * 255) / 255).astype(np.float32)


def _exposure(height: int, width: int, rng: Generator) -> FloatImage:
    """Factor on linear light: one number, or a smooth field between 1 and that number; float32 [H,W,1] or [1,1,1]."""
    stops = rng.uniform(*STOPS)
    if rng.random() >= UNEVEN:
        return np.full((1, 1, 1), 2.0**-stops, dtype=np.float32)
    coarse = rng.random((int(rng.integers(2, 7)), int(rng.integers(2, 7))), dtype=np.float32)
    darkness = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 1.5 - 0.25, 0.0, 1.0)
    field: FloatImage = np.exp2(-np.float32(stops) * darkness[..., None])
    return field

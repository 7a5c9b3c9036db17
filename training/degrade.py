"""Low-light pictures made from well-lit ones, in linear light, in the order in which a camera spoils them.

Exposure (of the whole scene, or falling off around lit places), white balance, shot and read noise, then the sRGB
curve and 8-bit quantisation. The joint distribution of shot and read noise is that of Brooks et al., "Unprocessing
Images for Learned Raw Denoising", CVPR 2019, section 3.1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
"""[H,W,3] RGB, unless said otherwise."""

STOPS = (0.5, 5.5)
"""Range of underexposure, in stops."""
BRIGHTER = (0.0, 1.0)
"""Range of the stops by which the target is brightened first, as far as next to nothing clips (`_brightened`). What a
data set calls well lit often falls short of white."""
GOOD = 0.1
"""Share of the pictures that are not darkened, but brightened until their lightest parts are white: the network is to
leave them as bright as they are. One that never saw a good picture brightens good ones too."""
GOOD_STOPS = 2.0
"""Most stops by which good pictures are brightened: a picture of a black thing has no white parts."""
UNEVEN = 0.3
"""Share of the darkened pictures that are unevenly lit: exposed as in the target in one place, dark in another. Without
them a network brightens everything alike, and skies and lit walls grow into white patches."""
WHITE_BALANCE = 0.1
"""Standard deviation of the log of the red and blue gains."""
SHOT_NOISE = (1e-4, 3e-3)
"""Range of the shot noise's variance per unit of light. Brooks et al. go up to 1.2e-2, on well-exposed pictures;
on ours, four stops darker, that would leave nothing to restore."""


def srgb_to_linear(image: FloatImage) -> FloatImage:
    """sRGB values of any shape as linear light, by IEC 61966-2-1; both in [0, 1]."""
    return np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(image: FloatImage) -> FloatImage:
    """Linear light of any shape as sRGB values, by IEC 61966-2-1; both in [0, 1]."""
    return np.where(image <= 0.0031308, image * 12.92, 1.055 * image ** (1 / 2.4) - 0.055).astype(np.float32)


def degrade(image: FloatImage, rng: Generator) -> tuple[FloatImage, FloatImage]:
    """A dark, noisy version of a well-lit picture, and its target.

    Args:
        image: float32 [H,W,3] sRGB in [0, 1].

    Returns:
        The dark picture, rounded to multiples of 1/255, and the target, which is `image`, brightened: both float32
        [H,W,3] sRGB in [0, 1].
    """
    height, width = image.shape[:2]
    good = rng.random() < GOOD
    light = _brightened(srgb_to_linear(image), GOOD_STOPS if good else rng.uniform(*BRIGHTER))
    exposure = np.ones((1, 1, 1), dtype=np.float32) if good else _exposure(height, width, rng)
    gains = np.exp(rng.normal(0.0, WHITE_BALANCE, 3))
    gains[1] = 1.0
    dark = light * (exposure * gains).astype(np.float32)
    log_shot = rng.uniform(*np.log(SHOT_NOISE))
    log_read = 2.18 * log_shot + 1.20 + rng.normal(0.0, 0.26)
    variance = dark * np.float32(np.exp(log_shot)) + np.float32(np.exp(log_read))
    noisy = dark + rng.normal(size=dark.shape).astype(np.float32) * np.sqrt(variance)
    low = np.rint(linear_to_srgb(np.clip(noisy, 0.0, 1.0)) * 255) / 255
    return low.astype(np.float32), linear_to_srgb(np.clip(light, 0.0, 1.0))


def _brightened(light: FloatImage, stops: float) -> FloatImage:
    """Linear light, [H,W,3], brightened by up to `stops`, but only until its 99.5 % quantile is 1; never darkened."""
    headroom = 1.0 / max(float(np.quantile(light, 0.995)), 1e-6)
    return light * np.float32(np.clip(headroom, 1.0, 2.0**stops))


def _exposure(height: int, width: int, rng: Generator) -> FloatImage:
    """Factor on linear light: one number below 1, float32 [1,1,1], or a smooth field from 1 down to such a number,
    [H,W,1]."""
    stops = np.float32(rng.uniform(*STOPS))
    if rng.random() >= UNEVEN:
        return np.full((1, 1, 1), 2.0**-stops, dtype=np.float32)
    coarse = rng.random((int(rng.integers(2, 7)), int(rng.integers(2, 7))), dtype=np.float32)
    darkness = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    # Every such picture shows both ends. So an evenly grey picture is never a part of an unevenly lit one, and the
    # network may go on taking it for an underexposed one.
    darkness = (darkness - darkness.min()) / max(float(np.ptp(darkness)), 1e-6)
    field: FloatImage = np.exp2(-stops * darkness[..., None])
    return field

"""Lamps, lit windows and moons, painted into both pictures of a pair: what is bright already is to stay as it is.

Data sets of low light have next to none of them (LOL has none), and a network that never saw one makes a lamp's halo
white, and the lamp three times as large.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from mirnet_deploy.training.degrade import FloatImage, linear_to_srgb, srgb_to_linear

LIGHT = (0.3, 32.0)
"""Range of a lamp's light at its centre, white being 1."""
RADIUS = (0.01, 0.12)
"""Range of the radius at which a lamp has a third of that, in sides of the picture."""
SHAPE = (2.0, 8.0)
"""Range of the exponent of a lamp's outline and edge: 2 is a round core with wide skirts, 8 nearly a lit window."""
MOST = 4
"""Lamps in one picture."""


def paint_lamps(low: FloatImage, high: FloatImage, rng: Generator) -> tuple[FloatImage, FloatImage]:
    """One to `MOST` lamps in both pictures of a pair; all float32 [H,W,3] sRGB in [0, 1], the dark one in 8-bit levels.

    In the dark picture light adds up, as on a sensor. In the target it rolls off, so that nothing there is white that
    was not white before.
    """
    light = lamp_light(low.shape[0], low.shape[1], rng)
    dark = linear_to_srgb(np.clip(srgb_to_linear(low) + light, 0.0, 1.0))
    target = 1.0 - (1.0 - srgb_to_linear(high)) * (1.0 - np.minimum(light, 1.0))
    levels: FloatImage = (np.rint(dark * 255) / 255).astype(np.float32)
    return levels, linear_to_srgb(np.clip(target, 0.0, 1.0))


def lamp_light(height: int, width: int, rng: Generator) -> FloatImage:
    """Linear light of one to `MOST` lamps with their halos, float32 [H,W,3], white being 1."""
    y, x = np.ogrid[:height, :width]
    light = np.zeros((height, width, 3), dtype=np.float32)
    for _ in range(int(rng.integers(1, MOST + 1))):
        radii = max(height, width) * np.exp(rng.uniform(np.log(RADIUS[0]), np.log(RADIUS[1]), 2))
        shape = np.exp(rng.uniform(*np.log(SHAPE)))
        distance = abs((y - rng.uniform(0, height)) / radii[0]) ** shape
        distance = distance + abs((x - rng.uniform(0, width)) / radii[1]) ** shape
        colour = np.exp(rng.uniform(*np.log(LIGHT)) + rng.normal(0.0, 0.3, 3))
        # At exponent 2 the profile of Moffat (Astronomy & Astrophysics 3, 455, 1969), as of stars.
        profile = (1.0 + distance) ** -1.5
        light += (profile[..., None] * colour).astype(np.float32)
    return light

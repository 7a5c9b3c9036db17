"""Lamps, lit windows and moons, painted into both pictures of a pair: what is bright already is to stay as it is.

Data sets of low light have next to none of them (LOL has none), and a network that never saw one makes a lamp's glow
white, and the lamp three times as large.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from mirnet_deploy.training.degrade import FloatImage, linear_to_srgb, srgb_to_linear

LIGHT = (0.3, 32.0)
"""Range of a lamp's linear light at its centre, white being 1; its colour varies around that."""
RADIUS = (0.01, 0.12)
"""Range of the radius at which a lamp has about a third of that, as a share of the picture's longer side."""
SHAPE = (2.0, 8.0)
"""Range of the exponent that shapes a lamp's outline and edge: 2 is a round core with wide skirts, 8 nearly a lit
window."""
MOST = 4
"""Most lamps in one picture."""


def paint_lamps(low: FloatImage, high: FloatImage, rng: Generator) -> tuple[FloatImage, FloatImage]:
    """Paints one to `MOST` lamps into both pictures of a pair.

    In the dark picture light adds up, as on a sensor. In the target it rolls off, so that nothing becomes white there
    that is not white in the dark picture too.

    Args:
        low: the dark picture, float32 [H,W,3] sRGB in [0, 1].
        high: its target, the same.

    Returns:
        Both with the lamps, float32 [H,W,3] sRGB in [0, 1]; the dark one is rounded to multiples of 1/255.
    """
    light = lamp_light(low.shape[0], low.shape[1], rng)
    dark = linear_to_srgb(np.clip(srgb_to_linear(low) + light, 0.0, 1.0))
    target = 1.0 - (1.0 - srgb_to_linear(high)) * (1.0 - np.minimum(light, 1.0))
    levels: FloatImage = (np.rint(dark * 255) / 255).astype(np.float32)
    return levels, linear_to_srgb(np.clip(target, 0.0, 1.0))


def lamp_light(height: int, width: int, rng: Generator) -> FloatImage:
    """Linear light of one to `MOST` lamps with their glow, float32 [H,W,3] RGB, white being 1; it may be more."""
    y, x = np.ogrid[:height, :width]
    light = np.zeros((height, width, 3), dtype=np.float32)
    for _ in range(int(rng.integers(1, MOST + 1))):
        radii = max(height, width) * np.exp(rng.uniform(np.log(RADIUS[0]), np.log(RADIUS[1]), 2))
        shape = np.exp(rng.uniform(*np.log(SHAPE)))
        distance = abs((y - rng.uniform(0, height)) / radii[0]) ** shape
        distance = distance + abs((x - rng.uniform(0, width)) / radii[1]) ** shape
        colour = np.exp(rng.uniform(*np.log(LIGHT)) + rng.normal(0.0, 0.3, 3))
        # At exponent 2 this is Moffat's profile of a star (Astronomy & Astrophysics 3, 455, 1969).
        profile = (1.0 + distance) ** -1.5
        light += (profile[..., None] * colour).astype(np.float32)
    return light

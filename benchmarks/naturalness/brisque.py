"""BRISQUE: the quality that people would give a picture, learnt from distorted photographs; lower is better.

Mittal, Moorthy, Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE TIP 21(12), 2012. The
support vectors and the ranges of the features are those of the package `brisque` 0.2.0 (`parameters/ORIGIN.txt`); the
kernel is evaluated here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.naturalness.mscn import WINDOW, Floats, fit, fit_symmetric, halved, luma, mscn, products

SMALLEST = 2 * WINDOW
"""Shortest side in pixels that has a figure: the window must fit into the halved picture."""
FEATURES = 36


def brisque(image: NDArray[np.uint8]) -> float | None:
    """The score of a picture, uint8 [H,W,3] RGB: about 0 (best) to 100, not clipped.

    None where a side is shorter than `SMALLEST`, or the picture has no content at one of the two scales.
    """
    if min(image.shape[:2]) < SMALLEST:
        return None
    grey = luma(image)
    features = np.array(_features(grey) + _features(halved(grey)))
    return None if np.isnan(features).any() else _model().score(features)


def _features(grey: Floats) -> list[float]:
    """18 features of a picture at one scale."""
    import cv2

    normalised = mscn(grey, cv2.BORDER_CONSTANT)
    features = [*fit_symmetric(normalised.ravel())]
    for product in products(normalised):
        found = fit(product.ravel())
        features += [found.shape, found.mean, found.left**2, found.right**2]
    return [float(feature) for feature in features]


@dataclass(frozen=True)
class _Model:
    """An epsilon-SVR with a radial kernel, on features that were scaled to [-1, 1]."""

    low: Floats
    """Each feature's smallest value when the model was trained; `high`: its largest."""
    high: Floats
    gamma: float
    rho: float
    weights: Floats
    vectors: Floats
    """[N,36]; `weights` are [N]."""

    def score(self, features: Floats) -> float:
        """The sum over support vectors of weight x exp(-gamma x squared distance), less rho."""
        scaled = 2 * (features - self.low) / (self.high - self.low) - 1
        distances = ((self.vectors - scaled) ** 2).sum(axis=1)
        return float(self.weights @ np.exp(-self.gamma * distances) - self.rho)


@cache
def _model() -> _Model:
    """Reads LIBSVM's text: a head of names and values, a line `SV`, and a line `weight index:value ...` a vector."""
    folder = files("mirnet_deploy.benchmarks").joinpath("parameters")
    ranges = json.loads(folder.joinpath("brisque_range.json").read_text())
    head, _, body = folder.joinpath("brisque_svm.txt").read_text().partition("\nSV\n")
    settings = dict(line.split(maxsplit=1) for line in head.splitlines())
    lines = [line.split() for line in body.splitlines()]
    vectors = np.zeros((len(lines), FEATURES))
    for vector, (_, *entries) in zip(vectors, lines, strict=True):
        for entry in entries:
            index, _, value = entry.partition(":")
            vector[int(index) - 1] = float(value)
    weights = np.array([float(weight) for weight, *_ in lines])
    low, high = np.array(ranges["min"]), np.array(ranges["max"])
    return _Model(low, high, float(settings["gamma"]), float(settings["rho"]), weights, vectors)

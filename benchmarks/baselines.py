"""What a model must beat: fixed operations that anyone can apply to a dark picture, uint8 [H,W,3] RGB in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.inputs import Image

GAMMA = 1 / 2.2
CLAHE_CLIP, CLAHE_TILES = 2.0, (8, 8)
RETINEX_SIGMAS = (15.0, 80.0, 250.0)
RETINEX_ALPHA = 125.0
RETINEX_CLIPPED = 0.01


@dataclass(frozen=True)
class Baseline:
    """A fixed operation to beat, used in place of an engine."""

    name: str
    operation: Callable[[Image], Image]

    def enhance(self, image: Image) -> Image:
        """uint8 [H,W,3] RGB in and out."""
        return self.operation(image)


def baselines() -> list[Baseline]:
    """All baselines, the untouched input first."""
    return [
        Baseline("input", lambda image: image),
        Baseline("autocontrast", autocontrast),
        Baseline("gamma", gamma),
        Baseline("CLAHE", clahe),
        Baseline("equalized", equalized),
        Baseline("MSRCR", msrcr),
    ]


def others(names: Iterable[str]) -> list[str]:
    """Each of `names` once, in order, without those of the baselines.

    >>> others(["input", "lite", "gamma", "lite"])
    ['lite']
    """
    own = {each.name for each in baselines()}
    return [name for name in dict.fromkeys(names) if name not in own]


PROTOCOL = (
    "input: untouched. autocontrast: PIL.ImageOps.autocontrast at its defaults. "
    "gamma: 255 (x / 255)^(1/2.2), rounded, the same for every picture. "
    "CLAHE: OpenCV's on L of CIELAB, clip limit 2, 8x8 tiles. equalized: OpenCV's equalizeHist on Y of YCrCb. "
    "MSRCR: multiscale Retinex with color restoration, sigmas 15, 80, 250, alpha 125, then each channel stretched with "
    "1 % clipped at both ends (IPOL 4, 2014)."
)


def autocontrast(image: Image) -> Image:
    """Pillow's `ImageOps.autocontrast` at its defaults: each channel stretched to [0, 255], nothing cut off."""
    from PIL import Image as PillowImage
    from PIL import ImageOps

    return np.asarray(ImageOps.autocontrast(PillowImage.fromarray(image)))


def gamma(image: Image) -> Image:
    """255 (x / 255)^(1/2.2), rounded; one exponent for every picture."""
    table = np.rint(255 * (np.arange(256) / 255) ** GAMMA).astype(np.uint8)
    return table[image]


def clahe(image: Image) -> Image:
    """Contrast-limited adaptive histogram equalisation of the lightness (Zuiderveld, Graphics Gems IV, 1994)."""
    import cv2

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(CLAHE_CLIP, CLAHE_TILES).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def equalized(image: Image) -> Image:
    """Histogram equalisation of the luma."""
    import cv2

    luma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    luma[..., 0] = cv2.equalizeHist(luma[..., 0])
    return np.asarray(cv2.cvtColor(luma, cv2.COLOR_YCrCb2RGB), np.uint8)


def msrcr(image: Image) -> Image:
    """Multiscale Retinex with colour restoration (Jobson, Rahman, Woodell, IEEE TIP 6(7), 1997).

    The published gain and offset do not fit every picture; as in Petro, Sbert, Morel, "Multiscale Retinex", IPOL 4,
    2014, every channel is stretched instead.
    """
    import cv2

    light = image.astype(np.float32) + 1
    retinex = np.zeros_like(light)
    for sigma in RETINEX_SIGMAS:
        around = cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        retinex += (np.log(light) - np.log(around)) / len(RETINEX_SIGMAS)
    restored = (np.log(RETINEX_ALPHA * light) - np.log(light.sum(axis=2, keepdims=True))) * retinex
    low, high = np.quantile(restored, (RETINEX_CLIPPED, 1 - RETINEX_CLIPPED), axis=(0, 1))
    stretched: NDArray[np.float64] = (restored - low) / np.maximum(high - low, 1e-6)
    return np.asarray(np.rint(255 * stretched.clip(0, 1)), np.uint8)

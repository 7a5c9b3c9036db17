"""What several formats do to samples: other depths made 16 bit, premultiplied ones made straight, sRGB made linear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.images.picture import Samples


def to_16_bit(samples: Samples, bits: int) -> Samples:
    """Samples of `bits` bits -> uint16: v * 65535 / (2**bits - 1), rounded. C-contiguous.

    >>> to_16_bit(np.array([0, 1, 1023], np.uint16), 10).tolist()
    [0, 64, 65535]
    """
    most = (1 << bits) - 1
    scaled: Samples = (samples.astype(np.uint32) * 65535 + most // 2) // most
    return scaled.astype(np.uint16)


def from_16_bit(samples: Samples, bits: int) -> Samples:
    """uint16 -> uint16 whose values have `bits` bits: v * (2**bits - 1) / 65535, rounded. Undoes `to_16_bit`.

    >>> from_16_bit(np.array([0, 64, 65535], np.uint16), 10).tolist()
    [0, 1, 1023]
    """
    scaled: Samples = (samples.astype(np.uint32) * ((1 << bits) - 1) + 32767) // 65535
    return scaled.astype(np.uint16)


def straight(pixels: Samples, alpha: Samples) -> Samples:
    """Pixels that were multiplied by alpha, [H,W] or [H,W,3], as they were before; alpha is [H,W] of the same dtype.

    Nothing is left of the colour where alpha is 0: it stays black.

    >>> straight(np.array([[100]], np.uint8), np.array([[128]], np.uint8)).tolist()
    [[199]]
    """
    most = np.iinfo(alpha.dtype).max
    divisor = np.maximum(alpha, 1)
    divided = pixels.astype(np.float64) * most / (divisor if pixels.ndim == 2 else divisor[..., None])
    whole: Samples = np.rint(divided.clip(0, most)).astype(pixels.dtype)
    return whole


def to_linear(samples: Samples) -> NDArray[np.float32]:
    """uint16 sRGB -> light, float32 in [0, 1] of the same shape (IEC 61966-2-1)."""
    value = np.arange(65536) / 65535
    found: NDArray[np.float32] = light_of_srgb(value).astype(np.float32)[samples]
    return found


def from_linear(light: NDArray[np.float64]) -> Samples:
    """Light in [0, 1] -> uint16 sRGB of the same shape, rounded (IEC 61966-2-1). Values outside are clipped."""
    whole: Samples = np.rint(srgb_of_light(light.clip(0, 1)) * 65535).astype(np.uint16)
    return whole


def light_of_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB's numbers in [0, 1] -> linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_of_light(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light in [0, 1] -> sRGB's numbers in [0, 1] (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)

"""Predicts how far a result made in tiles is from the network's result for the whole picture, without the latter.

The last correction of the means shows it. The thumbnail is enhanced with the means that were used and with the
corrected ones. The difference between the two stands for the difference between the picture's result in tiles and as a
whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.tiling import BORDER_ERROR

PSNR_MARGIN = 2.0
"""dB taken off a predicted PSNR."""
MAX_ABS_FACTOR = 1.8
"""The factor on a thumbnail's largest difference, which is smaller than the picture's."""
MAX_PSNR = 150.0
"""dB, the limit of float32."""
MAX_ABS = 1 / 255
"""The most that any pixel may be off, in a range of 1, at a tolerance of 60 dB: ten times as much at 40 dB, and so on,
but not less than twice `BORDER_ERROR`, which no pass can remove."""
STEPS = 4
"""Steps of a coarse precision that a pixel may be off in any case. Other means round single values the other way, and
no pass can change that: with bfloat16 seven passes were made where the first was within 60 dB."""


@dataclass(frozen=True)
class Prediction:
    """How far a result is from the network's result for the whole picture, both before rounding."""

    psnr: float
    """dB; at most `MAX_PSNR`."""
    max_abs: float
    """The largest absolute difference, in a range of 1."""
    step: float = 0.0
    """See `Engine.step`."""

    def within(self, tolerance: float) -> bool:
        """Whether the result is as good as whole: `tolerance` dB, and no pixel too far off (`MAX_ABS`).

        In a coarse precision the mean square of one rounding, step**2 / 12, is allowed on top of the tolerance's. It
        was chosen, not derived: thumbnails with the same means rounded in two ways differ by about as much (57 dB and
        more were seen in bfloat16), which no pass can change.

        >>> [Prediction(psnr=75.0, max_abs=levels / 255).within(60) for levels in (0.5, 2)]
        [True, False]
        >>> Prediction(psnr=75.0, max_abs=2 / 255).within(40)
        True
        >>> [Prediction(psnr, max_abs=1 / 255, step=2**-8).within(60) for psnr in (56, 57)]
        [False, True]
        """
        most = max(MAX_ABS * 10 ** ((60 - tolerance) / 20), 2 * BORDER_ERROR, STEPS * self.step)
        return 10 ** (-self.psnr / 10) <= 10 ** (-tolerance / 10) + self.step**2 / 12 and self.max_abs <= most


def predict(used: NDArray[np.float32], better: NDArray[np.float32], step: float) -> Prediction:
    """Predicts the error of a picture from its thumbnail, float32 [h,w,3] in [0, 1], enhanced with the means that were
    used and with better ones.

    PSNR(used, better) - `PSNR_MARGIN`, and max |used - better| * `MAX_ABS_FACTOR` + `BORDER_ERROR`. The constants are
    fitted (benchmarks/TILING.md).
    """
    return from_difference(*difference(used, better), step)


def from_difference(psnr: float, max_abs: float, step: float = 0.0) -> Prediction:
    """The prediction of `predict`, from the PSNR in dB and the largest absolute difference of the two results."""
    return Prediction(psnr - PSNR_MARGIN, max_abs * MAX_ABS_FACTOR + BORDER_ERROR, step)


def psnr_of(mse: float) -> float:
    """The PSNR in dB of a mean squared error of values in [0, 1]; at most `MAX_PSNR`."""
    return -10 * math.log10(max(mse, 10 ** (-MAX_PSNR / 10)))


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    """The PSNR in dB, at most `MAX_PSNR`, and the largest absolute difference of two pictures, [h,w,3] in [0, 1]."""
    error = a.astype(np.float64) - b
    return psnr_of(float(np.mean(error**2))), float(np.abs(error).max())

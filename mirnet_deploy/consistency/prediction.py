"""How far a picture in tiles is from the network's result for the whole of it, predicted without that result.

The last correction of the means says it: the thumbnail is enhanced with the means that were used and with the corrected
ones, and the difference of the two stands for that of the picture and its whole result.
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
"""By which a predicted largest difference is multiplied: a thumbnail's is smaller than the picture's."""
MAX_PSNR = 150.0
"""dB: where float32 ends."""
MAX_ABS = 1 / 255
"""What no pixel may be off by, of a range of 1, where 60 dB are asked for. In proportion for other tolerances, but not
less than twice `BORDER_ERROR`, which no pass can take away."""


@dataclass(frozen=True)
class Prediction:
    """How far a picture is from the network's result for the whole of it, before it is rounded."""

    psnr: float
    """dB; at most `MAX_PSNR`."""
    max_abs: float
    """Largest absolute difference, of a range of 1."""

    def within(self, tolerance: float) -> bool:
        """Whether the picture is as good as whole: at least `tolerance` dB, and no pixel off by more than `MAX_ABS`."""
        most = max(MAX_ABS * 10 ** ((60 - tolerance) / 20), 2 * BORDER_ERROR)
        return self.psnr >= tolerance and self.max_abs <= most


def predict(used: NDArray[np.float32], better: NDArray[np.float32]) -> Prediction:
    """The error of a picture, from its thumbnail, [h,w,3], enhanced with the means used and with better ones.

    PSNR(used, better) - `PSNR_MARGIN`, and max |used - better| * `MAX_ABS_FACTOR` + `BORDER_ERROR`. The constants are
    fitted (benchmarks/TILING.md).
    """
    psnr, max_abs = difference(used, better)
    return Prediction(psnr - PSNR_MARGIN, max_abs * MAX_ABS_FACTOR + BORDER_ERROR)


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    """PSNR in dB, at most `MAX_PSNR`, and largest absolute difference of two pictures in [0, 1]."""
    error = a.astype(np.float64) - b
    mse = max(float(np.mean(error**2)), 10 ** (-MAX_PSNR / 10))
    return -10 * math.log10(mse), float(np.abs(error).max())

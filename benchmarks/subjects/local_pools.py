"""Pools that see only what is near each pixel: a rival to means of whole pictures."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


class LocalPools:
    """Gives every pixel the mean of a square around it, moved inside at borders, in place of the picture's mean.

    Test-time local conversion: Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation",
    arXiv 2112.04491.

    Args:
        side: side of the square in pixels of the picture, a multiple of 4; along shorter sides it is cut to them.
    """

    def __init__(self, side: int) -> None:
        self._side = side

    def mean(self, x: Tensor, level: int) -> Tensor:
        """See `training.context.Pools`: float32 [N,C,h,w] -> [N,C,h,w]."""
        for axis in (2, 3):
            window = min(self._side >> level, x.shape[axis])
            sums = F.pad(x.double().cumsum(axis), (0, 0, 1, 0) if axis == 2 else (1, 0))
            inside = x.shape[axis] - window + 1
            means = (sums.narrow(axis, window, inside) - sums.narrow(axis, 0, inside)) / window
            before = (window - 1) // 2
            ends = (before, window - 1 - before)
            x = F.pad(means.float(), (0, 0, *ends) if axis == 2 else (*ends, 0, 0), mode="replicate")
        return x

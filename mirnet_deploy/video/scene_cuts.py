"""Finds the cuts between the scenes of a video."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CUT = 0.5
"""The change between two frames, as a share of their mean brightness, above which they belong to two scenes."""
_SIDE = 32
"""Height and width in pixels of the thumbnails that are compared."""


class SceneCuts:
    """Compares every frame with the one before it."""

    def __init__(self) -> None:
        self._last: tuple[Any, NDArray[np.float32]] | None = None
        """(shape, dtype) of the frame before and its thumbnail, [32,32,3] in the range of that dtype."""

    def before(self, frame: NDArray[Any]) -> bool:
        """Whether there is a cut before `frame`, [H,W,3] of uint8, uint16 or float32.

        There is one where the frame is the first, or of another shape or dtype than the one before, or where the mean
        absolute difference of the two thumbnails is more than `CUT` times their mean.
        """
        import cv2

        kind = frame.shape, frame.dtype
        shrunk = cv2.resize(np.ascontiguousarray(frame), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        small = shrunk.astype(np.float32)
        last, self._last = self._last, (kind, small)
        if last is None or last[0] != kind:
            return True
        change, light = np.abs(small - last[1]).mean(), (small + last[1]).mean() / 2
        return bool(change > CUT * light)

"""Where a video cuts from one scene to another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CUT = 0.5
"""The change between two frames, as a share of their mean brightness, from which on they count as two scenes."""
_SIDE = 32


class SceneCuts:
    """Compares every frame with the one before it."""

    def __init__(self) -> None:
        self._last: tuple[Any, NDArray[np.float32]] | None = None

    def before(self, frame: NDArray[Any]) -> bool:
        """Whether there is a cut before `frame`, [H,W,3]: it is the first, or of another shape or dtype, or the mean
        absolute difference of the two frames' thumbnails passes `CUT` of their mean."""
        import cv2

        kind = frame.shape, frame.dtype
        shrunk = cv2.resize(np.ascontiguousarray(frame), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        small = shrunk.astype(np.float32)
        last, self._last = self._last, (kind, small)
        if last is None or last[0] != kind:
            return True
        change, light = np.abs(small - last[1]).mean(), (small + last[1]).mean() / 2
        return bool(change > CUT * light)

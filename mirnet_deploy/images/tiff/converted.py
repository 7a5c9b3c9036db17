"""`colour`, for pictures that are worked on a band of rows at a time; the results are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.images.colour.conversion import Conversion
from mirnet_deploy.images.tiff.bands import BandedTiff, Key, RawBands


class ConvertedSource:
    """The windows of a TIFF file as the network takes them, [h,w,3]."""

    def __init__(self, source: BandedTiff, conversion: Conversion) -> None:
        self.shape: tuple[int, ...] = source.shape
        self.dtype: np.dtype[Any] = conversion.network_dtype
        self.grey = source.grey
        self._source, self._conversion = source, conversion

    def __getitem__(self, key: Key) -> NDArray[Any]:
        return self._conversion.there(self._source[key])


class RestoredResult:
    """The network's `result` for a TIFF file, in the colour space of the file. Its rows are read once more for that."""

    def __init__(self, result: RawBands, source: BandedTiff, conversion: Conversion) -> None:
        self.shape: tuple[int, ...] = source.shape
        self.dtype, self.grey = source.dtype, source.grey
        self._result, self._source, self._conversion = result, source, conversion

    def band(self, top: int, bottom: int) -> NDArray[Any]:
        """Rows from `top` to `bottom`, [n,W,1 or 3]."""
        pixels = self._source[top:bottom]
        if self.grey:
            pixels = np.ascontiguousarray(pixels[..., :1])
        return self._conversion.back(self._result.band(top, bottom), pixels)

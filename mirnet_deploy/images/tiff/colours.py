"""From the samples that a TIFF stores to grey or RGB and straight alpha. Source: TIFF 6.0, sections 3 to 6, 18."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.ifd import Directory
from mirnet_deploy.images.picture import Samples
from mirnet_deploy.images.samples import straight
from mirnet_deploy.images.tiff import tags
from mirnet_deploy.images.tiff.form import Form


class Colours:
    """Turns stored samples into pixels, a segment or any other part of a picture at a time.

    Raises:
        ImageError: the colour map is damaged; the message does not name the file.
    """

    def __init__(self, form: Form, directory: Directory) -> None:
        self._form = form
        map_ = _colour_map(directory, form.bits) if form.photometric == tags.PALETTE else None
        self._map = map_
        self.grey = form.colours == 1 and map_ is None
        """Whether pixels are [h,w], else [h,w,3]."""
        self.dtype: np.dtype[np.uint8 | np.uint16] = np.dtype(
            np.uint8 if form.bits <= 8 or map_ is not None else np.uint16
        )
        """Of pixels and alpha: samples of fewer bits are spread over 8 or 16."""

    def convert(self, samples: Samples) -> tuple[Samples, Samples | None]:
        """Stored samples, [h,w,channels] -> pixels, [h,w] grey or [h,w,3] RGB, and alpha, [h,w] or None.

        Black is 0, and pixels are not premultiplied.
        """
        form, top = self._form, np.iinfo(self.dtype).max
        pixels = samples[..., 0] if form.colours == 1 else samples[..., :3]
        alpha = None if form.alpha is None else self._spread(samples[..., form.alpha])
        pixels = self._map[pixels] if self._map is not None else self._spread(pixels)
        if form.photometric == tags.WHITE_IS_ZERO:
            pixels = top - pixels
        if alpha is not None and form.premultiplied:
            pixels = straight(pixels, alpha)
        return pixels, alpha

    def _spread(self, samples: Samples) -> Samples:
        """Samples of `bits` bits -> the nearest of 8 or 16."""
        bits, top = self._form.bits, np.iinfo(self.dtype).max
        if samples.dtype == self.dtype and bits == 8 * self.dtype.itemsize:
            return samples
        table: NDArray[np.uint8 | np.uint16] = np.rint(np.arange(1 << bits) * (top / ((1 << bits) - 1))).astype(
            self.dtype
        )
        return table[samples]


def _colour_map(directory: Directory, bits: int) -> Samples:
    """uint8 [2^bits,3] RGB. Its entries have 16 bits, of which the upper 8 are kept, as in libtiff.

    Old writers put values of 8 bits there, which every viewer takes as such: the map then has none above 255.
    """
    entries = np.array(directory.integers(tags.COLOUR_MAP), np.uint16)
    if len(entries) != 3 << bits:
        raise ImageError(f"is damaged: the TIFF's colour map has {len(entries)} entries, expected {3 << bits}")
    if entries.max() > 255:
        entries >>= 8
    return np.ascontiguousarray(entries.astype(np.uint8).reshape(3, -1).T)

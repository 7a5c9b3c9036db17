"""Encodes TIFFs: Deflate, horizontal differences, straight alpha; a BigTIFF from 4 GB on.

Source: TIFF 6.0; Deflate is Adobe's TIFF technical note 3.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from mirnet_deploy.images.formats import DEFLATE_LEVEL
from mirnet_deploy.images.ifd import integer_field, pack_block
from mirnet_deploy.images.picture import Picture, Samples
from mirnet_deploy.images.tiff import tags
from mirnet_deploy.images.tiff.metadata import Described, described_fields

_STRIP_BYTES = 1 << 20
"""Bytes of samples per written strip, before compression, at most; but a strip has at least one row."""

_CLASSIC_END = 1 << 32
"""Bytes of a file, at most, whose offsets are LONGs."""
_SIZES: tuple[tuple[bool, Literal["I", "Q"]], ...] = (False, "I"), (True, "Q")
"""Whether a file is a BigTIFF, and the code of its offsets."""


def encode_tiff(picture: Picture) -> bytes:
    """The bytes of a TIFF file that holds a picture with its metadata."""
    samples = picture.pixels[..., None] if picture.grey else picture.pixels
    if picture.alpha is not None:
        samples = np.dstack([samples, picture.alpha])
    layout = TiffLayout(samples.shape, samples.dtype, picture, alpha=picture.alpha is not None)
    strips = list(layout.strips(lambda top, bottom: samples[top:bottom]))
    return layout.head([len(strip) for strip in strips]) + b"".join(strips)


class TiffLayout:
    """How a TIFF that is written holds its samples: header and directory, then one compressed strip after another.

    The byte order is that of the EXIF block, whose fields are taken over as they are; little-endian without one.

    Args:
        shape: [H,W,C] of the samples, which are interleaved; 1 or 3 colours, and one more channel with `alpha`.
        dtype: uint8 or uint16.
        described: the metadata.
        alpha: whether the last channel is straight alpha.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], described: Described, *, alpha: bool) -> None:
        self._height, self._width, self._count = shape
        self._dtype = dtype
        self._order, self._fields = described_fields(described)
        if alpha:
            self._fields[tags.EXTRA_SAMPLES] = integer_field(self._order, "H", tags.STRAIGHT)
        self._rows = max(1, _STRIP_BYTES // (self._width * self._count * dtype.itemsize))

    def strips(self, band: Callable[[int, int], Samples]) -> Iterator[bytes]:
        """Yields the compressed strips; `band(top, bottom)` gives these rows of the samples, [bottom - top,W,C]."""
        for top in range(0, self._height, self._rows):
            samples = band(top, min(top + self._rows, self._height))
            differences = samples.astype(samples.dtype.newbyteorder(self._order))
            differences[:, 1:] -= samples[:, :-1]
            yield zlib.compress(differences.tobytes(), DEFLATE_LEVEL)

    def head(self, lengths: Sequence[int]) -> bytes:
        """The bytes before the strips: header and directory, for strips of these `lengths` in bytes."""
        order, count, depth = self._order, self._count, 8 * self._dtype.itemsize
        alpha = tags.EXTRA_SAMPLES in self._fields
        photometric = tags.BLACK_IS_ZERO if count - alpha == 1 else tags.RGB
        fields = self._fields | {
            tags.WIDTH: integer_field(order, "I", self._width),
            tags.HEIGHT: integer_field(order, "I", self._height),
            tags.BITS: integer_field(order, "H", *[depth] * count),
            tags.COMPRESSION: integer_field(order, "H", tags.DEFLATE),
            tags.PHOTOMETRIC: integer_field(order, "H", photometric),
            tags.SAMPLES: integer_field(order, "H", count),
            tags.STRIP_ROWS: integer_field(order, "I", self._rows),
            tags.STRIP_COUNTS: integer_field(order, "I", *lengths),
            tags.PLANAR: integer_field(order, "H", 1),
            tags.PREDICTOR: integer_field(order, "H", tags.DIFFERENCES),
            tags.SAMPLE_FORMAT: integer_field(order, "H", *[1] * count),
        }
        # The size of the directory depends on how many offsets there are, not on their values.
        for big, size in _SIZES:
            fields[tags.STRIP_OFFSETS] = integer_field(order, size, *[0] * len(lengths))
            offsets = list(accumulate([len(pack_block(fields, order, big=big)), *lengths[:-1]]))
            if offsets[-1] + lengths[-1] < _CLASSIC_END:
                break
        fields[tags.STRIP_OFFSETS] = integer_field(order, size, *offsets)
        return pack_block(fields, order, big=big)

"""A picture in memory: its pixels, alpha and metadata."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.formats import Format

Samples = NDArray[Any]
"""uint8 or uint16."""
TRANSPOSED = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""

ANIMATED = "is animated or has several pages; expected a single picture"
CMYK = "is CMYK; convert it to RGB first"
"""What errors say of kinds that are refused in every format."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Upright pixels with their alpha and metadata. Arrays are C-contiguous; pixels are never premultiplied by alpha.

    Raises:
        ValueError: the shapes or dtypes of the arrays are not as below.
    """

    pixels: Samples
    """uint8 or uint16, HxWx3 RGB or HxW grey."""
    alpha: Samples | None = None
    """HxW of the pixels' dtype, 0 for transparent; None for a picture without alpha."""
    exif: bytes | None = None
    """An EXIF block from its TIFF header on (no "Exif\\0\\0"); its orientation is 1."""
    icc: bytes | None = None
    """The ICC profile: the file's own, or one made of the codes or numbers by which it states its colour space."""
    format: Format = "png"
    """The format it was read from."""
    lossless: bool = True
    """False for a picture that was read from a lossy coding. Decides how WebP, HEIC, AVIF and JPEG XL are written back
    to their own format."""
    xmp: bytes | None = None
    """The XMP packet; its orientation is 1, and its pixel sizes are those of `pixels`."""
    iptc: bytes | None = None
    """IPTC-IIM data sets, from the first 0x1C on."""
    resolution: tuple[float, float] | None = None
    """Pixels per inch, across and down; None where the file does not say."""
    texts: tuple[tuple[bytes, bytes], ...] = ()
    """Texts without a common form: (type, body) of PNG's text chunks, (b"COM", text) of a JPEG's comments. Each is
    written back to its own format alone."""
    depth: int | None = None
    """Bits per sample in the file where `pixels` have more: 10 or 12 that became 16. None for those of `pixels`."""
    lost: tuple[str, ...] = ()
    """One line for the user for everything in the file that is not kept: "its gain map is lost"."""

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype not in (np.uint8, np.uint16) or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise ValueError(f"pixels are {dtype} {shape}; expected uint8 or uint16, HxWx3 or HxW")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            raise ValueError(f"alpha is {self.alpha.dtype} {self.alpha.shape}; expected {dtype} {shape[:2]}")

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def grey(self) -> bool:
        return self.pixels.ndim == 2

    @property
    def bits(self) -> int:
        """Bits per sample: 8 or 16."""
        return self.pixels.dtype.itemsize * 8

    def rgb(self) -> Samples:
        """HxWx3: `pixels` themselves, or for a grey picture a copy that holds its one channel three times."""
        return np.repeat(self.pixels[..., None], 3, axis=2) if self.grey else self.pixels

    def with_rgb(self, rgb: Samples) -> Picture:
        """This picture with other pixels, HxWx3 of the same size and dtype. A grey picture stays grey (`grey_of`)."""
        return replace(self, pixels=grey_of(rgb) if self.grey else rgb)

    def to_8_bit(self) -> Picture:
        """The nearest 8-bit picture: v / 257, rounded."""
        if self.bits == 8:
            return self
        return replace(self, pixels=to_8_bit(self.pixels), alpha=None if self.alpha is None else to_8_bit(self.alpha))

    def upright(self, orientation: int) -> Picture:
        """Turned and mirrored as EXIF orientation 1 to 8 asks for (CIPA DC-008, tag 0x0112); other values mean 1."""
        resolution = self.resolution
        if resolution and orientation in TRANSPOSED:
            resolution = resolution[1], resolution[0]
        return replace(
            self,
            pixels=_upright(self.pixels, orientation),
            alpha=None if self.alpha is None else _upright(self.alpha, orientation),
            resolution=resolution,
        )


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Checks the width and height that a header gives, before anything is decoded.

    Raises:
        ImageError: there are no pixels, or more than `max_pixels`; the message does not name the file.
    """
    if width < 1 or height < 1:
        raise ImageError(f"is damaged: its header says {width}x{height} pixels")
    if width * height > max_pixels:
        raise ImageError(
            f"is {width}x{height}, {width * height / 1e6:.12g} megapixels; at most {max_pixels / 1e6:.12g} are allowed "
            "(--max-pixels)"
        )


def grey_of(rgb: Samples) -> Samples:
    """The rounded mean of the three channels, HxWx3 -> HxW of the same dtype.

    Each channel is an estimate of the same grey, and luma weights would favour one of them.
    """
    total: Samples = rgb.sum(axis=2, dtype=np.uint32)
    return ((total + 1) // 3).astype(rgb.dtype)


def to_8_bit(samples: Samples) -> Samples:
    """uint16 -> uint8 of the same shape: v / 257, rounded, which takes 65535 to 255."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _upright(samples: Samples, orientation: int) -> Samples:
    """[H,W] or [H,W,C], turned and mirrored as `orientation` asks for; C-contiguous.

    >>> _upright(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation in TRANSPOSED:
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)

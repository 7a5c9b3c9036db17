"""Encodes pictures, in each format's own way of holding grey, alpha, 16 bits, EXIF and the ICC profile.

| format | bits  | grey          | alpha | EXIF, ICC | pixels                                             |
| ------ | ----- | ------------- | ----- | --------- | -------------------------------------------------- |
| PNG    | 8, 16 | yes           | yes   | yes       | exact                                              |
| TIFF   | 8, 16 | yes           | yes   | yes       | exact (Deflate)                                    |
| BMP    | 8     | without alpha | yes   | no        | exact                                              |
| WebP   | 8     | no            | yes   | yes       | exact if read from a lossless WebP, else `quality` |
| JPEG   | 8     | yes           | no    | yes       | `quality`, `subsampling`                           |
| HEIC   | 8-12  | yes           | yes   | yes, XMP  | as WebP, `subsampling`                             |
| AVIF   | 8-12  | without alpha | yes   | yes, XMP  | as WebP; 8 bit: `subsampling`, above it 4:2:0      |
| JXL    | 8-16  | yes           | yes   | yes, XMP  | as WebP; exact with an ICC profile, then 8 bit     |

Where a format cannot hold grey, it becomes RGB. Of 16 bits, HEIC and AVIF hold the upper 12. "As WebP": exact where the
file that was read was of the same format and says that it is exact.
"""

from __future__ import annotations

import io
import math
from typing import Any, Literal

import numpy as np
from PIL import Image

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.avif import LARGEST_SIDE as AVIF_SIDE
from mirnet_deploy.images.avif import check_avif, encode_avif
from mirnet_deploy.images.formats import ALPHA_FORMATS, SIXTEEN_BIT_FORMATS, Format, depth_in
from mirnet_deploy.images.heif import encode_heif
from mirnet_deploy.images.heif import library as heif_library
from mirnet_deploy.images.jxl_writing import check_jxl, encode_jxl
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.png16 import encode_png16
from mirnet_deploy.images.tiff import encode_tiff

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]

LARGEST_SIDE: dict[Format, int] = {"jpg": 65500, "webp": 16383, "avif": AVIF_SIDE}
"""Format -> the largest width or height in pixels that libjpeg or libwebp writes, or libavif reads again."""
LARGEST_EXIF = 65535 - 2 - 6
"""Bytes: what a JPEG's segment holds, less its length (2) and the name of EXIF (6)."""

_PILLOW_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP"}


def encode_image(
    picture: Picture,
    kind: Format,
    *,
    quality: int,
    subsampling: Subsampling,
    allow_8_bit: bool,
) -> bytes:
    """The bytes of a file of format `kind`.

    Args:
        quality: 1 to 100, for JPEG, and for WebP, HEIC, AVIF and JPEG XL that are not lossless.
        subsampling: of the colour channels of JPEG, HEIC and AVIF of 8 bit.
        allow_8_bit: whether a 16-bit picture may become an 8-bit one in a format that holds no more.

    Raises:
        ImageError: the format cannot hold the picture; the message does not name the file.
        MissingDependencyError: a library that writes the format is not installed.
    """
    check_encodable(picture, kind, allow_8_bit=allow_8_bit)
    if kind not in SIXTEEN_BIT_FORMATS:
        picture = picture.to_8_bit()
    depth = depth_in(kind, picture.bits, picture.depth)
    if kind in ("heic", "avif"):
        encode = encode_heif if kind == "heic" else encode_avif
        return encode(picture, depth, quality, subsampling)
    if kind == "jxl":
        return encode_jxl(picture, depth, quality)
    return _encode_core(picture, kind, quality, subsampling)


def _encode_core(picture: Picture, kind: Format, quality: int, subsampling: Subsampling) -> bytes:
    """One of the formats that need no extra."""
    if kind == "tiff":
        return encode_tiff(picture)
    if picture.bits == 16:
        return encode_png16(picture)
    if kind == "bmp" and picture.alpha is not None:
        return _encode_bmp_with_alpha(picture)
    return _encode_by_pillow(picture, kind, quality, subsampling)


def check_encodable(picture: Picture, kind: Format, *, allow_8_bit: bool) -> None:
    """Checks that a format can hold the picture's channels, depth, size and EXIF, before any work goes into it.

    Raises:
        ImageError: it does not; the message does not name the file.
        MissingDependencyError: a library that writes the format is not installed.
    """
    if picture.alpha is not None and kind not in ALPHA_FORMATS:
        raise ImageError("has transparency, which a JPEG cannot hold; write png, webp, tiff or bmp")
    if picture.bits == 16 and kind not in SIXTEEN_BIT_FORMATS and not allow_8_bit:
        raise ImageError(f"is 16-bit and a {kind} holds 8; write png or tiff, or say --format {kind} to accept 8 bit")
    if max(picture.width, picture.height) > LARGEST_SIDE.get(kind, math.inf):
        raise ImageError(
            f"is {picture.width}x{picture.height} and a {kind} holds at most {LARGEST_SIDE[kind]} pixels a side; "
            "write png or tiff"
        )
    if kind == "jpg" and picture.exif and len(picture.exif) > LARGEST_EXIF:
        raise ImageError(f"has {len(picture.exif)} bytes of EXIF, and a JPEG holds {LARGEST_EXIF}; write png or tiff")
    if kind == "heic":
        heif_library()
    elif kind == "avif":
        check_avif()
    elif kind == "jxl":
        check_jxl(picture, depth_in(kind, picture.bits, picture.depth))


def _encode_by_pillow(picture: Picture, kind: Format, quality: int, subsampling: Subsampling) -> bytes:
    """An 8-bit picture as PNG, JPEG, WebP, or BMP without alpha."""
    options: dict[str, Any] = {}
    if kind == "jpg":
        options = {"quality": quality, "subsampling": subsampling}
    elif kind == "webp":
        # `exact` keeps the colours of fully transparent pixels; alpha is exact at any quality.
        options = {"lossless": picture.lossless and picture.format == "webp", "quality": quality, "exact": True}
    pixels, icc = picture.pixels, picture.icc
    if kind == "webp" and picture.grey:
        pixels = picture.rgb()
        # A grey profile does not fit the three channels that a WebP always has.
        icc = None if icc and icc[16:20] == b"GRAY" else icc
    if kind != "bmp":
        options |= {"exif": b"Exif\0\0" + picture.exif if picture.exif else b"", "icc_profile": icc or b""}
    if picture.alpha is not None:
        pixels = np.dstack([pixels, picture.alpha])
    file = io.BytesIO()
    try:
        Image.fromarray(pixels).save(file, _PILLOW_NAMES[kind], **options)
    except (OSError, ValueError, OverflowError) as error:
        raise ImageError(f"cannot be encoded as {kind}: {' '.join(str(error).split())}") from error
    return file.getvalue()


def _encode_bmp_with_alpha(picture: Picture) -> bytes:
    # Not by Pillow, which writes the fourth channel without the header that declares it, and so reads none back.
    import cv2

    _, data = cv2.imencode(".bmp", np.dstack([picture.rgb()[..., ::-1], picture.alpha]))  # type: ignore[list-item]
    return data.tobytes()

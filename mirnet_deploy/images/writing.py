"""Pictures to files: the format's own way of holding grey, alpha, 16 bits, EXIF and the ICC profile.

| format | bits  | grey | alpha | EXIF, ICC | pixels                                         |
| ------ | ----- | ---- | ----- | --------- | ---------------------------------------------- |
| PNG    | 8, 16 | yes  | yes   | yes       | exact                                          |
| TIFF   | 8, 16 | yes  | yes   | yes       | exact (Deflate)                                |
| BMP    | 8     | yes  | yes   | no        | exact                                          |
| WebP   | 8     | no   | yes   | yes       | exact if the source was, being a lossless WebP |
| JPEG   | 8     | yes  | no    | yes       | quality 95, 4:4:4                              |
"""

from __future__ import annotations

import io
import math
from typing import Any, Literal

import numpy as np
from PIL import Image

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.formats import ALPHA_FORMATS, SIXTEEN_BIT_FORMATS, Format
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.png16 import encode_png16
from mirnet_deploy.images.tiff import encode_tiff

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]

LARGEST_SIDE: dict[Format, int] = {"jpg": 65500, "webp": 16383}
"""Pixels, as libjpeg and libwebp have them."""
LARGEST_EXIF = 65535 - 2 - 6
"""Bytes in a JPEG's segment, less its length and its name."""

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
        quality: 1 to 100, of JPEG and of WebP that is not lossless.
        subsampling: of JPEG's colour.
        allow_8_bit: whether a 16-bit picture may become 8 bit in a format that holds no more.

    Raises:
        ImageError: the format cannot hold the picture; the text lacks the file's name.
    """
    check_encodable(picture, kind, allow_8_bit=allow_8_bit)
    if kind not in SIXTEEN_BIT_FORMATS:
        picture = picture.to_8_bit()
    if kind == "tiff":
        return encode_tiff(picture)
    if picture.bits == 16:
        return encode_png16(picture)
    if kind == "bmp" and picture.alpha is not None:
        return _encode_bmp_with_alpha(picture)
    return _encode_by_pillow(picture, kind, quality, subsampling)


def check_encodable(picture: Picture, kind: Format, *, allow_8_bit: bool) -> None:
    """Whether a format holds the picture's channels, depth, size and EXIF, told before there is work in it.

    Raises:
        ImageError: it does not; the text lacks the file's name.
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


def _encode_by_pillow(picture: Picture, kind: Format, quality: int, subsampling: Subsampling) -> bytes:
    options: dict[str, Any] = {}
    if kind == "jpg":
        options = {"quality": quality, "subsampling": subsampling}
    elif kind == "webp":
        # `exact` keeps the colours below full transparency; alpha is exact at any quality.
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
    # Pillow writes the fourth channel without the header that declares it, and so reads none back.
    import cv2

    _, data = cv2.imencode(".bmp", np.dstack([picture.rgb()[..., ::-1], picture.alpha]))  # type: ignore[list-item]
    return data.tobytes()

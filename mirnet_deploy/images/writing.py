"""Encodes pictures, in each format's own way of holding grey, alpha, 16 bits and metadata.

| format | bits  | grey          | alpha | metadata               | pixels                                             |
| ------ | ----- | ------------- | ----- | ---------------------- | -------------------------------------------------- |
| PNG    | 8, 16 | yes           | yes   | all; texts of a PNG    | exact                                              |
| TIFF   | 8, 16 | yes           | yes   | all; no texts          | exact (Deflate)                                    |
| BMP    | 8     | without alpha | yes   | RGB profile, dpi       | exact                                              |
| WebP   | 8     | no            | yes   | EXIF, XMP, RGB profile | exact if read from a lossless WebP, else `quality` |
| JPEG   | 8     | yes           | no    | all; JPEG's comments   | `quality`, `subsampling`                           |
| HEIC   | 8-12  | yes           | yes   | EXIF, XMP, profile     | as WebP, `subsampling`                             |
| AVIF   | 8-12  | without alpha | yes   | EXIF, XMP, profile     | as WebP; 8 bit: `subsampling`, above it 4:2:0      |
| JXL    | 8-16  | yes           | yes   | EXIF, XMP, profile     | as WebP; with a profile, of 8 bit alone, exact     |

Where a format cannot hold grey, it becomes RGB. Of 16 bits, HEIC and AVIF hold the upper 12. "As WebP": exact where the
file that was read was of the same format and says that it is exact. `unkept` says what of the metadata a format
does not hold.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.bmp import encode_bmp
from mirnet_deploy.images.boxes.avif import LARGEST_SIDE as AVIF_SIDE
from mirnet_deploy.images.boxes.avif import check_avif, encode_avif
from mirnet_deploy.images.boxes.heif import encode_heif
from mirnet_deploy.images.boxes.heif import library as heif_library
from mirnet_deploy.images.boxes.jxl_writing import check_jxl, encode_jxl, profile_refusal
from mirnet_deploy.images.exif import MAKER_NOTES_LOST, has_maker_notes
from mirnet_deploy.images.formats import ALPHA_FORMATS, DEFLATE_LEVEL, NAMES, SIXTEEN_BIT_FORMATS, Format, depth_in
from mirnet_deploy.images.ifd import read_directory
from mirnet_deploy.images.integrity import chunk_name
from mirnet_deploy.images.jpeg_metadata import (
    COMMENT,
    LARGEST_EXIF,
    LARGEST_ICC,
    LARGEST_IPTC,
    LARGEST_XMP,
    parts_of_xmp,
    with_jpeg_metadata,
)
from mirnet_deploy.images.metadata import EXIF_NAME
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.png.png16 import encode_png16, with_png_metadata
from mirnet_deploy.images.profiles import profile_space
from mirnet_deploy.images.tiff.writing import encode_tiff

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]

LARGEST_SIDE: dict[Format, int] = {"jpg": 65500, "webp": 16383, "avif": AVIF_SIDE}
"""Format -> the largest width or height in pixels that libjpeg or libwebp writes, or libavif reads again."""

_PILLOW_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_X_RESOLUTION = 282
_LACKING = frozenset({"webp", "heic", "avif", "jxl"})
"""Formats with no place for IPTC, nor for a resolution but in EXIF."""
_MOST_TITLES = 12
"""Titles of lost texts that are named."""


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
    if not holds_profile(picture, kind):
        picture = replace(picture, icc=None)
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
    if kind == "bmp":
        return encode_bmp(picture)
    return _encode_by_pillow(picture, kind, quality, subsampling)


def holds_profile(picture: Picture, kind: Format) -> bool:
    """Whether a file of format `kind` can hold the picture's ICC profile; true where there is none. Otherwise the
    picture is written without, in sRGB as far as its maker brought it there.

    Raises:
        MissingDependencyError: the library that writes profiles into the format is not installed.
    """
    return _lost_profile(picture, kind) is None


def _lost_profile(picture: Picture, kind: Format) -> str | None:
    """The line for the user where a file of format `kind` cannot hold the picture's ICC profile."""
    if not picture.icc:
        return None
    space, name = profile_space(picture.icc), NAMES[kind]
    # WebP and, with a profile or transparency, BMP and AVIF have three channels, which no grey profile fits.
    if kind == "bmp" and space not in (b"GRAY", b"RGB "):
        return f"its ICC profile is lost, since {name} holds those of RGB alone"
    three = kind in ("bmp", "webp") or (kind == "avif" and (picture.alpha is not None or not picture.grey))
    if three and space == b"GRAY":
        where = " of three channels" if kind == "avif" else ""
        return f"its grey ICC profile is lost, since {name}{where} holds those of RGB alone"
    if kind == "jpg" and len(picture.icc) > LARGEST_ICC:
        return f"its ICC profile of {len(picture.icc)} bytes is lost, since {name} holds {LARGEST_ICC}"
    reason = profile_refusal(picture) if kind == "jxl" else None
    return f"its ICC profile is lost, since {reason}" if reason else None


def depth_of(picture: Picture) -> str:
    """How many bits a sample had in the picture's own file: "10", or "more than 8" where that is not known."""
    return (
        "more than 8" if picture.format in ("bmp", "raw") and picture.bits > 8 else str(picture.depth or picture.bits)
    )


def check_encodable(picture: Picture, kind: Format, *, allow_8_bit: bool) -> None:
    """Checks that a format can hold the picture's channels, depth and size, before any work goes into it.

    Raises:
        ImageError: it does not; the message does not name the file.
        MissingDependencyError: a library that writes the format is not installed.
    """
    if picture.alpha is not None and kind not in ALPHA_FORMATS:
        raise ImageError("has transparency, which a JPEG cannot hold; write PNG, WebP, TIFF or BMP")
    if picture.bits == 16 and kind not in SIXTEEN_BIT_FORMATS and not allow_8_bit:
        raise ImageError(
            f"has {depth_of(picture)} bits a sample and {NAMES[kind]} holds 8; write PNG or TIFF, or say "
            f"--format {kind} to accept 8 bit"
        )
    if max(picture.width, picture.height) > LARGEST_SIDE.get(kind, math.inf):
        raise ImageError(
            f"is {picture.width}x{picture.height} and {NAMES[kind]} holds at most {LARGEST_SIDE[kind]} pixels a side; "
            "write PNG or TIFF"
        )
    if kind == "heic":
        heif_library()
    elif kind == "avif":
        check_avif()
    elif kind == "jxl":
        check_jxl(picture)


def _encode_by_pillow(picture: Picture, kind: Format, quality: int, subsampling: Subsampling) -> bytes:
    """An 8-bit picture as PNG, JPEG or WebP."""
    options: dict[str, Any] = {}
    pixels = picture.rgb() if kind == "webp" else picture.pixels
    if kind == "png":
        options = {"compress_level": DEFLATE_LEVEL}
    elif kind == "jpg":
        options = {"quality": quality, "subsampling": subsampling}
    elif kind == "webp":
        # `exact` keeps the colours of fully transparent pixels; alpha is exact at any quality.
        options = {"lossless": picture.lossless and picture.format == "webp", "quality": quality, "exact": True}
        options |= {"exif": EXIF_NAME + picture.exif if picture.exif else b"", "xmp": picture.xmp or b""}
        options["icc_profile"] = picture.icc or b""
    if picture.alpha is not None:
        pixels = np.dstack([pixels, picture.alpha])
    file = io.BytesIO()
    try:
        Image.fromarray(pixels).save(file, _PILLOW_NAMES[kind], **options)
    except (OSError, ValueError, OverflowError) as error:
        raise ImageError(f"cannot be encoded as {NAMES[kind]}: {' '.join(str(error).split())}") from error
    if kind == "webp":
        return file.getvalue()
    return (with_png_metadata if kind == "png" else with_jpeg_metadata)(file.getvalue(), picture)


def unkept(picture: Picture, kind: Format) -> list[str]:
    """One line for every part of the metadata that a file of format `kind` does not hold."""
    lines = []
    if kind == "tiff" and picture.exif and has_maker_notes(picture.exif):
        lines.append(MAKER_NOTES_LOST)
    if kind == "bmp":
        parts = {"EXIF": picture.exif, "XMP": picture.xmp, "IPTC": picture.iptc}
        if gone := [name for name, content in parts.items() if content]:
            names = " and ".join([", ".join(gone[:-1]), gone[-1]] if gone[1:] else gone)
            lines.append(f"its {names} {'are' if gone[1:] else 'is'} lost, since a BMP holds none")
    if line := _lost_profile(picture, kind):
        lines.append(line)
    if kind in _LACKING and picture.iptc:
        lines.append(f"its IPTC is lost, since {NAMES[kind]} holds none")
    if kind in _LACKING and picture.resolution and not _states_resolution(picture):
        across, down = picture.resolution
        lines.append(f"its resolution ({across:.4g} x {down:.4g} dpi) is lost, since {NAMES[kind]} holds none")
    if kind == "jpg":
        xmp = None if picture.xmp and parts_of_xmp(picture.xmp) else picture.xmp
        sizes = [("EXIF", picture.exif, LARGEST_EXIF), ("XMP", xmp, LARGEST_XMP), ("IPTC", picture.iptc, LARGEST_IPTC)]
        for name, content, largest in sizes:
            if content and len(content) > largest:
                lines.append(f"its {name} of {len(content)} bytes is lost, since a JPEG holds {largest}")
    if lost := [text for text in picture.texts if not _holds(kind, text[0])]:
        titles = ["comment" if which == COMMENT else chunk_name(text.partition(b"\0")[0]) for which, text in lost]
        titles = list(dict.fromkeys(titles))
        titles[_MOST_TITLES:] = ["…"] * (len(titles) > _MOST_TITLES)
        lines.append(f"its text ({', '.join(titles)}) is lost, since it cannot be kept in {NAMES[kind]}")
    return lines


def _holds(kind: Format, text: bytes) -> bool:
    """Whether a format holds texts of a type, as `Picture.texts` has them."""
    return kind == "jpg" if text == COMMENT else kind == "png"


def _states_resolution(picture: Picture) -> bool:
    """Whether the resolution stands in EXIF, too."""
    try:
        return picture.exif is not None and _X_RESOLUTION in read_directory(picture.exif).fields
    except ValueError:
        return False

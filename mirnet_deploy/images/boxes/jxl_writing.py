"""JPEG XL written, by imagecodecs (libjxl); by pylibjxl where there is an ICC profile, which imagecodecs does not take.

imagecodecs says "linear" of every picture of more than 8 bit, whatever its values mean: such headers are written anew.
pylibjxl, with a profile, is lossy in the profile's own space, which shows (values off by 70 of 255 at quality 95): with
a profile, pictures are written lossless.
Source: ISO/IEC 18181-1 (codestream), 18181-2 (boxes).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.boxes.jxl import codestream_of, imagecodecs, pylibjxl
from mirnet_deploy.images.boxes.jxl_header import SRGB, read_jxl_header
from mirnet_deploy.images.formats import JXL_SIGNATURE
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.samples import from_16_bit, to_linear

_HEAD = JXL_SIGNATURE + b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
_LEVEL_10 = b"\0\0\0\x09jxll\x0a"
"""Says that a decoder needs more than level 5 (18181-1, annex M): samples of more than 12 bits."""


def check_jxl(picture: Picture) -> None:
    """Checks that the libraries are there that write the picture, before any work goes into it.

    Raises:
        MissingDependencyError: one is not installed.
    """
    imagecodecs()
    profile_refusal(picture)


def profile_refusal(picture: Picture) -> str | None:
    """Why the picture's ICC profile cannot be written, as in "is lost, since …"; None where it can, or there is none.

    Raises:
        MissingDependencyError: pylibjxl, which writes profiles, is not installed.
    """
    if not picture.icc:
        return None
    if picture.bits > 8 or (picture.grey and picture.alpha is not None):
        what = "more than 8 bits" if picture.bits > 8 else "grey with transparency"
        return f"a JPEG XL of {what} is written without one"
    channels = (1 if picture.grey else 3) + (picture.alpha is not None)
    if not _takes(pylibjxl(), picture.icc, channels):
        return f"libjxl does not take it for {'grey' if picture.grey else 'RGB'}"
    return None


@lru_cache(maxsize=8)
def _takes(library: Any, icc: bytes, channels: int) -> bool:
    """Whether libjxl takes a profile: it reads it, and says no more than that. Asked several times for each picture."""
    try:
        library.encode(np.zeros((1, 1, channels), np.uint8), lossless=True, icc=icc)
    except (RuntimeError, ValueError):
        return False
    return True


def encode_jxl(picture: Picture, depth: int, quality: int) -> bytes:
    """The bytes of a JPEG XL file: boxes with EXIF and XMP beside the codestream.

    Args:
        picture: its profile, if any, is one that `profile_refusal` lets pass.
        depth: bits per sample: 8, or 9 to 16 for a picture of 16 bits.
        quality: 1 to 100, as in JPEG.

    Raises:
        ImageError: a library refuses it.
        MissingDependencyError: a library is not installed.
    """
    distance = 0.0 if picture.lossless and picture.format == "jxl" else _distance(quality)
    try:
        codestream = _codestream_with_profile(picture) if picture.icc else _codestream(picture, depth, distance)
    except (RuntimeError, ValueError) as error:
        raise ImageError(f"cannot be encoded as JPEG XL: {' '.join(str(error).split())}") from error
    parts = [_HEAD, _LEVEL_10 if depth > 12 else b"", _box(b"jxlc", codestream)]
    if picture.exif:
        parts.append(_box(b"Exif", bytes(4) + picture.exif))
    if picture.xmp:
        parts.append(_box(b"xml ", picture.xmp))
    return b"".join(parts)


def _distance(quality: int) -> float:
    """The distance (1: not to be told from the picture) that libjxl takes for a JPEG's quality of 1 to 99; 100: 0.1."""
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _samples(picture: Picture) -> NDArray[Any]:
    return picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])


def _codestream_with_profile(picture: Picture) -> bytes:
    """8-bit grey, RGB or RGBA with its ICC profile, lossless."""
    samples = np.ascontiguousarray(np.atleast_3d(_samples(picture)))
    data = pylibjxl().encode(samples, lossless=True, icc=picture.icc)
    return codestream_of(data)


def _codestream(picture: Picture, depth: int, distance: float) -> bytes:
    """A picture without profile, which is sRGB."""
    samples = _samples(picture)
    if not distance:
        samples = samples if depth == 8 else from_16_bit(samples, depth)
        data = imagecodecs().jpegxl_encode(samples, lossless=True, bitspersample=depth)
    elif depth == 8:
        data = imagecodecs().jpegxl_encode(samples, distance=distance)
    else:
        light = to_linear(picture.pixels)
        if picture.alpha is not None:
            light = np.dstack([light, picture.alpha.astype(np.float32) / 65535])
        data = imagecodecs().jpegxl_encode(light, distance=distance)
    codestream = codestream_of(data)
    return codestream if depth == 8 else restated(codestream, depth)


def restated(codestream: bytes, depth: int) -> bytes:
    """The codestream with a header that says sRGB, or grey with sRGB's curve, and integers of `depth` bits.

    The samples stay as they are coded: the values that were given to the encoder, or XYB.

    Raises:
        ValueError: the header has what `read_jxl_header` does not read.
    """
    header = read_jxl_header(codestream)
    if not header.places.end:
        raise ValueError("the codestream has an unusual header")
    number = int.from_bytes(codestream[: header.places.end // 8 + 1], "little")
    written, length = 0, 0

    def put(value: int, count: int) -> None:
        nonlocal written, length
        written |= (value & ((1 << count) - 1)) << length
        length += count

    def copy(first: int, last: int) -> None:
        put(number >> first, last - first)

    copy(0, header.places.depth[0])
    put(0, 1)  # integers
    put({8: 0, 10: 1, 12: 2}.get(depth, 3), 2)
    if depth not in (8, 10, 12):
        put(depth - 1, 6)
    copy(header.places.depth[1], header.places.colour[0])
    if header.grey:
        # Neither default nor profile, grey, white D65, no gamma but a code, that of sRGB, relative intent.
        for value, count in ((0, 1), (0, 1), (1, 2), (1, 2), (0, 1), (2, 2), (SRGB - 2, 4), (1, 2)):
            put(value, count)
    else:
        put(1, 1)
    copy(header.places.colour[1], header.places.end)
    return written.to_bytes(-(-length // 8), "little") + codestream[-(-header.places.end // 8) :]

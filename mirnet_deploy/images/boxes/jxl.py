"""JPEG XL read, by imagecodecs (libjxl), in all depths up to 16 bit. The decoder turns by the file's own orientation.

imagecodecs gives the samples alone. The codestream's header and the boxes tell the rest; only an ICC profile, which is
coded, has to come from pylibjxl. Source: ISO/IEC 18181-2 (boxes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mirnet_deploy.errors import ImageError, extra_module
from mirnet_deploy.images.boxes.colour_codes import icc_of_codes
from mirnet_deploy.images.boxes.jxl_header import JxlHeader, read_jxl_header
from mirnet_deploy.images.boxes.media import boxes
from mirnet_deploy.images.formats import JXL_SIGNATURE
from mirnet_deploy.images.integrity import truncated
from mirnet_deploy.images.picture import ANIMATED, CMYK, Picture, check_size
from mirnet_deploy.images.samples import straight, to_16_bit
from mirnet_deploy.images.upright import upright_picture

_LARGEST_BOX = 64 << 20
"""Bytes of EXIF or XMP, unpacked, at most."""


def imagecodecs() -> Any:
    """The module imagecodecs.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return extra_module("imagecodecs", "JPEG XL needs imagecodecs", "jxl")


def pylibjxl() -> Any:
    """The module pylibjxl.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return extra_module("pylibjxl", "JPEG XL with a colour profile needs pylibjxl", "jxl")


@dataclass
class _File:
    """The boxes of a file that count here."""

    codestream: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    lost: list[str] = field(default_factory=list)


def codestream_of(data: bytes) -> bytes:
    """The codestream in a JPEG XL file, bare or in boxes.

    Raises:
        ImageError: the file is cut short; the message does not name it.
    """
    return _opened(data).codestream


def decode_jxl(data: bytes, max_pixels: int) -> Picture:
    """The picture in a JPEG XL file.

    Raises:
        ImageError: it is animated, an HDR picture, CMYK, of floating-point samples, too large or damaged.
        MissingDependencyError: a library is not installed.
    """
    file = _opened(data)
    try:
        header = read_jxl_header(file.codestream)
    except ValueError as error:
        raise truncated(str(error)) from error
    _check(header)
    check_size(header.width, header.height, max_pixels)
    icc, lost = _colour(data, header)
    samples = np.asarray(imagecodecs().jpegxl_decode(data))
    colours = 1 if header.grey else 3
    samples = samples.reshape(*samples.shape[:2], -1)
    if header.depth not in (8, 16):
        samples = to_16_bit(samples, header.depth) if header.depth > 8 else _to_8_bit(samples, header.depth)
    pixels = np.ascontiguousarray(samples[..., 0] if header.grey else samples[..., :3])
    alpha = np.ascontiguousarray(samples[..., colours]) if header.alphas else None
    if alpha is not None and header.premultiplied:
        pixels = straight(pixels, alpha)
    if header.others or header.alphas > 1:
        lost.append(f"{header.others + max(0, header.alphas - 1)} of its channels, neither colour nor alpha, are lost")
    return upright_picture(
        pixels,
        alpha,
        "jxl",
        exif=file.exif,
        icc=icc,
        xmp=file.xmp or None,
        lossless=header.lossless,
        depth=header.depth,
        lost=[*lost, *file.lost],
    )


def _check(header: JxlHeader) -> None:
    """Checks that it is a kind of picture that is read.

    Raises:
        ImageError: it is not; the message does not name the file.
    """
    if header.animated:
        raise ImageError(ANIMATED)
    if header.black:
        raise ImageError(CMYK)
    if header.floating or header.depth > 16:
        raise ImageError(f"has {header.depth}-bit float or other samples; expected unsigned ones of up to 16 bit")


def _to_8_bit(samples: Any, bits: int) -> Any:
    """uint8 samples of fewer than 8 bits, spread over 0 to 255."""
    most = (1 << bits) - 1
    return ((samples.astype(np.uint16) * 255 + most // 2) // most).astype(np.uint8)


def _colour(data: bytes, header: JxlHeader) -> tuple[bytes | None, list[str]]:
    """The ICC profile, or one made from codes, and what is lost of the colour.

    Raises:
        ImageError: it is an HDR picture.
    """
    if not header.profile:
        return icc_of_codes(header.primaries, header.transfer, grey=header.grey, gamma=header.gamma, exact=True)
    if header.xyb:
        return None, ["its colour profile is lost: the decoder gave its colours in sRGB"]
    return pylibjxl().decode(data, metadata=True)[1].get("icc") or None, []


def _opened(data: bytes) -> _File:
    if not data.startswith(JXL_SIGNATURE):
        return _File(data)
    file, parts, last_part = _File(), [], True
    for kind, first, last in boxes(data):
        if kind in (b"jxlc", b"jxlp") and last > len(data):
            raise truncated("it ends inside its picture")
        if kind == b"jxlc":
            parts.append(data[first:last])
        elif kind == b"jxlp":
            last_part = bool(data[first] & 0x80)
            parts.append(data[first + 4 : last])
        elif last <= len(data):
            _read_box(file, kind, data[first:last])
    if not parts or not last_part:
        raise truncated("it ends before its picture does")
    file.codestream = b"".join(parts)
    return file


def _read_box(file: _File, kind: bytes, body: bytes) -> None:
    """Takes from a box what counts here. A brob box holds another one, packed with Brotli."""
    if kind == b"brob" and body[:4] in (b"Exif", b"xml "):
        kind = body[:4]
        try:
            body = imagecodecs().brotli_decode(body[4:], out=_LARGEST_BOX)
        except RuntimeError:
            file.lost.append(f"its {'EXIF' if kind == b'Exif' else 'XMP'} is damaged and is left out")
            return
    if kind == b"Exif" and not file.exif:
        # It begins with the distance from behind these four bytes to the TIFF header.
        file.exif = body[4 + int.from_bytes(body[:4], "big") :]
    elif kind == b"xml " and not file.xmp:
        file.xmp = body
    elif name := {b"jhgm": "gain map", b"jumb": "JUMBF metadata"}.get(body[:4] if kind == b"brob" else kind):
        file.lost.append(f"its {name} is lost")

"""Whether a file is whole, told from its structure alone, before any pixel is decoded.

The decoders are not enough (seen with OpenCV 5.0 and Pillow 13): cv2 fills the missing part of a JPEG with grey, Pillow
takes a PNG without its end and a BMP without its last bytes. Every `check_*` raises `ImageError` whose text lacks the
file's name.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.ifd import Directory

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_JPEG_EOI, _JPEG_SOS = 0xD9, 0xDA
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS = 273, 279, 324, 325
_TILE_MARGIN = 4096
"""Pixels by which a TIFF's tile may be larger than the picture on each side: it must not claim memory without bound."""
_BMP_UNCOMPRESSED = frozenset({0, 3, 6})


def truncated(detail: str) -> ImageError:
    """The error for a file that ends too early."""
    return ImageError(f"is truncated: {detail}; copy or download it again")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG up to and with IEND, as (type, body); critical ones have the checksum that they claim."""
    position = 8
    while True:
        if position + 12 > len(data):
            raise truncated("the PNG ends before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise truncated(f"the PNG ends inside its {kind.decode('latin-1')} chunk")
        body = data[position + 8 : end - 4]
        # Upper case first letter: critical. A wrong sum in an ancillary chunk harms no pixel.
        if kind[:1].isupper() and zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ImageError(f"is damaged: the PNG's {kind.decode('latin-1')} chunk does not match its checksum")
        yield kind, body
        if kind == b"IEND":
            return
        position = end


def check_jpeg(data: bytes) -> None:
    """Follows the segments and scans to the end-of-image marker (ITU-T T.81, annex B)."""
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        code, position = marker[1][0], marker.end()
        if code == _JPEG_EOI:
            return
        if code in _JPEG_STANDALONE:
            continue
        if position + 2 > len(data):
            break
        # After a start-of-scan the search runs over the coded data, where 0xff is followed by 0x00 or a restart marker.
        position += struct.unpack_from(">H", data, position)[0]
    raise truncated("the JPEG ends before its end-of-image marker")


def webp_header(data: bytes) -> tuple[int, int, bool, bool]:
    """Width, height, whether it is animated, and whether it is lossless (RFC 9649, sections 2.5 to 2.7)."""
    if 8 + int.from_bytes(data[4:8], "little") > len(data) or len(data) < 30:
        raise truncated("the WebP is shorter than its header says")
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        animated = bool(body[0] & 0x02)
        width, height = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        return width, height, animated, b"VP8L" in _webp_chunks(data)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), False, True
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF, False, False


def _webp_chunks(data: bytes) -> set[bytes]:
    kinds, position = set(), 12
    while position + 8 <= len(data):
        kinds.add(data[position : position + 4])
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return kinds


def check_tiff(directory: Directory) -> None:
    """All strips or tiles lie within the file, and no tile is much larger than the picture."""
    offsets = directory.integers(_STRIP_OFFSETS) or directory.integers(_TILE_OFFSETS)
    counts = directory.integers(_STRIP_COUNTS) or directory.integers(_TILE_COUNTS)
    if not offsets or len(offsets) != len(counts):
        raise ImageError("is damaged: the TIFF does not say where its pixels are")
    if max(start + count for start, count in zip(offsets, counts, strict=True)) > len(directory.block):
        raise truncated("the TIFF ends before its pixels do")
    sides = ((_WIDTH, _TILE_WIDTH), (_HEIGHT, _TILE_HEIGHT))
    if any(directory.integer(tile, 0) > directory.integer(whole, 0) + _TILE_MARGIN for whole, tile in sides):
        raise ImageError("is damaged: the TIFF's tiles are larger than the picture")


def check_bmp(data: bytes) -> None:
    """The pixel rows of an uncompressed BMP are all there, with the padding of the last."""
    if len(data) < 34:
        raise truncated("the BMP ends inside its header")
    start, header = struct.unpack_from("<II", data, 10)
    if header < 40:  # OS/2: 16-bit sides
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in _BMP_UNCOMPRESSED and start + (width * bits + 31) // 32 * 4 * abs(height) > len(data):
        raise truncated("the BMP ends before its pixels do")

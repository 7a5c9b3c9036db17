"""Checks that a file is whole, by its structure alone, before any pixel is decoded.

The decoders are not enough (seen with OpenCV 5.0 and Pillow 13): cv2 fills the missing part of a JPEG with grey, Pillow
takes a PNG without its end and a BMP without its last bytes. `png_chunks`, `webp_header` and every `check_*` raise
`ImageError` for a file that is not whole; its message does not name the file.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from mirnet_deploy.errors import ImageError

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_JPEG_EOI = 0xD9
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Codes of the markers that stand alone, without a segment."""
_BMP_UNCOMPRESSED = frozenset({0, 3, 6})
"""Values of the compression field: plain rows, and those with colour masks."""


def truncated(detail: str) -> ImageError:
    """The error for a file that ends too early."""
    return ImageError(f"is truncated: {detail}; copy or download it again")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the chunks of a PNG up to and including IEND, as (type, body); checks the checksums of critical ones."""
    position = 8
    while True:
        if position + 12 > len(data):
            raise truncated("the PNG ends before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise truncated(f"the PNG ends inside its {kind.decode('latin-1')} chunk")
        body = data[position + 8 : end - 4]
        # An upper-case first letter marks a critical chunk; only these hold the colours of pixels.
        if kind[:1].isupper() and zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ImageError(f"is damaged: the PNG's {kind.decode('latin-1')} chunk does not match its checksum")
        yield kind, body
        if kind == b"IEND":
            return
        position = end


def check_jpeg(data: bytes) -> None:
    """Checks that segments and scans lead to an end-of-image marker (ITU-T T.81, annex B)."""
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
    """Width and height in pixels, whether it is animated, whether it is lossless (RFC 9649, sections 2.5 to 2.7)."""
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
    """The types, of four bytes each, of the chunks that follow a WebP's header."""
    kinds, position = set(), 12
    while position + 8 <= len(data):
        kinds.add(data[position : position + 4])
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return kinds


def check_bmp(data: bytes) -> None:
    """Checks that an uncompressed BMP holds all of its pixel rows, with the padding of the last one."""
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

"""Checks that a file is whole, by its structure alone, before any pixel is decoded.

The decoders are not enough (seen with OpenCV 5.0 and Pillow 13): cv2 fills the missing part of a JPEG with grey, Pillow
takes a PNG without its end and a BMP without its last bytes. All functions here raise `ImageError` for a file that is
not whole; its message does not name the file.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from mirnet_deploy.errors import ImageError

_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)  # more of 0xff may come before: fill bytes (B.1.1.2)
JPEG_SOS, JPEG_EOI = 0xDA, 0xD9
"""Codes of the markers "start of scan" and "end of image"."""
_JPEG_DRI = 0xDD
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xDA)})
"""Codes of the markers that stand alone, without a segment."""
_PNG_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})


def truncated(detail: str) -> ImageError:
    """The error for a file that ends too early."""
    return ImageError(f"is truncated: {detail}; copy or download it again")


def png_chunks(data: bytes, broken: list[bytes] | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Yields the chunks of a PNG up to and including IEND, as (type, body).

    A wrong checksum is an error where the chunk makes the pixels. All others are left out, as by libpng, and their
    types are appended to `broken`.
    """
    position = 8
    while True:
        if position + 12 > len(data):
            raise truncated("the PNG ends before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise truncated(f"the PNG ends inside its {chunk_name(kind)} chunk")
        body = data[position + 8 : end - 4]
        position = end
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
            # An upper-case first letter marks a critical chunk. Of the others, only tRNS is part of the pixels.
            if kind[:1].isupper() or kind == b"tRNS":
                raise ImageError(f"is damaged: the PNG's {chunk_name(kind)} chunk does not match its checksum")
            if broken is not None:
                broken.append(kind)
            continue
        if kind[:1].isupper() and kind not in _PNG_CRITICAL:
            raise ImageError(
                f"has the PNG chunk {chunk_name(kind)}, which is not known and without which it means nothing"
            )
        yield kind, body
        if kind == b"IEND":
            return


def chunk_name(kind: bytes) -> str:
    """The type of a chunk, or a keyword, in one printable line.

    >>> chunk_name(b"IDAT"), chunk_name(bytes([10, 65]))
    ('IDAT', '\\\\nA')
    """
    return repr(kind)[2:-1]


class NoEndError(ImageError):
    """A JPEG has no end-of-image marker, but its one scan has begun."""


def jpeg_markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the code of each marker and, of the segment behind it, start and end; the start is that of the length, and
    the end may lie behind that of the data. Of a marker that stands alone both are the place behind it.

    After a start-of-scan the search runs over the coded data, where 0xff is followed by 0x00 or a restart marker.
    """
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        code, start = marker[1][0], marker.end()
        position = start
        if code not in _JPEG_STANDALONE:
            position += int.from_bytes(data[start : start + 2], "big")
        yield code, start, position


def jpeg_end(data: bytes) -> int:
    """The position behind the end-of-image marker to which segments and scans lead (ITU-T T.81, annex B).

    Raises:
        NoEndError: they do not, but the file may hold all pixels.
    """
    position, codes = 2, list[int]()
    for code, _, position in jpeg_markers(data):
        if code == JPEG_EOI:
            return position
        codes.append(code)
    error = truncated("the JPEG ends before its end-of-image marker")
    # Not with restart intervals: decoders skip what they cannot read to the end of one, whatever that is.
    judged = codes.count(JPEG_SOS) == 1 and _JPEG_DRI not in codes and position <= len(data)
    raise NoEndError(str(error)) if judged else error


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

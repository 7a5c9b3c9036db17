"""Small picture files, built byte by byte from the formats' specifications, for what no library writes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 30, 20
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def noise(channels: int, bits: int = 8, seed: int = 5) -> np.ndarray[Any, Any]:
    """HEIGHT x WIDTH x channels (without the last axis for one) over the whole range."""
    shape = (HEIGHT, WIDTH, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(seed).integers(0, 2**bits, shape, np.uint16 if bits > 8 else np.uint8)


def smooth() -> np.ndarray[Any, Any]:
    """HEIGHT x WIDTH x 3 without noise, different at every corner."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 8, y * 12, 255 - x * 4 - y * 6], axis=-1).astype(np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples: np.ndarray[Any, Any],
    colour: int,
    bits: int,
    *chunks: tuple[bytes, bytes],
    interlaced: bool = False,
    tail: bytes = b"",
) -> bytes:
    """A PNG of `samples` as stored, [H,W] or [H,W,C]; `chunks` lie before, raw bytes `tail` behind the pixels."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    parts = [samples[y::down, x::right] for x, y, right, down in _PASSES] if interlaced else [samples]
    lines = b"".join(b"\0" + _packed(row, bits) for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, colour, 0, 0, interlaced)
    body = [chunk(b"IHDR", header), *(chunk(*each) for each in chunks), chunk(b"IDAT", zlib.compress(lines)), tail]
    return SIGNATURE + b"".join(body) + chunk(b"IEND", b"")


def _packed(row: np.ndarray[Any, Any], bits: int) -> bytes:
    if bits >= 8:
        return row.astype(">u2" if bits == 16 else np.uint8).tobytes()
    digits = row.ravel()[:, None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(digits.astype(np.uint8).ravel()).tobytes()


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, body) of each chunk."""
    found, position = [], 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        found.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def pillow(pixels: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def jpeg(*segments: tuple[int, bytes], pixels: np.ndarray[Any, Any] | None = None, **options: Any) -> bytes:
    """A JPEG by Pillow, with segments (code, body) directly behind its start."""
    data = pillow(smooth() if pixels is None else pixels, "JPEG", **{"quality": 95, "subsampling": 0, **options})
    return with_segments(data, *segments)


def with_segments(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments (code, body) directly behind its start."""
    raw = b"".join(b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body for code, body in segments)
    return data[:2] + raw + data[2:]


def decoded(data: bytes) -> np.ndarray[Any, Any]:
    """The pixels as Pillow reads them, RGB."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def bmp(
    bits: int,
    rows: bytes,
    *,
    header: int = 40,
    compression: int = 0,
    masks: Sequence[int] = (),
    palette: bytes = b"",
    profile: bytes = b"",
    colour: bytes = b"BGRs",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    dots: int = 0,
) -> bytes:
    """A BMP of `rows` as they are stored. `colour` is the space, and of 52 bytes also its end points and gammas."""
    if header == 12:
        information = struct.pack("<IHHHH", 12, *size, 1, bits)
    else:
        information = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, len(rows), dots, dots, 0, 0)
        information += struct.pack(f"<{len(masks)}I", *masks)
    if header >= 108:
        information = information.ljust(56, b"\0") + colour.ljust(52, b"\0")
        if header == 124:
            information += struct.pack("<IIII", 4, 124 + len(palette) + len(rows) if profile else 0, len(profile), 0)
    start = 14 + len(information) + len(palette)
    content = information + palette + rows + profile
    return b"BM" + struct.pack("<IHHI", 14 + len(content), 0, 0, start) + content


def bottom_up(rows: np.ndarray[Any, Any]) -> bytes:
    """Rows as a BMP stores them: the last one first, each padded to four bytes."""
    return b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in rows[::-1])


def exif(*fields: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """An EXIF block whose first directory has these fields: tag, type, count, value as stored."""
    place, entries, contents = 8 + 2 + 12 * len(fields) + 4, b"", b""
    for tag, kind, count, value in sorted(fields):
        entries += struct.pack(f"{order}HHI", tag, kind, count)
        if len(value) <= 4:
            entries += value.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", place + len(contents))
            contents += value + bytes(len(value) % 2)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(fields)) + entries + bytes(4) + contents


def orientation(value: int) -> tuple[int, int, int, bytes]:
    """The field of `exif`, little-endian."""
    return 274, 3, 1, struct.pack("<H", value)


def xmp(attributes: str, inside: str = "") -> bytes:
    """A packet with properties as attributes and as elements; the usual prefixes are declared."""
    spaces = {
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "dc": "http://purl.org/dc/elements/1.1/",
        "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
        "Camera": "http://ns.google.com/photos/1.0/camera/",
        "xmpNote": "http://ns.adobe.com/xmp/note/",
    }
    declared = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in spaces.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {declared} {attributes}>{inside}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


IPTC = b"\x1c\x02\x78\0\x05Night\x1c\x02\x74\0\x06(c) AB"
"""A caption and a copyright; of odd length, so that it needs padding."""


def resources(*blocks: tuple[int, bytes]) -> bytes:
    """Photoshop's image resources: number, content."""
    return b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + bytes(len(content) % 2)
        for number, content in blocks
    )

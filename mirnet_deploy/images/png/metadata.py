"""The metadata chunks of PNG: read with a bound on what they unpack to, and written.

Source: PNG (third edition), W3C, section 11.3; XMP specification, part 3; ImageMagick's and Exiv2's "Raw profile type"
texts, which is how IPTC lies in a PNG.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping, Sequence

from mirnet_deploy.images.integrity import chunk_name
from mirnet_deploy.images.iptc import iptc_in, resources_of
from mirnet_deploy.images.metadata import EXIF_NAME, Metadata
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.png.colour import icc_of_png

LARGEST_UNPACKED = 64 << 20
"""Bytes that all compressed texts and profiles of one file may unpack to: a few kilobytes could claim gigabytes."""
XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
"""What XMP begins with in the segment of a JPEG, and in ImageMagick's copy of one."""

_XMP_KEYWORD, _RAW_KEYWORD = b"XML:com.adobe.xmp", b"Raw profile type "
_KEYWORD = re.compile(rb"[!-~\xa1-\xff]+( [!-~\xa1-\xff]+)*")
_METRE, _INCH = 1, 0.0254
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_READ = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"}
    | {b"pHYs", b"eXIf"}
    | _TEXTS
)
_NO_LOSS = frozenset({b"tIME", b"hIST", b"sBIT", b"sPLT", b"dSIG", b"iDOT", b"bKGD", b"vpAg", b"caNv"})
"""True of the old pixels alone: time of the last change, histogram, significant bits, palette, signature,
and where its rows lie (Apple's iDOT). Or about the page that a viewer shows the picture on: its colour, and the size of
ImageMagick's canvas. Their loss is no loss."""


class _Inflater:
    """Unpacks zlib data, to `LARGEST_UNPACKED` bytes in all."""

    def __init__(self) -> None:
        self._left = LARGEST_UNPACKED

    def __call__(self, packed: bytes) -> bytes:
        """
        Raises:
            ValueError: the data is damaged, or too much; the text goes on from a name.
        """
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(packed, self._left + 1)
        except zlib.error as error:
            raise ValueError("is damaged") from error
        if len(content) > self._left:
            raise ValueError(f"unpacks to more than {LARGEST_UNPACKED >> 20} MB")
        if not stream.eof:
            raise ValueError("is damaged")
        self._left -= len(content)
        return content


def png_metadata(chunks: Sequence[tuple[bytes, bytes]], *, grey: bool) -> Metadata:
    """What the chunks, (type, body), say. `grey` says whether the pixels have one channel.

    Raises:
        ImageError: as `icc_of_png`.
    """
    found, inflate = Metadata(), _Inflater()
    bodies: dict[bytes, bytes] = {}
    for kind, body in chunks:
        bodies.setdefault(kind, body)
    found.icc = icc_of_png(bodies, grey=grey, inflate=inflate, lost=found.lost)
    found.exif = bodies.get(b"eXIf")
    _resolution(found, bodies)
    for kind, body in chunks:
        if kind in _TEXTS:
            keyword = body.partition(b"\0")[0]
            try:
                _text(found, kind, body, inflate)
            except ValueError as error:
                found.lost.append(f"its text {chunk_name(keyword[:79])} {error} and is left out")
    others = {chunk_name(kind): None for kind, _ in chunks if kind not in _READ | _NO_LOSS}
    found.lost += [f"its {name} chunk is lost" for name in others]
    return found


def _resolution(found: Metadata, bodies: Mapping[bytes, bytes]) -> None:
    """Takes pHYs over."""
    body = bodies.get(b"pHYs", b"")
    if len(body) != 9:
        return
    across, down, unit = struct.unpack(">IIB", body)
    if unit == _METRE and across and down:
        found.resolution = across * _INCH, down * _INCH
    elif across != down:
        found.lost.append(f"its pixel aspect ratio of {across}:{down} is lost")


def _text(found: Metadata, kind: bytes, body: bytes, inflate: _Inflater) -> None:
    """Takes a text chunk over: what it holds where that is metadata of another kind, else as it is.

    Raises:
        ValueError: it is not valid; the text goes on from the name of the chunk.
    """
    keyword, zero, rest = body.partition(b"\0")
    if not zero or len(keyword) > 79 or not _KEYWORD.fullmatch(keyword):
        raise ValueError("is not valid")
    if kind == b"tEXt":
        content = rest
        if b"\0" in content:
            raise ValueError("is not valid")
    elif kind == b"zTXt":
        content = inflate(rest[1:])
    else:  # flag, method, language, translated keyword, text
        parts = rest[2:].split(b"\0", 2)
        if len(parts) != 3:
            raise ValueError("is not valid")
        content = inflate(parts[2]) if rest[0] else parts[2]
        if not _is_utf8(content):
            raise ValueError("is not valid")
    if keyword == _XMP_KEYWORD:
        found.xmp = content
    elif not _raw_profile(found, keyword, content):
        found.texts.append((kind, body))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _raw_profile(found: Metadata, keyword: bytes, text: bytes) -> bool:
    """Takes a profile over that ImageMagick wrote as a text: title, length, hexadecimal digits. False for other texts.

    What the chunks of the standard say counts before it.
    """
    name = keyword.removeprefix(_RAW_KEYWORD).lower()
    if not keyword.startswith(_RAW_KEYWORD) or name not in (b"exif", b"app1", b"iptc", b"8bim", b"xmp", b"icc", b"icm"):
        return False
    try:
        content = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError as error:
        raise ValueError("is damaged") from error
    if name in (b"iptc", b"8bim"):
        iptc, lost = iptc_in(content)
        found.iptc = found.iptc or iptc
        found.lost += lost
    elif name in (b"icc", b"icm"):
        found.icc = found.icc or content
    elif name == b"exif" or content.startswith(EXIF_NAME):
        found.exif = found.exif or content
    else:
        found.xmp = found.xmp or content.removeprefix(XMP_NAME)
    return True


def metadata_chunks(picture: Picture) -> bytes:
    """The chunks that hold the metadata of a picture. Their place is behind IHDR."""
    parts = []
    if picture.icc:
        parts.append(png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc)))
    if picture.resolution:
        across, down = (min(round(value / _INCH), (1 << 31) - 1) for value in picture.resolution)
        parts.append(png_chunk(b"pHYs", struct.pack(">IIB", across, down, _METRE)))
    if picture.exif:
        parts.append(png_chunk(b"eXIf", picture.exif))
    if picture.xmp:
        parts.append(png_chunk(b"iTXt", _XMP_KEYWORD + bytes(5) + picture.xmp))
    if picture.iptc:
        resources = resources_of(picture.iptc)
        digits = re.sub("(.{72})", "\\1\n", resources.hex())
        text = f"\niptc\n{len(resources):8}\n{digits}\n".encode()
        parts.append(png_chunk(b"zTXt", _RAW_KEYWORD + b"iptc\0\0" + zlib.compress(text)))
    parts += [png_chunk(kind, body) for kind, body in picture.texts if kind in _TEXTS]
    return b"".join(parts)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk as it lies in the file: length, type, body, checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))

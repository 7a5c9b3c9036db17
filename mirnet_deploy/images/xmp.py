"""XMP packets. Source: XMP specification, part 1 and 2 (tiff and exif name spaces)."""

from __future__ import annotations

import re

_ORIENTATION = re.compile(rb"""(<tiff:Orientation>|tiff:Orientation=["'])\s*[2-8]\s*(?=[<"'])""")
_SIZES = {
    "width": (b"tiff:ImageWidth", b"exif:PixelXDimension"),
    "height": (b"tiff:ImageLength", b"exif:PixelYDimension"),
}


def upright_xmp(packet: bytes, width: int, height: int) -> bytes:
    """The packet of an upright picture: orientation 1, and its sizes in pixels, where it names them."""
    packet = _ORIENTATION.sub(rb"\g<1>1", packet)
    for names, value in ((_SIZES["width"], width), (_SIZES["height"], height)):
        for name in names:
            packet = re.sub(rb"""(<%b>|%b=["'])\s*\d+\s*(?=[<"'])""" % (name, name), rb"\g<1>%d" % value, packet)
    return packet

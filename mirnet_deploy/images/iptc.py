"""IPTC-IIM inside Photoshop's image resources, which is how JPEG and PNG hold it.

Source: IPTC-IIM 4.2; Adobe Photoshop File Formats Specification, "Image Resource Blocks".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

PHOTOSHOP = b"Photoshop 3.0\0"
"""What a JPEG's segment of resources begins with."""

_SIGNATURE, _IPTC = b"8BIM", 0x0404
_PATHS = range(0x07D0, 0x0BB8)
"""Numbers of resources that hold paths, and the name of the clipping path."""


def resources_of(iptc: bytes) -> bytes:
    """The block of image resources that holds `iptc` alone."""
    return _SIGNATURE + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def iptc_in(resources: bytes) -> tuple[bytes | None, list[str]]:
    """The IPTC data sets in a block of image resources, and one line for what is lost with the other resources.

    IPTC without any resource around it, which some programs write, is taken as it is. Resources behind a damaged one
    are not found.
    """
    resources = resources.removeprefix(PHOTOSHOP)
    if resources[:1] == b"\x1c":
        return resources, []
    iptc, lost = None, list[str]()
    for number, content in _resources(resources):
        if number == _IPTC and iptc is None:
            iptc = content
        elif number in _PATHS and not lost:
            lost.append("its Photoshop paths are lost")
    return iptc or None, lost


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields number and content of each resource: signature, number, name (Pascal string), length, content; padded."""
    position = 0
    while block[position : position + 4] == _SIGNATURE and position + 7 < len(block):
        name = 1 + block[position + 6]
        start = position + 6 + name + name % 2 + 4
        if start > len(block):
            return
        number, length = int.from_bytes(block[position + 4 : position + 6], "big"), block[start - 4 : start]
        end = start + int.from_bytes(length, "big")
        if end > len(block):
            return
        yield number, block[start:end]
        position = end + (end - start) % 2

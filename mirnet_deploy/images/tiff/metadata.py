"""What a TIFF says beside its pixels: EXIF, ICC profile, XMP, IPTC and resolution.

Source: TIFF 6.0, section 8; XMP part 3 (tag 700); Adobe's Photoshop TIFF notes (tags 33723, 34377, 37724) and Photoshop
file format (image resources).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from mirnet_deploy.images.ifd import (
    ORIENTATION,
    ByteOrder,
    Directory,
    Field,
    integer_field,
    movable_fields,
    pack_block,
    set_pixel_sizes,
)
from mirnet_deploy.images.tiff import tags
from mirnet_deploy.images.tiff.directories import Found
from mirnet_deploy.images.xmp import lost_with, upright_xmp

_TRANSPOSED = frozenset({5, 6, 7, 8})
"""Orientations that exchange width and height."""
_INCH, _CENTIMETRE = 2, 3
_IPTC_START = 0x1C
_IPTC_RESOURCE, _CLIPPING_PATHS = 0x0404, range(2000, 2999)
"""Numbers of Photoshop's image resources."""


class Described(Protocol):
    """What is written beside pixels: a `Picture`, or a file that is read in bands."""

    @property
    def exif(self) -> bytes | None: ...
    @property
    def icc(self) -> bytes | None: ...
    @property
    def xmp(self) -> bytes | None: ...
    @property
    def iptc(self) -> bytes | None: ...
    @property
    def resolution(self) -> tuple[float, float] | None: ...


@dataclass(frozen=True)
class Metadata:
    """As in `Picture`: that of the upright picture."""

    exif: bytes | None
    icc: bytes | None
    xmp: bytes | None
    iptc: bytes | None
    resolution: tuple[float, float] | None
    lost: tuple[str, ...]


def orientation_of(found: Found) -> int:
    """The orientation of a picture, 1 to 8; a SubIFD that does not say has that of its parent."""
    inherited = found.parent.integer(ORIENTATION, 1) if found.parent else 1
    return found.directory.integer(ORIENTATION, inherited)


def read_metadata(first: Directory, found: Found) -> Metadata:
    """The metadata of a picture; what its directory does not say, IFD0 (`first`) says.

    Raises:
        ValueError: as `read_directory`.
    """
    directory = found.directory
    order, fields = movable_fields(first.block, first.start)
    fields = dict(fields) | movable_fields(directory.block, directory.start)[1]
    width, height = directory.integer(tags.WIDTH, 0), directory.integer(tags.HEIGHT, 0)
    if orientation_of(found) in _TRANSPOSED:
        width, height = height, width
        turned = {tags.RESOLUTION_ACROSS: tags.RESOLUTION_DOWN, tags.RESOLUTION_DOWN: tags.RESOLUTION_ACROSS}
        fields = {turned.get(tag, tag): field for tag, field in fields.items()}
    if ORIENTATION in fields:
        fields[ORIENTATION] = integer_field(order, "H", 1)
    exif = {tag: field for tag, field in fields.items() if tag not in tags.STRUCTURE}
    resources = _resources(_content(fields, tags.PHOTOSHOP))
    lost = ["its Photoshop layers are lost"] if tags.PHOTOSHOP_LAYERS in fields else []
    if any(number in _CLIPPING_PATHS for number in resources):
        lost.append("its clipping paths are lost")
    packet = _content(fields, tags.XMP)
    xmp = None
    try:
        xmp = upright_xmp(packet, width, height) if packet else None
        lost += lost_with(packet) if packet else ()
    except ValueError as error:
        lost.append(f"{error}, and is left out")
    return Metadata(
        set_pixel_sizes(pack_block(exif, order), width, height) if exif else None,
        _content(fields, tags.ICC_PROFILE) or None,
        xmp,
        _iptc(fields) or resources.get(_IPTC_RESOURCE) or None,
        _resolution(fields, order),
        tuple(lost),
    )


def described_fields(described: Described) -> tuple[ByteOrder, dict[int, Field]]:
    """The fields of a TIFF that hold this metadata, in the byte order of its EXIF block (little-endian without one)."""
    order, fields = movable_fields(described.exif) if described.exif else ("<", {})
    fields = {tag: field for tag, field in fields.items() if tag not in tags.STRUCTURE}
    if described.resolution and described.resolution != _resolution(fields, order):
        across, down = (Fraction(min(value, 1e5)).limit_denominator(10_000) for value in described.resolution)
        for tag, value in ((tags.RESOLUTION_ACROSS, across), (tags.RESOLUTION_DOWN, down)):
            fields[tag] = Field(5, 1, struct.pack(f"{order}2I", value.numerator, value.denominator))
        fields[tags.RESOLUTION_UNIT] = integer_field(order, "H", _INCH)
    for tag, kind, content in (
        (tags.XMP, 1, described.xmp),
        (tags.IPTC, 7, described.iptc),
        (tags.ICC_PROFILE, 7, described.icc),
    ):
        if content:
            fields[tag] = Field(kind, len(content), content)
    return order, fields


def _content(fields: Mapping[int, Field], tag: int) -> bytes:
    field = fields.get(tag)
    return field.content if field and isinstance(field.content, bytes) else b""


def _resolution(fields: Mapping[int, Field], order: ByteOrder) -> tuple[float, float] | None:
    """Pixels per inch, across and down; None where the file does not say, or gives a mere ratio (unit 1)."""
    unit = _content(fields, tags.RESOLUTION_UNIT) or struct.pack(f"{order}H", _INCH)
    factor = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(struct.unpack_from(f"{order}H", unit)[0] if len(unit) > 1 else 0)
    values = []
    for tag in (tags.RESOLUTION_ACROSS, tags.RESOLUTION_DOWN):
        content = _content(fields, tag)
        if len(content) != 8 or factor is None:
            return None
        above, below = struct.unpack(f"{order}2I", content)
        if not above or not below:
            return None
        values.append(above / below * factor)
    return values[0], values[1]


def _iptc(fields: Mapping[int, Field]) -> bytes:
    """The IPTC data sets. Libtiff declares their bytes as LONGs, which big-endian files then hold turned around."""
    content = _content(fields, tags.IPTC)
    if content[3:4] == bytes([_IPTC_START]) != content[:1] and fields[tags.IPTC].kind == 4:
        content = b"".join(content[at : at + 4][::-1] for at in range(0, len(content), 4))
    return content if content[:1] == bytes([_IPTC_START]) else b""


def _resources(block: bytes) -> dict[int, bytes]:
    """Photoshop's image resources: number -> content; as far as they are whole."""
    found, position = {}, 0
    while block[position : position + 4] == b"8BIM" and position + 8 <= len(block):
        (number,) = struct.unpack_from(">H", block, position + 4)
        position += 6 + (block[position + 6] // 2 + 1) * 2  # a name with its length, padded to an even number
        if position + 4 > len(block):
            break
        (length,) = struct.unpack_from(">I", block, position)
        found[number] = block[position + 4 : position + 4 + length]
        position += 4 + length + length % 2
    return found

"""What a TIFF says beside its pixels: EXIF, ICC profile, XMP, IPTC and resolution.

Source: TIFF 6.0, section 8; XMP part 3 (tag 700); Adobe's Photoshop TIFF notes (tags 33723, 34377, 37724) and Photoshop
file format (image resources).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Protocol

from mirnet_deploy.images.exif import MAKER_NOTES_LOST, resolution_of, without_maker_notes
from mirnet_deploy.images.ifd import (
    EXIF,
    ORIENTATION,
    ByteOrder,
    Directory,
    Field,
    integer_field,
    movable_fields,
    pack_block,
)
from mirnet_deploy.images.iptc import iptc_in
from mirnet_deploy.images.metadata import Metadata
from mirnet_deploy.images.tiff import tags
from mirnet_deploy.images.tiff.colorimetry import icc_of_colorimetry
from mirnet_deploy.images.tiff.directories import Found

_INCH = 2
_IPTC_START = 0x1C


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


def orientation_of(found: Found) -> int:
    """The orientation of a picture, 1 to 8; a SubIFD that does not say has that of its parent."""
    inherited = found.parent.integer(ORIENTATION, 1) if found.parent else 1
    return found.directory.integer(ORIENTATION, inherited)


def read_metadata(first: Directory, found: Found) -> Metadata:
    """The metadata of a picture as the file has it; what its directory does not say, IFD0 (`first`) says.

    Raises:
        ValueError: as `read_directory`.
    """
    directory = found.directory
    order, fields = movable_fields(first.block, first.start)
    fields = dict(fields) | movable_fields(directory.block, directory.start)[1]
    if (orientation := orientation_of(found)) != 1 or ORIENTATION in fields:
        fields[ORIENTATION] = integer_field(order, "H", orientation)
    exif = without_maker_notes({tag: field for tag, field in fields.items() if tag not in tags.STRUCTURE})
    iptc, lost = iptc_in(_content(fields, tags.PHOTOSHOP))
    if tags.PHOTOSHOP_LAYERS in fields:
        lost.insert(0, "its Photoshop layers are lost")
    if exif.get(EXIF) != fields.get(EXIF):
        lost.append(MAKER_NOTES_LOST)
    icc = _content(fields, tags.ICC_PROFILE) or None
    if not icc:
        icc, told = icc_of_colorimetry(fields, order)
        lost += told
    return Metadata(
        pack_block(exif, order) if exif else None,
        icc,
        _content(fields, tags.XMP) or None,
        _iptc(fields) or iptc,
        lost=lost,
    )


def described_fields(described: Described) -> tuple[ByteOrder, dict[int, Field]]:
    """The fields of a TIFF that hold this metadata, in the byte order of its EXIF block (little-endian without one).

    The notes of the camera's maker are left out (`has_maker_notes`).
    """
    order, fields = movable_fields(described.exif) if described.exif else ("<", {})
    fields = {tag: field for tag, field in without_maker_notes(fields).items() if tag not in tags.STRUCTURE}
    stated = resolution_of(described.exif) if described.exif else None
    if described.resolution and described.resolution != stated:
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


def _iptc(fields: Mapping[int, Field]) -> bytes:
    """The IPTC data sets. Libtiff declares their bytes as LONGs, which big-endian files then hold turned around."""
    content = _content(fields, tags.IPTC)
    if content[3:4] == bytes([_IPTC_START]) != content[:1] and fields[tags.IPTC].kind == 4:
        content = b"".join(content[at : at + 4][::-1] for at in range(0, len(content), 4))
    return content if content[:1] == bytes([_IPTC_START]) else b""
